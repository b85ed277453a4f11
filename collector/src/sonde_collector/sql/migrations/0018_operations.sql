-- 0018: what operators ask of agents: runs on demand, and pauses; runs on demand stay out of averages.

CREATE TABLE sonde.run_requests (
  id          UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  plan        TEXT NOT NULL,
  asked_at    TIMESTAMPTZ NOT NULL DEFAULT now(),
  expires_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX ON sonde.run_requests (expires_at);
COMMENT ON TABLE sonde.run_requests IS 'Runs that a person asked for, beside the schedule; forgotten a day after their end';
COMMENT ON COLUMN sonde.run_requests.id IS 'Known to the agents as well';
COMMENT ON COLUMN sonde.run_requests.plan IS 'Whose tasks they are';
COMMENT ON COLUMN sonde.run_requests.asked_at IS 'When';
COMMENT ON COLUMN sonde.run_requests.expires_at IS 'What has not begun by then does not';

CREATE TABLE sonde.run_tasks (
  request_id   UUID NOT NULL REFERENCES sonde.run_requests(id) ON DELETE CASCADE,
  probe_id     SMALLINT NOT NULL REFERENCES probe_locations(id) ON DELETE CASCADE,
  task         TEXT NOT NULL,
  revision     BIGINT NOT NULL,
  outcome      TEXT,
  reason       TEXT,
  detail       TEXT,
  epoch        BYTEA,
  seq          BIGINT,
  answered_at  TIMESTAMPTZ,
  PRIMARY KEY (request_id, probe_id, task)
);
COMMENT ON TABLE sonde.run_tasks IS 'The tasks of sonde.run_requests, and what became of each';
COMMENT ON COLUMN sonde.run_tasks.request_id IS 'The request';
COMMENT ON COLUMN sonde.run_tasks.probe_id IS 'The vantage that is to run it';
COMMENT ON COLUMN sonde.run_tasks.task IS 'Its key in the assignment';
COMMENT ON COLUMN sonde.run_tasks.revision IS 'Of the assignment that it was asked of; of another one it is not run';
COMMENT ON COLUMN sonde.run_tasks.outcome IS 'done, failed, refused, missed or gone, as the agent answered; too_old: its agent can''t be asked; NULL = no answer';
COMMENT ON COLUMN sonde.run_tasks.reason IS 'Why it was missed, as in missed_runs';
COMMENT ON COLUMN sonde.run_tasks.detail IS 'In words, for people';
COMMENT ON COLUMN sonde.run_tasks.epoch IS 'The stream that holds its results';
COMMENT ON COLUMN sonde.run_tasks.seq IS 'They are in the database once that stream is committed up to here';
COMMENT ON COLUMN sonde.run_tasks.answered_at IS 'When the agent''s answer was written';

CREATE TABLE sonde.pauses (
  probe_id   SMALLINT PRIMARY KEY REFERENCES probe_locations(id) ON DELETE CASCADE,
  since      TIMESTAMPTZ NOT NULL DEFAULT now(),
  until_at   TIMESTAMPTZ,
  reason     TEXT NOT NULL
);
COMMENT ON TABLE sonde.pauses IS 'Vantages that are to measure nothing for a while, part of what they are assigned';
COMMENT ON COLUMN sonde.pauses.probe_id IS 'The vantage';
COMMENT ON COLUMN sonde.pauses.since IS 'When it was paused';
COMMENT ON COLUMN sonde.pauses.until_at IS 'It measures again from then on; NULL = until it is resumed';
COMMENT ON COLUMN sonde.pauses.reason IS 'In words, for people; may be empty';

-- The pauses that hold now.
CREATE VIEW sonde.paused AS
SELECT probe_id, since, until_at, reason FROM sonde.pauses WHERE until_at IS NULL OR until_at > now();
COMMENT ON VIEW sonde.paused IS 'The pauses that hold now';

-- Every collector hears at once of what its agents are to be asked; who missed it reads the table every few seconds.
CREATE FUNCTION sonde.run_requested() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('sonde_runs', '');
  RETURN NULL;
END $$;
COMMENT ON FUNCTION sonde.run_requested IS 'Trigger: tells collectors to read the open requests anew';
CREATE TRIGGER requested AFTER INSERT ON sonde.run_requests
FOR EACH STATEMENT EXECUTE FUNCTION sonde.run_requested();

-- The bits of sonde_proto.quality, by name, lowest first; a bit this schema does not know is "bit_N".
CREATE OR REPLACE FUNCTION sonde.quality_flags(quality int) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(coalesce(
    (ARRAY['user_stamps', 'success_by_ping', 'not_ready', 'clock_stepped', 'insecure', 'body_capped', 'raw_socket',
           'cpu_limited', 'byte_bound', 'rate_capped', 'exit_unknown', 'handshake_only', 'on_demand'])[bit + 1], 'bit_' || bit) ORDER BY bit), '{}')
  FROM generate_series(0, 30) AS bit
  WHERE quality & (1 << bit) <> 0
$$;

-- ── Rollups: what a person asked for stands in no average ────────────────────────────────────────────────
-- People ask when they suspect something: such rows would weigh down what is watched closely.

CREATE OR REPLACE FUNCTION sonde.all_performance_figures(lo timestamptz, hi timestamptz, probes smallint[])
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
    AND log.quality & 4096 = 0
  GROUP BY log.server_id, log.probe_id
$$;
COMMENT ON FUNCTION sonde.all_performance_figures IS
  'Exact figures of each server and vantage between two times, maintenance or not; runs on demand are left out';

-- connection_count, connection_ok and uptime_pct are of the rows outside every window; all else is of all rows.
CREATE OR REPLACE FUNCTION sonde.performance_figures(lo timestamptz, hi timestamptz, probes smallint[])
RETURNS TABLE (
  server_id int, probe_id smallint, sample_count bigint, avg_ping numeric, min_ping real, max_ping real,
  avg_download numeric, max_download numeric, avg_upload numeric, uptime_pct numeric,
  p50_ping real, p95_ping real, p99_ping real, avg_jitter real, avg_loss real,
  ping_count bigint, download_count bigint, upload_count bigint, connection_count bigint, connection_ok bigint
) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
  IF NOT sonde.any_maintenance(lo, hi) THEN
    RETURN QUERY SELECT * FROM sonde.all_performance_figures(lo, hi, probes);
    RETURN;
  END IF;
  RETURN QUERY
  WITH span AS MATERIALIZED (SELECT * FROM sonde.server_maintenance(lo, hi)),
  planned AS (
    SELECT log.server_id, log.probe_id, count(log.connection_success) AS tried,
           count(*) FILTER (WHERE log.connection_success) AS ok
    FROM performance_logs AS log
    WHERE log.measured_at >= lo AND log.measured_at < hi AND log.probe_id = ANY (probes)
      AND log.quality & 4096 = 0
      AND EXISTS (SELECT FROM span WHERE span.server_id = log.server_id AND log.measured_at >= span.begins
                  AND log.measured_at < span.ends AND (span.probes IS NULL OR log.probe_id = ANY (span.probes)))
    GROUP BY log.server_id, log.probe_id
  )
  SELECT f.server_id, f.probe_id, f.sample_count, f.avg_ping, f.min_ping, f.max_ping, f.avg_download, f.max_download,
         f.avg_upload,
         CASE WHEN planned.tried IS NULL THEN f.uptime_pct
              ELSE (100.0 * (f.connection_ok - planned.ok) / nullif(f.connection_count - planned.tried, 0))::numeric(5,2) END,
         f.p50_ping, f.p95_ping, f.p99_ping, f.avg_jitter, f.avg_loss, f.ping_count, f.download_count, f.upload_count,
         f.connection_count - coalesce(planned.tried, 0), f.connection_ok - coalesce(planned.ok, 0)
  FROM sonde.all_performance_figures(lo, hi, probes) AS f LEFT JOIN planned USING (server_id, probe_id);
END $$;
COMMENT ON FUNCTION sonde.performance_figures IS
  'Exact figures of each server and vantage between two times; what was measured in a maintenance window does not count for uptime, what was run on demand for nothing';

CREATE OR REPLACE FUNCTION sonde.all_endpoint_buckets(width text, lo timestamptz, hi timestamptz, probes smallint[])
RETURNS SETOF sonde.endpoint_day LANGUAGE sql STABLE AS $$
  SELECT target_id, probe_id, date_trunc(width, measured_at, 'UTC'), count(*)::int,
         count(*) FILTER (WHERE ok)::int,
         count(*) FILTER (WHERE status BETWEEN 200 AND 299)::int, count(*) FILTER (WHERE status BETWEEN 300 AND 399)::int,
         count(*) FILTER (WHERE status BETWEEN 400 AND 499)::int, count(*) FILTER (WHERE status BETWEEN 500 AND 599)::int,
         count(*) FILTER (WHERE cache_status IN ('hit', 'stale'))::int, count(cache_status)::int,
         count(*) FILTER (WHERE failure = 'timeout')::int,
         count(*) FILTER (WHERE failure IN ('dns', 'no_address'))::int,
         count(*) FILTER (WHERE failure IN ('tls', 'certificate'))::int,
         count(*) FILTER (WHERE failure IN ('refused', 'reset') OR status BETWEEN 500 AND 599)::int,
         sonde.as_real(avg(total_ms) FILTER (WHERE ok)),
         sonde.as_real(percentile_cont(0.5) WITHIN GROUP (ORDER BY total_ms) FILTER (WHERE ok)),
         sonde.as_real(percentile_cont(0.95) WITHIN GROUP (ORDER BY total_ms) FILTER (WHERE ok)),
         sonde.as_real(percentile_cont(0.99) WITHIN GROUP (ORDER BY total_ms) FILTER (WHERE ok)),
         sonde.as_real(percentile_cont(0.5) WITHIN GROUP (ORDER BY first_byte_ms) FILTER (WHERE ok)),
         sonde.as_real(percentile_cont(0.95) WITHIN GROUP (ORDER BY first_byte_ms) FILTER (WHERE ok))
  FROM sonde.endpoint_checks
  WHERE measured_at >= lo AND measured_at < hi AND probe_id = ANY (probes)
    AND quality & 4096 = 0
  GROUP BY target_id, probe_id, date_trunc(width, measured_at, 'UTC')
$$;
COMMENT ON FUNCTION sonde.all_endpoint_buckets IS
  'endpoint_checks of some vantages by buckets of one width, maintenance or not; checks on demand are left out';

-- The counts of checks, their outcomes and their statuses are of the checks outside every window. Times and caches are
-- of all checks.
CREATE OR REPLACE FUNCTION sonde.endpoint_buckets(width text, lo timestamptz, hi timestamptz, probes smallint[])
RETURNS SETOF sonde.endpoint_day LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF NOT sonde.any_maintenance(lo, hi) THEN
    RETURN QUERY SELECT * FROM sonde.all_endpoint_buckets(width, lo, hi, probes);
    RETURN;
  END IF;
  RETURN QUERY
  WITH span AS MATERIALIZED (SELECT * FROM sonde.target_maintenance(lo, hi)),
  planned AS (
    SELECT target_id, probe_id, date_trunc(width, measured_at, 'UTC') AS bucket, count(*)::int AS checks,
           count(*) FILTER (WHERE ok)::int AS ok,
           count(*) FILTER (WHERE status BETWEEN 200 AND 299)::int AS status_2xx,
           count(*) FILTER (WHERE status BETWEEN 300 AND 399)::int AS status_3xx,
           count(*) FILTER (WHERE status BETWEEN 400 AND 499)::int AS status_4xx,
           count(*) FILTER (WHERE status BETWEEN 500 AND 599)::int AS status_5xx,
           count(*) FILTER (WHERE failure = 'timeout')::int AS timeouts,
           count(*) FILTER (WHERE failure IN ('dns', 'no_address'))::int AS dns_errors,
           count(*) FILTER (WHERE failure IN ('tls', 'certificate'))::int AS tls_errors,
           count(*) FILTER (WHERE failure IN ('refused', 'reset') OR status BETWEEN 500 AND 599)::int AS origin_errors
    FROM sonde.endpoint_checks AS log
    WHERE measured_at >= lo AND measured_at < hi AND probe_id = ANY (endpoint_buckets.probes)
      AND quality & 4096 = 0
      AND EXISTS (SELECT FROM span WHERE span.target_id = log.target_id AND log.measured_at >= span.begins
                  AND log.measured_at < span.ends AND (span.probes IS NULL OR log.probe_id = ANY (span.probes)))
    GROUP BY target_id, probe_id, date_trunc(width, measured_at, 'UTC')
  )
  SELECT b.target_id, b.probe_id, b.bucket, b.checks - coalesce(p.checks, 0), b.ok - coalesce(p.ok, 0),
         b.status_2xx - coalesce(p.status_2xx, 0), b.status_3xx - coalesce(p.status_3xx, 0),
         b.status_4xx - coalesce(p.status_4xx, 0), b.status_5xx - coalesce(p.status_5xx, 0),
         b.cache_hits, b.cache_known, b.timeouts - coalesce(p.timeouts, 0), b.dns_errors - coalesce(p.dns_errors, 0),
         b.tls_errors - coalesce(p.tls_errors, 0), b.origin_errors - coalesce(p.origin_errors, 0),
         b.avg_total_ms, b.p50_total_ms, b.p95_total_ms, b.p99_total_ms, b.p50_first_byte_ms, b.p95_first_byte_ms
  FROM sonde.all_endpoint_buckets(width, lo, hi, probes) AS b LEFT JOIN planned AS p USING (target_id, probe_id, bucket);
END $$;
COMMENT ON FUNCTION sonde.endpoint_buckets IS
  'endpoint_checks of some vantages by buckets of one width; a check in a maintenance window is not counted, though its times are; one on demand is neither';
