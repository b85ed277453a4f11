-- 0017: who an agent is: tokens for enrolment, certificates that were issued, vantages whose certificates are revoked.

CREATE TABLE sonde.enrolment_tokens (
  id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  probe_id    SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  hash        BYTEA NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
  created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
  expires_at  TIMESTAMPTZ NOT NULL,
  used_at     TIMESTAMPTZ,
  voided_at   TIMESTAMPTZ
);
CREATE INDEX ON sonde.enrolment_tokens (probe_id);
COMMENT ON TABLE sonde.enrolment_tokens IS 'Tokens that let one agent enrol, once, as one vantage';
COMMENT ON COLUMN sonde.enrolment_tokens.id IS 'Of this row alone';
COMMENT ON COLUMN sonde.enrolment_tokens.probe_id IS 'The only vantage that it enrols';
COMMENT ON COLUMN sonde.enrolment_tokens.hash IS 'SHA-256; the token itself is kept nowhere';
COMMENT ON COLUMN sonde.enrolment_tokens.created_at IS 'When it was made';
COMMENT ON COLUMN sonde.enrolment_tokens.expires_at IS 'Refused from then on';
COMMENT ON COLUMN sonde.enrolment_tokens.used_at IS 'When an agent enrolled by it; refused from then on';
COMMENT ON COLUMN sonde.enrolment_tokens.voided_at IS 'When its vantage was revoked, or a newer token was made for it; refused from then on';

CREATE TABLE sonde.certificates (
  serial      TEXT PRIMARY KEY CHECK (serial ~ '^[0-9a-f]{1,40}$'),
  probe_id    SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  issued_at   TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  not_before  TIMESTAMPTZ NOT NULL,
  not_after   TIMESTAMPTZ NOT NULL,
  token_id    BIGINT REFERENCES sonde.enrolment_tokens(id) ON DELETE SET NULL,
  replaces    TEXT,
  ca_sha256   BYTEA NOT NULL CHECK (octet_length(ca_sha256) = 32)
);
CREATE INDEX ON sonde.certificates (probe_id, issued_at DESC);
COMMENT ON TABLE sonde.certificates IS 'Certificates that collectors on this database issued to agents';
COMMENT ON COLUMN sonde.certificates.serial IS 'Its serial number, in hex';
COMMENT ON COLUMN sonde.certificates.probe_id IS 'The vantage whose code is its common name';
COMMENT ON COLUMN sonde.certificates.issued_at IS 'By the database''s clock: what was issued after its vantage was revoked is accepted';
COMMENT ON COLUMN sonde.certificates.not_before IS 'Refused before';
COMMENT ON COLUMN sonde.certificates.not_after IS 'Refused from then on; renewable for 90 days more';
COMMENT ON COLUMN sonde.certificates.token_id IS 'The token that it was enrolled by; NULL = renewed, or the token is gone';
COMMENT ON COLUMN sonde.certificates.replaces IS 'Serial of the certificate that it was renewed by; NULL = enrolled';
COMMENT ON COLUMN sonde.certificates.ca_sha256 IS 'SHA-256 of the certificate of the authority that signed it';

CREATE TABLE sonde.revocations (
  probe_id    SMALLINT PRIMARY KEY REFERENCES probe_locations(id) ON DELETE CASCADE,
  revoked_at  TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  reason      TEXT NOT NULL
);
COMMENT ON TABLE sonde.revocations IS 'Vantages for which nobody may speak but by a certificate issued since';
COMMENT ON COLUMN sonde.revocations.probe_id IS 'The vantage';
COMMENT ON COLUMN sonde.revocations.revoked_at IS 'All its certificates issued up to then are refused, also those that this database does not know';
COMMENT ON COLUMN sonde.revocations.reason IS 'In words, for people';

-- Every collector hears at once of what must end its agents' streams; who missed it reads the table every few seconds.
CREATE FUNCTION sonde.revocations_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('sonde_identity', '');
  RETURN NULL;
END $$;
COMMENT ON FUNCTION sonde.revocations_changed IS 'Trigger: tells collectors to read the revocations anew';
CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON sonde.revocations
FOR EACH STATEMENT EXECUTE FUNCTION sonde.revocations_changed();

-- A certificate that a revoked vantage got since is accepted.
CREATE FUNCTION sonde.certificate_issued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM sonde.revocations WHERE probe_id = NEW.probe_id) THEN
    PERFORM pg_notify('sonde_identity', '');
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION sonde.certificate_issued IS 'Trigger: tells collectors of a certificate that a revoked vantage got';
CREATE TRIGGER issued AFTER INSERT ON sonde.certificates
FOR EACH ROW EXECUTE FUNCTION sonde.certificate_issued();
