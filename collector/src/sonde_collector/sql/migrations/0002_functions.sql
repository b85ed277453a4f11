-- 0002: the seed's functions by their names, and what partitions are made with.

-- ── Partitions ───────────────────────────────────────────────────────────────────────────────────────────

-- Every range of every partition in public and sonde: the parent, the child, and its bounds.
CREATE VIEW sonde.partition_ranges AS
SELECT parent.oid::regclass AS parent,
       child.oid::regclass AS child,
       bound = 'DEFAULT' AS is_default,
       coalesce(substring(bound FROM 'FROM \(''([^'']+)''\)')::timestamptz, '-infinity') AS lo,
       coalesce(substring(bound FROM 'TO \(''([^'']+)''\)')::timestamptz, 'infinity') AS hi
FROM pg_inherits
JOIN pg_class parent ON parent.oid = inhparent AND parent.relkind = 'p'
JOIN pg_class child ON child.oid = inhrelid
CROSS JOIN LATERAL pg_get_expr(child.relpartbound, child.oid) AS bound
WHERE parent.relnamespace IN ('public'::regnamespace, 'sonde'::regnamespace) AND NOT inhdetachpending;
COMMENT ON VIEW sonde.partition_ranges IS 'What is partitioned, and which time each partition holds (lo <= t < hi)';

-- Makes the partition of parent for lo <= t < hi apart and attaches it. CREATE ... PARTITION OF would lock the parent
-- against writers; a table made apart, with the matching CHECK on it, takes SHARE UPDATE EXCLUSIVE there for an instant
-- and is not scanned. The foreign keys are left to ATTACH, which checks them on the empty table: were they there
-- before, ATTACH would merge them and drop their triggers, for which it takes ACCESS EXCLUSIVE on the referenced
-- tables and waits for every open write (seen on 15 and 18). The caller holds sonde.lock_partitions().
CREATE FUNCTION sonde.attach_partition(parent regclass, name text, lo timestamptz, hi timestamptz)
RETURNS void LANGUAGE plpgsql SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
  place   text := (SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent);
  child   text := format('%I.%I', place, name);
  key     text := (SELECT attname FROM pg_partitioned_table JOIN pg_attribute ON attrelid = partrelid
                   AND attnum = partattrs[0] WHERE partrelid = parent);
BEGIN
  EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', child, parent);
  EXECUTE format('ALTER TABLE %s ADD CONSTRAINT partition_bound CHECK (%I IS NOT NULL AND %I >= %L AND %I < %L)',
                 child, key, key, lo, key, hi);
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', parent, child, lo, hi);
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT partition_bound', child);
END $$;
COMMENT ON FUNCTION sonde.attach_partition IS 'Makes one partition apart and attaches it without holding writers up';

-- One maker of partitions at a time, whoever it is; held to the end of the transaction.
CREATE FUNCTION sonde.lock_partitions() RETURNS void LANGUAGE sql AS $$
  SELECT pg_advisory_xact_lock(hashtext('sonde'), hashtext('partitions'))
$$;

-- Next month's partition of performance_logs, for those who schedule it with pg_cron. The collector makes partitions
-- by itself; where it already has, wholly or in part, this changes nothing.
CREATE OR REPLACE FUNCTION create_next_partition() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  next_lo timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
  next_hi timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months') AT TIME ZONE 'UTC';
BEGIN
  PERFORM sonde.lock_partitions();
  IF NOT EXISTS (SELECT FROM sonde.partition_ranges r WHERE r.parent = 'performance_logs'::regclass
                 AND NOT r.is_default AND r.lo < next_hi AND r.hi > next_lo) THEN
    PERFORM sonde.attach_partition('performance_logs', 'performance_logs_' || to_char(next_lo AT TIME ZONE 'UTC', 'YYYY_MM'),
                                   next_lo, next_hi);
  END IF;
END $$;
COMMENT ON FUNCTION create_next_partition() IS 'Next month''s partition of performance_logs, for pg_cron';

-- ── Rollup ───────────────────────────────────────────────────────────────────────────────────────────────

-- Recomputes, from all raw rows, the hours that were written to since the last call, however old, and the last two
-- whole ones. An hour that has no raw rows any more keeps what it has. One call at a time: a slower one with an older
-- view of the rows must not write last.
CREATE OR REPLACE PROCEDURE rollup_performance_logs() LANGUAGE plpgsql AS $$
DECLARE
  this_hour  timestamptz := date_trunc('hour', now(), 'UTC');
  hours      timestamptz[];
  month      timestamptz;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('sonde'), hashtext('rollup'));
  WITH seen AS (DELETE FROM sonde.dirty_marks WHERE series = 'performance' RETURNING hour)
  SELECT array_agg(DISTINCT hour) INTO hours
  FROM (SELECT hour FROM seen UNION VALUES (this_hour - interval '1 hour'), (this_hour - interval '2 hours')) AS due;

  PERFORM sonde.lock_partitions();
  FOR month IN SELECT DISTINCT date_trunc('month', hour, 'UTC') FROM unnest(hours) AS hour
               WHERE NOT EXISTS (SELECT FROM sonde.partition_ranges r WHERE r.parent = 'performance_logs_hourly'::regclass
                                 AND NOT r.is_default AND r.lo <= hour AND r.hi > hour)
  LOOP
    PERFORM sonde.attach_partition('performance_logs_hourly',
                                   'performance_logs_hourly_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM'),
                                   month, (month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
  END LOOP;

  INSERT INTO performance_logs_hourly AS kept
    (server_id, probe_id, hour, sample_count, avg_ping, min_ping, max_ping,
     avg_download, max_download, avg_upload, uptime_pct)
  SELECT log.server_id, log.probe_id, due.hour, count(*),
         avg(log.ping_ms)::numeric(8,2), min(log.ping_ms), max(log.ping_ms),
         avg(log.download_mbps)::numeric(7,2), max(log.download_mbps), avg(log.upload_mbps)::numeric(7,2),
         (100.0 * count(*) FILTER (WHERE log.connection_success) / nullif(count(log.connection_success), 0))::numeric(5,2)
  FROM unnest(hours) AS due(hour)
  JOIN performance_logs log ON log.measured_at >= due.hour AND log.measured_at < due.hour + interval '1 hour'
  GROUP BY log.server_id, log.probe_id, due.hour
  ON CONFLICT (hour, server_id, probe_id) DO UPDATE SET
    sample_count = excluded.sample_count, avg_ping = excluded.avg_ping, min_ping = excluded.min_ping,
    max_ping = excluded.max_ping, avg_download = excluded.avg_download, max_download = excluded.max_download,
    avg_upload = excluded.avg_upload, uptime_pct = excluded.uptime_pct;
  COMMIT;
END $$;
COMMENT ON PROCEDURE rollup_performance_logs() IS 'Hours written to since the last call, late data included, into performance_logs_hourly';

-- ── Ranking ──────────────────────────────────────────────────────────────────────────────────────────────

CREATE OR REPLACE FUNCTION get_country_vpn_ranking(p_country_code CHAR(2), p_limit INT DEFAULT 20)
RETURNS TABLE (
  server_id            INT,
  provider_name        VARCHAR,
  provider_slug        VARCHAR,
  city_name            VARCHAR,
  avg_download         NUMERIC,
  avg_ping             NUMERIC,
  uptime_pct           NUMERIC,
  protocols            TEXT[],
  streaming_platforms  TEXT[]
) LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH located AS (
    SELECT s.id, s.provider_id, c.name AS city_name
    FROM servers s
    JOIN cities c ON c.id = s.city_id
    JOIN countries co ON co.id = c.country_id
    WHERE co.iso_code = p_country_code AND s.is_active
  ),
  stats AS (
    SELECT ds.server_id, avg(ds.avg_download) AS avg_download, avg(ds.avg_ping) AS avg_ping,
           avg(ds.uptime_pct) AS uptime_pct
    FROM mv_server_daily_stats ds
    WHERE ds.day >= date_trunc('day', now(), 'UTC') - interval '7 days'
      AND ds.server_id IN (SELECT l.id FROM located l)
    GROUP BY ds.server_id
  ),
  -- What the newest check of a day says, not whether any check ever succeeded.
  newest AS (
    SELECT DISTINCT ON (sc.server_id, sc.platform_id) sc.server_id, sc.platform_id, sc.is_unlocked
    FROM streaming_checks sc
    WHERE sc.checked_at >= now() - interval '24 hours' AND sc.server_id IN (SELECT l.id FROM located l)
    ORDER BY sc.server_id, sc.platform_id, sc.checked_at DESC, sc.stream_id DESC, sc.seq DESC
  )
  SELECT
    l.id,
    p.name,
    p.slug,
    l.city_name,
    round(st.avg_download, 2),
    round(st.avg_ping, 1),
    round(st.uptime_pct, 1),
    ARRAY(SELECT pr.name::text FROM server_protocols sp JOIN protocols pr ON pr.id = sp.protocol_id
          WHERE sp.server_id = l.id ORDER BY pr.name),
    ARRAY(SELECT pl.slug::text FROM newest n JOIN streaming_platforms pl ON pl.id = n.platform_id
          WHERE n.server_id = l.id AND n.is_unlocked ORDER BY pl.slug)
  FROM located l
  JOIN providers p ON p.id = l.provider_id
  JOIN stats st ON st.server_id = l.id
  ORDER BY st.uptime_pct DESC NULLS LAST, st.avg_download DESC NULLS LAST, st.avg_ping ASC NULLS LAST, l.id
  LIMIT p_limit;
END $$;
COMMENT ON FUNCTION get_country_vpn_ranking IS 'A country''s servers over seven days: uptime, then speed, then ping';

-- ── Quality ──────────────────────────────────────────────────────────────────────────────────────────────

-- The bits of sonde_proto.quality, by name, lowest first; a bit this schema does not know is "bit_N".
CREATE FUNCTION sonde.quality_flags(quality int) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT coalesce(array_agg(coalesce(
    (ARRAY['user_stamps', 'success_by_ping', 'not_ready', 'clock_stepped', 'insecure', 'body_capped', 'raw_socket',
           'cpu_limited'])[bit + 1], 'bit_' || bit) ORDER BY bit), '{}')
  FROM generate_series(0, 30) AS bit
  WHERE quality & (1 << bit) <> 0
$$;
COMMENT ON FUNCTION sonde.quality_flags IS 'What a row''s quality bits say, in words';
