-- 0005: accounts at providers, what of them is in use, and what the fleet is to be told once.

-- ── Accounts ─────────────────────────────────────────────────────────────────────────────────────────────

-- `apply` writes the settings; whoever changes one of them, or says that the state is 'ok', ends a refusal (trigger).
CREATE TABLE sonde.accounts (
  credential         TEXT PRIMARY KEY,
  provider_id        SMALLINT NOT NULL REFERENCES providers(id),
  sessions           INT NOT NULL CHECK (sessions > 0),
  logins_per_minute  INT CHECK (logins_per_minute > 0),
  same_key_twice     BOOLEAN NOT NULL DEFAULT false,
  linger_s           DOUBLE PRECISION NOT NULL DEFAULT 60 CHECK (linger_s BETWEEN 0 AND 86400),
  is_active          BOOLEAN NOT NULL DEFAULT true,
  state              TEXT NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'refused')),
  refused_at         TIMESTAMPTZ,
  connected_at       TIMESTAMPTZ,
  created_at         TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at         TIMESTAMPTZ NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
COMMENT ON TABLE sonde.accounts IS 'Accounts at VPN providers: the names that agents know their secrets by, and what the provider allows';
COMMENT ON COLUMN sonde.accounts.sessions IS 'How many connections at once the provider allows';
COMMENT ON COLUMN sonde.accounts.logins_per_minute IS 'How many connections a minute may be begun; NULL = any number';
COMMENT ON COLUMN sonde.accounts.same_key_twice IS 'One key may be used by two connections at once';
COMMENT ON COLUMN sonde.accounts.linger_s IS 'How long the provider counts a connection that ended without a word';
COMMENT ON COLUMN sonde.accounts.is_active IS 'False once the inventory no longer names it: no leases';
COMMENT ON COLUMN sonde.accounts.state IS 'refused: the provider turned it away on three servers in a row; no leases until it is resumed';
COMMENT ON COLUMN sonde.accounts.connected_at IS 'Start of the newest run that the provider let in';

-- Servers that turned an account away since it last connected.
CREATE TABLE sonde.auth_failures (
  credential  TEXT NOT NULL REFERENCES sonde.accounts(credential) ON DELETE CASCADE,
  server      TEXT NOT NULL,
  at          TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (credential, server)
);
COMMENT ON TABLE sonde.auth_failures IS 'Servers that turned an account away since it last connected; three make a refusal';

-- When an account was refused: what failed meanwhile says nothing about any server.
CREATE TABLE sonde.refusals (
  credential  TEXT NOT NULL REFERENCES sonde.accounts(credential) ON DELETE CASCADE,
  refused_at  TIMESTAMPTZ NOT NULL,
  since       TIMESTAMPTZ,
  ended_at    TIMESTAMPTZ,
  servers     TEXT[] NOT NULL,
  PRIMARY KEY (credential, refused_at)
);
COMMENT ON TABLE sonde.refusals IS 'Stretches of time in which a provider refused an account';
COMMENT ON COLUMN sonde.refusals.since IS 'When it last connected before; NULL = it never did';
COMMENT ON COLUMN sonde.refusals.ended_at IS 'When it was resumed; NULL = it is refused still';

-- ── Events ───────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sonde.events (
  id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at       TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
  kind     TEXT NOT NULL,
  subject  TEXT NOT NULL,
  detail   TEXT NOT NULL,
  data     JSONB NOT NULL DEFAULT '{}',
  dedup    TEXT UNIQUE
);
CREATE INDEX events_by_subject ON sonde.events (kind, subject, at DESC);
COMMENT ON TABLE sonde.events IS 'What a person should hear of, once each';
COMMENT ON COLUMN sonde.events.kind IS 'credential_refused, credential_resumed';
COMMENT ON COLUMN sonde.events.subject IS 'What it is about: the name of the credential';
COMMENT ON COLUMN sonde.events.dedup IS 'The same for the same thing, so that it is told once; NULL = every time';

-- What follows from a change of state follows wherever it is changed: by a lease, `apply`, `credentials resume` or hand.
CREATE FUNCTION sonde.account_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  names  text[];
  since  timestamptz;
BEGIN
  IF (NEW.provider_id, NEW.sessions, NEW.logins_per_minute, NEW.same_key_twice, NEW.linger_s, NEW.is_active)
     IS DISTINCT FROM
     (OLD.provider_id, OLD.sessions, OLD.logins_per_minute, OLD.same_key_twice, OLD.linger_s, OLD.is_active) THEN
    NEW.state := 'ok';
    NEW.updated_at := now();
  END IF;
  IF NEW.state = OLD.state THEN
    RETURN NEW;
  END IF;
  SELECT coalesce(array_agg(server ORDER BY at, server), '{}') INTO names
  FROM sonde.auth_failures WHERE credential = NEW.credential;
  IF NEW.state = 'refused' THEN
    NEW.refused_at := clock_timestamp();
    INSERT INTO sonde.refusals (credential, refused_at, since, servers)
    VALUES (NEW.credential, NEW.refused_at, NEW.connected_at, names);
    INSERT INTO sonde.events (at, kind, subject, detail, data, dedup)
    VALUES (NEW.refused_at, 'credential_refused', NEW.credential,
            format('the provider refuses credential "%s" on %s; its runs wait until `sonde-collector credentials resume %s`',
                   NEW.credential, array_to_string(names, ', '), NEW.credential),
            jsonb_build_object('servers', names, 'connected_at', NEW.connected_at),
            format('credential_refused/%s/%s', NEW.credential, NEW.refused_at))
    ON CONFLICT (dedup) DO NOTHING;
  ELSE
    since := NEW.refused_at;
    NEW.refused_at := NULL;
    DELETE FROM sonde.auth_failures WHERE credential = NEW.credential;
    UPDATE sonde.refusals SET ended_at = clock_timestamp() WHERE credential = NEW.credential AND ended_at IS NULL;
    INSERT INTO sonde.events (kind, subject, detail, data, dedup)
    VALUES ('credential_resumed', NEW.credential, format('credential "%s" is tried again', NEW.credential),
            jsonb_build_object('refused_at', since), format('credential_resumed/%s/%s', NEW.credential, since))
    ON CONFLICT (dedup) DO NOTHING;
  END IF;
  RETURN NEW;
END $$;
COMMENT ON FUNCTION sonde.account_changed IS 'Trigger: a refusal begins or ends, with its event';

CREATE TRIGGER account_changed BEFORE UPDATE ON sonde.accounts
FOR EACH ROW EXECUTE FUNCTION sonde.account_changed();

-- ── Leases ───────────────────────────────────────────────────────────────────────────────────────────────

-- One row per thing that a lease holds. Rows outlive their lease a while: a login counts for a minute.
CREATE TABLE sonde.leases (
  kind        TEXT NOT NULL CHECK (kind IN ('target', 'credential', 'key')),
  name        TEXT NOT NULL,
  lease       UUID NOT NULL,
  probe_id    SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  instance    BYTEA NOT NULL,
  server      TEXT NOT NULL,
  granted_at  TIMESTAMPTZ NOT NULL,
  expires_at  TIMESTAMPTZ NOT NULL,
  free_at     TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (kind, name, lease)
) WITH (fillfactor = 50);
CREATE INDEX leases_by_lease ON sonde.leases (lease);
ALTER TABLE sonde.leases SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE sonde.leases IS 'What of the fleet''s accounts, keys and targets is in use, and by which vantage';
COMMENT ON COLUMN sonde.leases.expires_at IS 'The agent has ended its run by then, unless it renews; released = at once';
COMMENT ON COLUMN sonde.leases.free_at IS 'Counts until then: expires_at, and for a session the account''s linger_s after it';

-- Vantages that were denied and will ask again: the longest waiting is served first.
CREATE TABLE sonde.lease_waits (
  kind      TEXT NOT NULL,
  name      TEXT NOT NULL,
  probe_id  SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  since     TIMESTAMPTZ NOT NULL,
  until     TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (kind, name, probe_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE sonde.lease_waits IS 'Vantages that were denied a lease, in the order of since';
COMMENT ON COLUMN sonde.lease_waits.until IS 'Who has not asked again by then has given up';

-- ── Judging held results ─────────────────────────────────────────────────────────────────────────────────

CREATE INDEX performance_logs_by_credential ON performance_logs (credential, measured_at)
  WHERE credential IS NOT NULL AND connection_success;
