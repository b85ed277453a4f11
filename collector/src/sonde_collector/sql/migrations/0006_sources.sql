-- 0006: how each server is reached, as its provider's files say, and the history of where it was. No secret is here:
-- private keys and passwords are files on the agents.

CREATE TABLE sonde.server_profiles (
  server_id    INT NOT NULL REFERENCES servers(id) ON DELETE CASCADE,
  protocol_id  SMALLINT NOT NULL REFERENCES protocols(id),
  credential   TEXT NOT NULL,
  profile      TEXT NOT NULL,
  host         TEXT NOT NULL,
  port         INT,
  public_key   TEXT,
  certificate  TEXT,
  placed       BOOLEAN NOT NULL DEFAULT false,
  is_active    BOOLEAN NOT NULL DEFAULT true,
  epoch        INT NOT NULL DEFAULT 1,
  since        TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (server_id, protocol_id)
);
COMMENT ON TABLE sonde.server_profiles IS 'How a server is reached by a protocol: the account, the file on the agents, where it leads';
COMMENT ON COLUMN sonde.server_profiles.credential IS 'Name of the account, as agents know its secrets';
COMMENT ON COLUMN sonde.server_profiles.profile IS 'File in that credential''s folder; of a listed server the template, '''' = the credential''s own';
COMMENT ON COLUMN sonde.server_profiles.port IS 'NULL = the template''s';
COMMENT ON COLUMN sonde.server_profiles.public_key IS 'The server''s, base64 (WireGuard)';
COMMENT ON COLUMN sonde.server_profiles.certificate IS 'SHA-256, 16 digits, of what the server''s certificate is checked with (OpenVPN, IKEv2)';
COMMENT ON COLUMN sonde.server_profiles.placed IS 'Out of a list: a template is placed at host and port';
COMMENT ON COLUMN sonde.server_profiles.epoch IS 'Grows with every change of address or key: results before and after it are of different machines';
COMMENT ON COLUMN sonde.server_profiles.since IS 'When this epoch began';

CREATE TABLE sonde.server_epochs (
  server_id    INT NOT NULL REFERENCES servers(id) ON DELETE CASCADE,
  at           TIMESTAMPTZ NOT NULL DEFAULT now(),
  protocol_id  SMALLINT REFERENCES protocols(id),
  what         TEXT NOT NULL,
  before       TEXT NOT NULL,
  after        TEXT NOT NULL
);
CREATE INDEX server_epochs_by_server ON sonde.server_epochs (server_id, at DESC);
COMMENT ON TABLE sonde.server_epochs IS 'When the inventory learned that a server has another address or key';
COMMENT ON COLUMN sonde.server_epochs.protocol_id IS 'NULL = the server itself, by whatever protocol';
COMMENT ON COLUMN sonde.server_epochs.what IS 'hostname, ip_address, host, port, public_key, certificate';
