-- 0014: who may read by HTTP, and the newest check of each target, which no rollup keeps.

-- Tokens are 256 random bits. Of such a secret a plain SHA-256 is enough: there is nothing to guess that a slow hash would
-- make dearer, and each request can be checked at once.
CREATE TABLE sonde.api_keys (
  id               INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name             TEXT NOT NULL CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$'),
  hash             BYTEA NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
  rate_per_minute  INT NOT NULL CHECK (rate_per_minute BETWEEN 1 AND 1000000),
  created_at       TIMESTAMPTZ NOT NULL DEFAULT now(),
  expires_at       TIMESTAMPTZ,
  last_used_at     TIMESTAMPTZ,
  revoked_at       TIMESTAMPTZ
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX api_keys_by_name ON sonde.api_keys (name) WHERE revoked_at IS NULL;
COMMENT ON TABLE sonde.api_keys IS 'Who may read by HTTP: keys by their hash; the token itself is shown once and kept nowhere';
COMMENT ON COLUMN sonde.api_keys.name IS 'What people call it; free again once it is revoked';
COMMENT ON COLUMN sonde.api_keys.hash IS 'SHA-256 of the token''s text';
COMMENT ON COLUMN sonde.api_keys.rate_per_minute IS 'Requests a minute that one collector answers, and how many may come at once';
COMMENT ON COLUMN sonde.api_keys.expires_at IS 'Refused from then on; NULL = never';
COMMENT ON COLUMN sonde.api_keys.last_used_at IS 'To the minute; NULL = never used';
COMMENT ON COLUMN sonde.api_keys.revoked_at IS 'Refused from then on; the row stays to say that there was such a key';

CREATE INDEX gaps_by_time ON sonde.gaps (recorded_at DESC, stream_id DESC, first_seq DESC);

-- ── The newest check of each target ──────────────────────────────────────────────────────────────────────

CREATE TABLE sonde.endpoint_latest (
  target_id       INT NOT NULL REFERENCES sonde.targets(id) ON DELETE CASCADE,
  probe_id        SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  measured_at     TIMESTAMPTZ NOT NULL,
  kind            TEXT NOT NULL,
  ok              BOOLEAN NOT NULL,
  address         TEXT,
  family          SMALLINT,
  resolve_ms      REAL,
  connect_ms      REAL,
  tls_ms          REAL,
  first_byte_ms   REAL,
  total_ms        REAL,
  status          INT,
  cache_status    TEXT,
  cert_not_after  TIMESTAMPTZ,
  mismatch        TEXT,
  failure         TEXT,
  stage           TEXT,
  PRIMARY KEY (target_id, probe_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE sonde.endpoint_latest IS 'The newest check of each target and vantage';
COMMENT ON COLUMN sonde.endpoint_latest.address IS 'Where several addresses were asked at one time: one that failed, if any did';

-- Follows sonde.endpoint_minute: what is written there has changed, and the newest minute of it is looked up in the raw
-- rows. A minute that is older than what is known is not.
CREATE FUNCTION sonde.note_endpoint_latest() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  lo  timestamptz;
  hi  timestamptz;
BEGIN
  SELECT min(bucket), max(bucket) + interval '1 minute' INTO lo, hi FROM touched;
  IF lo IS NULL THEN
    RETURN NULL;
  END IF;
  INSERT INTO sonde.endpoint_latest AS kept
    (target_id, probe_id, measured_at, kind, ok, address, family, resolve_ms, connect_ms, tls_ms, first_byte_ms, total_ms,
     status, cache_status, cert_not_after, mismatch, failure, stage)
  SELECT DISTINCT ON (raw.target_id, raw.probe_id)
    raw.target_id, raw.probe_id, raw.measured_at, raw.kind, raw.ok, raw.address, raw.family, raw.resolve_ms, raw.connect_ms,
    raw.tls_ms, raw.first_byte_ms, raw.total_ms, raw.status, raw.cache_status, raw.cert_not_after, raw.mismatch,
    raw.failure, raw.stage
  FROM (SELECT target_id, probe_id, max(bucket) AS bucket FROM touched GROUP BY target_id, probe_id) AS minute
  JOIN sonde.endpoint_checks AS raw
    ON raw.target_id = minute.target_id AND raw.probe_id = minute.probe_id
    AND raw.measured_at >= minute.bucket AND raw.measured_at < minute.bucket + interval '1 minute'
  LEFT JOIN sonde.endpoint_latest AS known ON known.target_id = minute.target_id AND known.probe_id = minute.probe_id
  WHERE raw.measured_at >= lo AND raw.measured_at < hi
    AND (known.measured_at IS NULL OR known.measured_at < minute.bucket + interval '1 minute')
  ORDER BY raw.target_id, raw.probe_id, raw.measured_at DESC, raw.ok, raw.stream_id DESC, raw.seq DESC
  ON CONFLICT (target_id, probe_id) DO UPDATE SET
    (measured_at, kind, ok, address, family, resolve_ms, connect_ms, tls_ms, first_byte_ms, total_ms, status, cache_status,
     cert_not_after, mismatch, failure, stage) =
    (excluded.measured_at, excluded.kind, excluded.ok, excluded.address, excluded.family, excluded.resolve_ms,
     excluded.connect_ms, excluded.tls_ms, excluded.first_byte_ms, excluded.total_ms, excluded.status,
     excluded.cache_status, excluded.cert_not_after, excluded.mismatch, excluded.failure, excluded.stage)
  WHERE excluded.measured_at >= kept.measured_at;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION sonde.note_endpoint_latest IS 'Trigger: the newest check of each target and vantage whose minutes were written';

CREATE TRIGGER note_latest_inserted AFTER INSERT ON sonde.endpoint_minute
REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION sonde.note_endpoint_latest();
CREATE TRIGGER note_latest_updated AFTER UPDATE ON sonde.endpoint_minute
REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION sonde.note_endpoint_latest();

-- What a database already holds: the checks of its last day.
INSERT INTO sonde.endpoint_latest
  (target_id, probe_id, measured_at, kind, ok, address, family, resolve_ms, connect_ms, tls_ms, first_byte_ms, total_ms,
   status, cache_status, cert_not_after, mismatch, failure, stage)
SELECT DISTINCT ON (target_id, probe_id)
  target_id, probe_id, measured_at, kind, ok, address, family, resolve_ms, connect_ms, tls_ms, first_byte_ms, total_ms,
  status, cache_status, cert_not_after, mismatch, failure, stage
FROM sonde.endpoint_checks WHERE measured_at > now() - interval '1 day'
ORDER BY target_id, probe_id, measured_at DESC, ok, stream_id DESC, seq DESC;
