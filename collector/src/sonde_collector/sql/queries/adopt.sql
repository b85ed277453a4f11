-- name: adopt_columns
-- What of the seed's big tables is not as the seed has it: one row per difference, in words.
WITH expected (relation, attribute, type) AS (VALUES
  ('performance_logs', 'server_id', 'integer'), ('performance_logs', 'probe_id', 'smallint'),
  ('performance_logs', 'measured_at', 'timestamp with time zone'), ('performance_logs', 'ping_ms', 'smallint'),
  ('performance_logs', 'download_mbps', 'numeric(7,2)'), ('performance_logs', 'upload_mbps', 'numeric(7,2)'),
  ('performance_logs', 'jitter_ms', 'smallint'), ('performance_logs', 'packet_loss_pct', 'numeric(5,2)'),
  ('performance_logs', 'connection_success', 'boolean'), ('performance_logs', 'connection_time_ms', 'smallint'),
  ('streaming_checks', 'server_id', 'integer'), ('streaming_checks', 'platform_id', 'smallint'),
  ('streaming_checks', 'checked_at', 'timestamp with time zone'), ('streaming_checks', 'is_unlocked', 'boolean'),
  ('streaming_checks', 'response_time_ms', 'smallint'),
  ('performance_logs_hourly', 'server_id', 'integer'), ('performance_logs_hourly', 'probe_id', 'smallint'),
  ('performance_logs_hourly', 'hour', 'timestamp with time zone'),
  ('performance_logs_hourly', 'sample_count', 'smallint'), ('performance_logs_hourly', 'avg_ping', 'numeric(6,2)'),
  ('performance_logs_hourly', 'min_ping', 'smallint'), ('performance_logs_hourly', 'max_ping', 'smallint'),
  ('performance_logs_hourly', 'avg_download', 'numeric(7,2)'),
  ('performance_logs_hourly', 'max_download', 'numeric(7,2)'),
  ('performance_logs_hourly', 'avg_upload', 'numeric(7,2)'), ('performance_logs_hourly', 'uptime_pct', 'numeric(5,2)'),
  ('servers', 'id', 'integer'), ('probe_locations', 'id', 'smallint'), ('streaming_platforms', 'id', 'smallint'),
  ('countries', 'iso_code', 'character(2)'), ('cities', 'country_id', 'smallint'), ('protocols', 'name', 'character varying(30)'),
  ('providers', 'slug', 'character varying(50)'), ('server_protocols', 'protocol_id', 'smallint')
)
SELECT CASE
  WHEN to_regclass('public.' || relation) IS NULL THEN format('table %s is missing', relation)
  WHEN attname IS NULL THEN format('column %s.%s is missing', relation, attribute)
  ELSE format('column %s.%s is %s, not %s', relation, attribute, format_type(atttypid, atttypmod), type) END
FROM expected
LEFT JOIN pg_attribute ON attrelid = to_regclass('public.' || relation) AND attname = attribute AND NOT attisdropped
WHERE attname IS NULL OR format_type(atttypid, atttypmod) <> type
UNION ALL
SELECT format('%s is not partitioned by time', relation)
FROM (VALUES ('performance_logs'), ('performance_logs_hourly')) AS big(relation)
WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('public.' || relation) AND relkind = 'p')
UNION ALL
SELECT format('%s has a default partition (%s)', inhparent::regclass, inhrelid::regclass)
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent IN (to_regclass('public.performance_logs'), to_regclass('public.performance_logs_hourly'))
  AND pg_get_expr(relpartbound, pg_class.oid) = 'DEFAULT';

-- name: adopt_dependents
-- Views of others on what is rewritten or replaced; PostgreSQL would refuse to.
SELECT DISTINCT view.oid::regclass::text
FROM pg_depend
JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid AND pg_depend.classid = 'pg_rewrite'::regclass
JOIN pg_class view ON view.oid = pg_rewrite.ev_class
WHERE refobjid IN (to_regclass('public.performance_logs'), to_regclass('public.streaming_checks'),
                   to_regclass('public.performance_logs_hourly'), to_regclass('public.mv_server_latest_performance'),
                   to_regclass('public.mv_server_daily_stats'))
  AND view.oid <> ALL (ARRAY[to_regclass('public.mv_server_latest_performance')::oid,
                             to_regclass('public.mv_server_daily_stats')::oid])
  AND view.oid <> refobjid
ORDER BY 1;

-- name: adopt_counts
SELECT (SELECT count(*) FROM performance_logs), (SELECT count(*) FROM streaming_checks),
       (SELECT count(*) FROM performance_logs_hourly);

-- name: adopt_grants
-- Who may read the materialized views, as statements for the views that replace them.
SELECT format('GRANT %s ON %s TO %s', privilege_type, relname,
              CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(grantee::regrole::text) END)
FROM pg_class, aclexplode(relacl)
WHERE oid IN (to_regclass('public.mv_server_latest_performance'), to_regclass('public.mv_server_daily_stats'))
  AND grantee <> relowner AND privilege_type = 'SELECT';

-- name: adopt_lock
LOCK TABLE performance_logs, streaming_checks, performance_logs_hourly IN ACCESS EXCLUSIVE MODE;

-- name: adopt_views
DROP MATERIALIZED VIEW IF EXISTS mv_server_latest_performance, mv_server_daily_stats;

-- name: adopt_performance
-- One statement, so that each partition is rewritten once.
ALTER TABLE performance_logs
  DROP CONSTRAINT performance_logs_pkey,
  ALTER ping_ms TYPE REAL,
  ALTER jitter_ms TYPE REAL,
  ALTER connection_time_ms TYPE REAL,
  ALTER connection_success DROP NOT NULL,
  ADD stream_id INT NOT NULL DEFAULT 0,
  ADD seq BIGINT NOT NULL DEFAULT 0,
  ADD protocol_id SMALLINT,
  ADD family SMALLINT,
  ADD sent INT,
  ADD received INT,
  ADD duplicates INT,
  ADD late INT,
  ADD send_errors INT,
  ADD rtt_min_ms REAL,
  ADD rtt_mean_ms REAL,
  ADD rtt_p95_ms REAL,
  ADD rtt_max_ms REAL,
  ADD rtt_stddev_ms REAL,
  ADD ipdv_mean_abs_ms REAL,
  ADD ipdv_pairs INT,
  ADD pdv_p95_ms REAL,
  ADD ttl SMALLINT,
  ADD direct_ping_ms REAL,
  ADD direct_jitter_ms REAL,
  ADD direct_packet_loss_pct REAL,
  ADD direct_download_mbps REAL,
  ADD direct_upload_mbps REAL,
  ADD failure TEXT,
  ADD stage TEXT,
  ADD quality INT NOT NULL DEFAULT 0,
  ADD CONSTRAINT performance_logs_pkey PRIMARY KEY (measured_at, server_id, probe_id, stream_id, seq);

-- name: adopt_hourly
ALTER TABLE performance_logs_hourly
  ALTER sample_count TYPE INT,
  ALTER avg_ping TYPE NUMERIC(8,2),
  ALTER min_ping TYPE REAL,
  ALTER max_ping TYPE REAL;

-- name: adopt_streaming
-- The table itself becomes the first partition of one that 0001 makes by its name.
ALTER TABLE streaming_checks RENAME TO streaming_checks_seed;
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT conname FROM pg_constraint
              WHERE conrelid = 'streaming_checks_seed'::regclass AND starts_with(conname, 'streaming_checks_') LOOP
    EXECUTE format('ALTER TABLE streaming_checks_seed RENAME CONSTRAINT %I TO %I',
                   name, replace(name, 'streaming_checks_', 'streaming_checks_seed_'));
  END LOOP;
END $$;
ALTER INDEX IF EXISTS idx_streaming_latest RENAME TO streaming_checks_seed_latest;
ALTER TABLE streaming_checks_seed
  DROP CONSTRAINT streaming_checks_seed_pkey,
  ALTER response_time_ms TYPE REAL,
  ADD stream_id INT NOT NULL DEFAULT 0,
  ADD seq BIGINT NOT NULL DEFAULT 0,
  ADD probe_id SMALLINT,
  ADD verdict TEXT,
  ADD region TEXT,
  ADD family SMALLINT,
  ADD rule_version TEXT,
  ADD evidence JSONB,
  ADD scope TEXT,
  ADD level TEXT,
  ADD via TEXT,
  ADD fidelity TEXT,
  ADD exchanges INT,
  ADD detail TEXT,
  ADD protocol_id SMALLINT,
  ADD credential TEXT,
  ADD failure TEXT,
  ADD stage TEXT,
  ADD quality INT NOT NULL DEFAULT 0,
  ADD CONSTRAINT streaming_checks_seed_pkey PRIMARY KEY (server_id, platform_id, checked_at, stream_id, seq);

-- name: adopt_attach
DO $$ BEGIN
  EXECUTE format('ALTER TABLE streaming_checks ATTACH PARTITION streaming_checks_seed FOR VALUES FROM (MINVALUE) TO (%L)',
    (SELECT date_trunc('month', greatest(max(checked_at), now()), 'UTC') AT TIME ZONE 'UTC' + interval '1 month'
     FROM streaming_checks_seed) AT TIME ZONE 'UTC');
END $$;

-- name: adopt_daily
INSERT INTO sonde.performance_daily
SELECT server_id, probe_id, date_trunc('day', measured_at, 'UTC'), count(*), avg(ping_ms)::numeric(8,2),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ping_ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY ping_ms),
       avg(download_mbps)::numeric(7,2), max(download_mbps), avg(upload_mbps)::numeric(7,2),
       (100.0 * count(*) FILTER (WHERE connection_success) / nullif(count(connection_success), 0))::numeric(5,2)
FROM performance_logs
GROUP BY server_id, probe_id, date_trunc('day', measured_at, 'UTC');

-- name: adopt_latest
-- The last known value of each metric.
INSERT INTO sonde.server_latest
SELECT server_id, probe_id, max(measured_at),
       (array_agg(ping_ms ORDER BY measured_at DESC) FILTER (WHERE ping_ms IS NOT NULL))[1],
       (array_agg(download_mbps ORDER BY measured_at DESC) FILTER (WHERE download_mbps IS NOT NULL))[1],
       (array_agg(upload_mbps ORDER BY measured_at DESC) FILTER (WHERE upload_mbps IS NOT NULL))[1],
       (array_agg(connection_success ORDER BY measured_at DESC) FILTER (WHERE connection_success IS NOT NULL))[1]
FROM performance_logs
WHERE measured_at >= (SELECT max(measured_at) FROM performance_logs) - interval '30 days'
GROUP BY server_id, probe_id;

-- name: adopt_vantages
INSERT INTO sonde.vantages (probe_id) SELECT id FROM probe_locations;
