-- 0007: rollups that are exact however late a row comes, and the last known value of every series.
--
-- A write leaves dirty marks (series, hour, vantage) in its own transaction. A rollup deletes the marks that it sees and
-- then recomputes those hours whole: the statements after the DELETE see every row of the marks deleted, and a write
-- that commits later brings a mark of its own. An hour marks its day, a day its month. What has no raw rows any more
-- keeps the figures it has.

CREATE INDEX dirty_marks_by_series ON sonde.dirty_marks (series, hour DESC, probe_id);
ALTER TABLE sonde.dirty_marks SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

ALTER TABLE performance_logs_hourly
  ADD COLUMN p50_ping          REAL,
  ADD COLUMN p95_ping          REAL,
  ADD COLUMN p99_ping          REAL,
  ADD COLUMN avg_jitter        REAL,
  ADD COLUMN avg_loss          REAL,
  ADD COLUMN ping_count        INT,
  ADD COLUMN download_count    INT,
  ADD COLUMN upload_count      INT,
  ADD COLUMN connection_count  INT,
  ADD COLUMN connection_ok     INT;
COMMENT ON COLUMN performance_logs_hourly.connection_count IS 'Runs that tried to connect';
COMMENT ON COLUMN performance_logs_hourly.connection_ok IS 'Runs that connected';

ALTER TABLE sonde.performance_daily
  ADD COLUMN min_ping          REAL,
  ADD COLUMN max_ping          REAL,
  ADD COLUMN p99_ping          DOUBLE PRECISION,
  ADD COLUMN avg_jitter        REAL,
  ADD COLUMN avg_loss          REAL,
  ADD COLUMN ping_count        INT,
  ADD COLUMN download_count    INT,
  ADD COLUMN upload_count      INT,
  ADD COLUMN connection_count  INT,
  ADD COLUMN connection_ok     INT;
CREATE INDEX performance_daily_by_day ON sonde.performance_daily (day);

-- The last known value of each metric with its time, one row per server, vantage, protocol (0 = direct) and family
-- (0 = not told).
CREATE TABLE sonde.latest (
  server_id           INT NOT NULL REFERENCES servers(id) ON DELETE CASCADE,
  probe_id            SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  protocol_id         SMALLINT NOT NULL,
  family              SMALLINT NOT NULL,
  measured_at         TIMESTAMPTZ NOT NULL,
  ping_ms             REAL,
  ping_at             TIMESTAMPTZ,
  jitter_ms           REAL,
  jitter_at           TIMESTAMPTZ,
  packet_loss_pct     NUMERIC(5,2),
  packet_loss_at      TIMESTAMPTZ,
  download_mbps       NUMERIC(7,2),
  download_at         TIMESTAMPTZ,
  upload_mbps         NUMERIC(7,2),
  upload_at           TIMESTAMPTZ,
  connection_success  BOOLEAN,
  connection_at       TIMESTAMPTZ,
  connection_time_ms  REAL,
  connection_time_at  TIMESTAMPTZ,
  failure             TEXT,
  stage               TEXT,
  PRIMARY KEY (server_id, probe_id, protocol_id, family)
) WITH (fillfactor = 50);
COMMENT ON TABLE sonde.latest IS 'Last known value per metric, by server, vantage, protocol and family';
COMMENT ON COLUMN sonde.latest.failure IS 'Of the newest run; NULL where it did not fail';

ALTER TABLE sonde.server_latest
  ADD COLUMN protocol_id         SMALLINT,
  ADD COLUMN family              SMALLINT,
  ADD COLUMN jitter_ms           REAL,
  ADD COLUMN packet_loss_pct     NUMERIC(5,2),
  ADD COLUMN connection_time_ms  REAL,
  ADD COLUMN ping_at             TIMESTAMPTZ,
  ADD COLUMN download_at         TIMESTAMPTZ,
  ADD COLUMN upload_at           TIMESTAMPTZ,
  ADD COLUMN connection_at       TIMESTAMPTZ;
COMMENT ON TABLE sonde.server_latest IS
  'Of each server and vantage the best-measured protocol and family: the fastest of the last seven days, else the newest';
CREATE INDEX server_latest_by_speed ON sonde.server_latest (download_mbps DESC) WHERE download_mbps IS NOT NULL;

-- Every turn counts whole hours anew, of which most rows come out as they are: those are not written again.
CREATE TRIGGER unchanged BEFORE UPDATE ON performance_logs_hourly
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER unchanged BEFORE UPDATE ON sonde.performance_daily
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER unchanged BEFORE UPDATE ON sonde.latest
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER unchanged BEFORE UPDATE ON sonde.server_latest
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();

-- ── Performance ──────────────────────────────────────────────────────────────────────────────────────────

-- Takes the marks of at most this many (hour, vantage) of a series, newest first, so that fresh data never waits behind
-- a backlog. One rollup of a series at a time, to the end of its transaction: a slower one with an older view of the rows
-- must not write last. Other series need not wait for it: a month takes minutes, and an hour none.
CREATE FUNCTION sonde.take_marks(wanted text, most int) RETURNS TABLE (hour timestamptz, probes smallint[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('sonde'), hashtext('rollup/' || wanted));
  RETURN QUERY
  WITH due AS (
    SELECT DISTINCT hour, probe_id FROM sonde.dirty_marks WHERE series = wanted ORDER BY hour DESC, probe_id LIMIT most
  ),
  seen AS (
    DELETE FROM sonde.dirty_marks AS mark USING due
    WHERE mark.series = wanted AND mark.hour = due.hour AND mark.probe_id = due.probe_id
    RETURNING mark.hour, mark.probe_id
  )
  SELECT hour, array_agg(DISTINCT probe_id) FROM seen GROUP BY hour ORDER BY hour DESC;
END $$;
COMMENT ON FUNCTION sonde.take_marks IS 'Deletes the marks of a series that a rollup is about to honour';

-- The partition of a rollup table for this hour, made where it is missing: of its month what no other partition holds,
-- as those of an adopted database may have another rhythm.
CREATE FUNCTION sonde.cover(parent regclass, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  month  timestamptz := date_trunc('month', at, 'UTC');
  lo     timestamptz;
  hi     timestamptz;
BEGIN
  IF EXISTS (SELECT FROM sonde.partition_ranges r WHERE r.parent = cover.parent AND NOT r.is_default
             AND r.lo <= at AND r.hi > at) THEN
    RETURN;
  END IF;
  PERFORM sonde.lock_partitions();
  SELECT greatest(month, max(r.hi) FILTER (WHERE r.hi <= at)),
         least((month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC', min(r.lo) FILTER (WHERE r.lo > at))
  INTO lo, hi
  FROM sonde.partition_ranges r WHERE r.parent = cover.parent AND NOT r.is_default
  HAVING coalesce(bool_or(r.lo <= at AND r.hi > at), false) = false;
  IF lo IS NOT NULL THEN
    PERFORM sonde.attach_partition(
      parent, (SELECT relname FROM pg_class WHERE oid = parent)
              || to_char(lo AT TIME ZONE 'UTC', CASE WHEN lo = month THEN '_YYYY_MM' ELSE '_YYYY_MM_DD"t"HH24MI' END), lo, hi);
  END IF;
END $$;
COMMENT ON FUNCTION sonde.cover IS 'Makes the partition of a rollup table that an hour needs';

-- The smaller one, and NULL where there is no value: least() would give the bound.
CREATE FUNCTION sonde.bounded(value double precision, bound double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE WHEN value > bound THEN bound ELSE value END $$;
COMMENT ON FUNCTION sonde.bounded IS 'The value, or the bound where it is smaller';

-- As a REAL: what lies between 0 and the smallest of them is 0, what lies above the largest is that. A cast would fail,
-- and one vantage's nonsense would end every rollup.
CREATE FUNCTION sonde.as_real(value double precision) RETURNS real LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (CASE WHEN value > 3.4e38 THEN 3.4e38 WHEN value < -3.4e38 THEN -3.4e38 WHEN abs(value) < 1.2e-38 THEN 0
               ELSE value END)::real
$$;
COMMENT ON FUNCTION sonde.as_real IS 'The value, bounded to what a REAL holds';

-- What some vantages measured of each server from lo to hi. Figures are bounded to what the columns of the rollups hold:
-- a vantage may send nonsense, and a rollup must not stop at it.
CREATE FUNCTION sonde.performance_figures(lo timestamptz, hi timestamptz, probes smallint[])
RETURNS TABLE (
  server_id int, probe_id smallint, sample_count bigint, avg_ping numeric, min_ping real, max_ping real,
  avg_download numeric, max_download numeric, avg_upload numeric, uptime_pct numeric,
  p50_ping real, p95_ping real, p99_ping real, avg_jitter real, avg_loss real,
  ping_count bigint, download_count bigint, upload_count bigint, connection_count bigint, connection_ok bigint
) LANGUAGE sql STABLE AS $$
  SELECT log.server_id, log.probe_id, count(*),
         sonde.bounded(avg(log.ping_ms), 999999.99)::numeric(8,2), min(log.ping_ms), max(log.ping_ms),
         avg(log.download_mbps)::numeric(7,2), max(log.download_mbps), avg(log.upload_mbps)::numeric(7,2),
         (100.0 * count(*) FILTER (WHERE log.connection_success) / nullif(count(log.connection_success), 0))::numeric(5,2),
         sonde.as_real(percentile_cont(0.5) WITHIN GROUP (ORDER BY log.ping_ms)),
         sonde.as_real(percentile_cont(0.95) WITHIN GROUP (ORDER BY log.ping_ms)),
         sonde.as_real(percentile_cont(0.99) WITHIN GROUP (ORDER BY log.ping_ms)),
         sonde.as_real(avg(log.jitter_ms)), avg(log.packet_loss_pct)::real,
         count(log.ping_ms), count(log.download_mbps), count(log.upload_mbps),
         count(log.connection_success), count(*) FILTER (WHERE log.connection_success)
  FROM performance_logs AS log
  WHERE log.measured_at >= lo AND log.measured_at < hi AND log.probe_id = ANY (probes)
  GROUP BY log.server_id, log.probe_id
$$;
COMMENT ON FUNCTION sonde.performance_figures IS 'Exact figures of each server and vantage between two times';

-- The hours of at most this many marks; gives how many hours that were.
CREATE FUNCTION sonde.rollup_performance_hours(most int DEFAULT 256) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  due   record;
  done  int := 0;
BEGIN
  FOR due IN SELECT * FROM sonde.take_marks('performance', most) LOOP
    PERFORM sonde.cover('performance_logs_hourly', due.hour);
    INSERT INTO performance_logs_hourly
      (hour, server_id, probe_id, sample_count, avg_ping, min_ping, max_ping, avg_download, max_download, avg_upload,
       uptime_pct, p50_ping, p95_ping, p99_ping, avg_jitter, avg_loss, ping_count, download_count, upload_count,
       connection_count, connection_ok)
    SELECT due.hour, figures.* FROM sonde.performance_figures(due.hour, due.hour + interval '1 hour', due.probes) AS figures
    ON CONFLICT (hour, server_id, probe_id) DO UPDATE SET
      (sample_count, avg_ping, min_ping, max_ping, avg_download, max_download, avg_upload, uptime_pct, p50_ping, p95_ping,
       p99_ping, avg_jitter, avg_loss, ping_count, download_count, upload_count, connection_count, connection_ok) =
      (excluded.sample_count, excluded.avg_ping, excluded.min_ping, excluded.max_ping, excluded.avg_download,
       excluded.max_download, excluded.avg_upload, excluded.uptime_pct, excluded.p50_ping, excluded.p95_ping,
       excluded.p99_ping, excluded.avg_jitter, excluded.avg_loss, excluded.ping_count, excluded.download_count,
       excluded.upload_count, excluded.connection_count, excluded.connection_ok);
    PERFORM sonde.note_latest(due.hour, due.probes);
    INSERT INTO sonde.dirty_marks (series, hour, probe_id)
    SELECT 'performance_day', date_trunc('day', due.hour, 'UTC'), probe FROM unnest(due.probes) AS probe;
    done := done + 1;
  END LOOP;
  RETURN done;
END $$;
COMMENT ON FUNCTION sonde.rollup_performance_hours IS 'Hours written to since the last call into performance_logs_hourly, and the latest values';

-- The days whose hours changed, from raw rows: percentiles of a day can't be had from its hours.
CREATE FUNCTION sonde.rollup_performance_days(most int DEFAULT 256) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  due   record;
  done  int := 0;
BEGIN
  FOR due IN SELECT * FROM sonde.take_marks('performance_day', most) LOOP
    INSERT INTO sonde.performance_daily
      (day, server_id, probe_id, sample_count, avg_ping, min_ping, max_ping, avg_download, max_download, avg_upload,
       uptime_pct, median_ping, p95_ping, p99_ping, avg_jitter, avg_loss, ping_count, download_count, upload_count,
       connection_count, connection_ok)
    SELECT due.hour, figures.* FROM sonde.performance_figures(due.hour, due.hour + interval '1 day', due.probes) AS figures
    ON CONFLICT (server_id, probe_id, day) DO UPDATE SET
      (sample_count, avg_ping, min_ping, max_ping, avg_download, max_download, avg_upload, uptime_pct, median_ping, p95_ping,
       p99_ping, avg_jitter, avg_loss, ping_count, download_count, upload_count, connection_count, connection_ok) =
      (excluded.sample_count, excluded.avg_ping, excluded.min_ping, excluded.max_ping, excluded.avg_download,
       excluded.max_download, excluded.avg_upload, excluded.uptime_pct, excluded.median_ping, excluded.p95_ping,
       excluded.p99_ping, excluded.avg_jitter, excluded.avg_loss, excluded.ping_count, excluded.download_count,
       excluded.upload_count, excluded.connection_count, excluded.connection_ok);
    done := done + 1;
  END LOOP;
  RETURN done;
END $$;
COMMENT ON FUNCTION sonde.rollup_performance_days IS 'Days whose hours changed since the last call into mv_server_daily_stats';

-- For those who call it by the seed's name, from pg_cron or by hand: all that is dirty, hours and days. Rows that somebody
-- inserted without a mark are found if they are of this hour or the two before.
CREATE OR REPLACE PROCEDURE rollup_performance_logs() LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sonde.dirty_marks (series, hour, probe_id)
  SELECT DISTINCT 'performance', date_trunc('hour', measured_at, 'UTC'), probe_id
  FROM performance_logs WHERE measured_at >= date_trunc('hour', now(), 'UTC') - interval '2 hours';
  WHILE sonde.rollup_performance_hours() > 0 LOOP COMMIT; END LOOP;
  WHILE sonde.rollup_performance_days() > 0 LOOP COMMIT; END LOOP;
  COMMIT;
END $$;

-- ── Latest ───────────────────────────────────────────────────────────────────────────────────────────────

-- What these vantages' rows of one hour say about the last known values. A value gives way only to a newer one of its
-- own metric, so the order in which hours are noted does not matter.
CREATE FUNCTION sonde.note_latest(at timestamptz, probes smallint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  servers   int[];
  vantages  smallint[];
BEGIN
  WITH noted AS (
    INSERT INTO sonde.latest AS kept
      (server_id, probe_id, protocol_id, family, measured_at, ping_ms, ping_at, jitter_ms, jitter_at,
       packet_loss_pct, packet_loss_at, download_mbps, download_at, upload_mbps, upload_at,
       connection_success, connection_at, connection_time_ms, connection_time_at, failure, stage)
    SELECT server_id, probe_id, coalesce(protocol_id, 0), coalesce(family, 0), max(measured_at),
      (array_agg(ping_ms ORDER BY measured_at DESC, stream_id DESC, seq DESC) FILTER (WHERE ping_ms IS NOT NULL))[1],
      max(measured_at) FILTER (WHERE ping_ms IS NOT NULL),
      (array_agg(jitter_ms ORDER BY measured_at DESC, stream_id DESC, seq DESC) FILTER (WHERE jitter_ms IS NOT NULL))[1],
      max(measured_at) FILTER (WHERE jitter_ms IS NOT NULL),
      (array_agg(packet_loss_pct ORDER BY measured_at DESC, stream_id DESC, seq DESC) FILTER (WHERE packet_loss_pct IS NOT NULL))[1],
      max(measured_at) FILTER (WHERE packet_loss_pct IS NOT NULL),
      (array_agg(download_mbps ORDER BY measured_at DESC, stream_id DESC, seq DESC) FILTER (WHERE download_mbps IS NOT NULL))[1],
      max(measured_at) FILTER (WHERE download_mbps IS NOT NULL),
      (array_agg(upload_mbps ORDER BY measured_at DESC, stream_id DESC, seq DESC) FILTER (WHERE upload_mbps IS NOT NULL))[1],
      max(measured_at) FILTER (WHERE upload_mbps IS NOT NULL),
      (array_agg(connection_success ORDER BY measured_at DESC, stream_id DESC, seq DESC) FILTER (WHERE connection_success IS NOT NULL))[1],
      max(measured_at) FILTER (WHERE connection_success IS NOT NULL),
      (array_agg(connection_time_ms ORDER BY measured_at DESC, stream_id DESC, seq DESC) FILTER (WHERE connection_time_ms IS NOT NULL))[1],
      max(measured_at) FILTER (WHERE connection_time_ms IS NOT NULL),
      (array_agg(failure ORDER BY measured_at DESC, stream_id DESC, seq DESC))[1],
      (array_agg(stage ORDER BY measured_at DESC, stream_id DESC, seq DESC))[1]
    FROM performance_logs
    WHERE measured_at >= at AND measured_at < at + interval '1 hour' AND probe_id = ANY (probes)
    GROUP BY server_id, probe_id, coalesce(protocol_id, 0), coalesce(family, 0)
    ON CONFLICT (server_id, probe_id, protocol_id, family) DO UPDATE SET
      ping_ms = CASE WHEN excluded.ping_at >= coalesce(kept.ping_at, '-infinity') THEN excluded.ping_ms ELSE kept.ping_ms END,
      ping_at = greatest(excluded.ping_at, kept.ping_at),
      jitter_ms = CASE WHEN excluded.jitter_at >= coalesce(kept.jitter_at, '-infinity') THEN excluded.jitter_ms ELSE kept.jitter_ms END,
      jitter_at = greatest(excluded.jitter_at, kept.jitter_at),
      packet_loss_pct = CASE WHEN excluded.packet_loss_at >= coalesce(kept.packet_loss_at, '-infinity')
        THEN excluded.packet_loss_pct ELSE kept.packet_loss_pct END,
      packet_loss_at = greatest(excluded.packet_loss_at, kept.packet_loss_at),
      download_mbps = CASE WHEN excluded.download_at >= coalesce(kept.download_at, '-infinity')
        THEN excluded.download_mbps ELSE kept.download_mbps END,
      download_at = greatest(excluded.download_at, kept.download_at),
      upload_mbps = CASE WHEN excluded.upload_at >= coalesce(kept.upload_at, '-infinity')
        THEN excluded.upload_mbps ELSE kept.upload_mbps END,
      upload_at = greatest(excluded.upload_at, kept.upload_at),
      connection_success = CASE WHEN excluded.connection_at >= coalesce(kept.connection_at, '-infinity')
        THEN excluded.connection_success ELSE kept.connection_success END,
      connection_at = greatest(excluded.connection_at, kept.connection_at),
      connection_time_ms = CASE WHEN excluded.connection_time_at >= coalesce(kept.connection_time_at, '-infinity')
        THEN excluded.connection_time_ms ELSE kept.connection_time_ms END,
      connection_time_at = greatest(excluded.connection_time_at, kept.connection_time_at),
      failure = CASE WHEN excluded.measured_at >= kept.measured_at THEN excluded.failure ELSE kept.failure END,
      stage = CASE WHEN excluded.measured_at >= kept.measured_at THEN excluded.stage ELSE kept.stage END,
      measured_at = greatest(excluded.measured_at, kept.measured_at)
    RETURNING kept.server_id, kept.probe_id
  )
  SELECT array_agg(noted.server_id), array_agg(noted.probe_id) INTO servers, vantages FROM noted;

  INSERT INTO sonde.server_latest AS kept
    (server_id, probe_id, measured_at, ping_ms, download_mbps, upload_mbps, connection_success, protocol_id, family,
     jitter_ms, packet_loss_pct, connection_time_ms, ping_at, download_at, upload_at, connection_at)
  SELECT DISTINCT ON (server_id, probe_id)
    server_id, probe_id, measured_at, ping_ms, download_mbps, upload_mbps, connection_success, protocol_id, family,
    jitter_ms, packet_loss_pct, connection_time_ms, ping_at, download_at, upload_at, connection_at
  FROM (
    SELECT l.*, max(l.measured_at) OVER (PARTITION BY l.server_id, l.probe_id) - interval '7 days' AS still_counts
    FROM sonde.latest AS l
    JOIN (SELECT DISTINCT * FROM unnest(servers, vantages) AS t(server_id, probe_id)) AS touched USING (server_id, probe_id)
  ) AS candidate
  ORDER BY server_id, probe_id, CASE WHEN download_at >= still_counts THEN download_mbps END DESC NULLS LAST,
           measured_at DESC, protocol_id DESC, family DESC
  ON CONFLICT (server_id, probe_id) DO UPDATE SET
    measured_at = excluded.measured_at, ping_ms = excluded.ping_ms, download_mbps = excluded.download_mbps,
    upload_mbps = excluded.upload_mbps, connection_success = excluded.connection_success,
    protocol_id = excluded.protocol_id, family = excluded.family, jitter_ms = excluded.jitter_ms,
    packet_loss_pct = excluded.packet_loss_pct, connection_time_ms = excluded.connection_time_ms,
    ping_at = excluded.ping_at, download_at = excluded.download_at, upload_at = excluded.upload_at,
    connection_at = excluded.connection_at;
END $$;
COMMENT ON FUNCTION sonde.note_latest IS 'Last known values from one hour of some vantages';

-- What a database already holds is rolled up anew by the first runs: its latest values, and the columns above.
INSERT INTO sonde.dirty_marks (series, hour, probe_id)
SELECT DISTINCT 'performance', date_trunc('hour', measured_at, 'UTC'), probe_id FROM performance_logs;
