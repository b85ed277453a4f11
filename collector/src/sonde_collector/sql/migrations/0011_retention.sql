-- 0011: what leaves the database, how far each piece has come, and rollups that never count what is no longer there.
--
-- A partition leaves in steps, each told here: leaving (no rollup of it is begun, none is due) → detached (no write can
-- reach it) → written (its file was read back and holds the same) → archived (dropped). A turn that dies goes on there.

CREATE TABLE sonde.archives (
  name         TEXT PRIMARY KEY,
  parent       TEXT NOT NULL,
  lo           TIMESTAMPTZ NOT NULL,
  hi           TIMESTAMPTZ NOT NULL CHECK (hi > lo),
  state        TEXT NOT NULL CHECK (state IN ('leaving', 'detached', 'written', 'archived', 'deleted', 'restored')),
  file         TEXT,
  rows         BIGINT,
  first_at     TIMESTAMPTZ,
  last_at      TIMESTAMPTZ,
  bytes        BIGINT,
  hot_bytes    BIGINT,
  sha256       TEXT,
  digest       TEXT,
  columns      JSONB,
  schema       TEXT,
  database_id  UUID,
  left_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
  archived_at  TIMESTAMPTZ,
  restored_at  TIMESTAMPTZ,
  UNIQUE (parent, lo),
  CHECK (state NOT IN ('written', 'archived', 'restored') OR (file IS NOT NULL AND digest IS NOT NULL))
);
CREATE INDEX archives_by_end ON sonde.archives (parent, hi);
COMMENT ON TABLE sonde.archives IS 'Partitions that leave or have left the database, and where what they held is now';
COMMENT ON COLUMN sonde.archives.name IS 'The partition''s name; beside its parent''s schema there is a table of it until it is archived';
COMMENT ON COLUMN sonde.archives.parent IS 'The partitioned table, with its schema';
COMMENT ON COLUMN sonde.archives.state IS 'How far it has come; deleted: dropped without a file, as expired = "delete" says; restored: attached again';
COMMENT ON COLUMN sonde.archives.file IS 'Path below the archive''s folder or bucket; its manifest beside it ends in .json';
COMMENT ON COLUMN sonde.archives.first_at IS 'Time of its oldest row';
COMMENT ON COLUMN sonde.archives.last_at IS 'Time of its newest row';
COMMENT ON COLUMN sonde.archives.bytes IS 'Of the file';
COMMENT ON COLUMN sonde.archives.hot_bytes IS 'Of the partition with its indexes, before it was dropped';
COMMENT ON COLUMN sonde.archives.sha256 IS 'Of the file''s bytes';
COMMENT ON COLUMN sonde.archives.digest IS 'SHA-256 of the rows themselves, as COPY writes them in the file''s order: of the table, and equal in the file';
COMMENT ON COLUMN sonde.archives.columns IS 'Name and SQL type of each column, in their order';
COMMENT ON COLUMN sonde.archives.schema IS 'The newest migration when it was written';
COMMENT ON COLUMN sonde.archives.left_at IS 'When it began to leave';

-- What a mark's rollup reads and writes, and how far around its hour. What is gone of it can't be counted anew.
CREATE VIEW sonde.series_needs AS
SELECT * FROM (VALUES
  ('performance', 'public.performance_logs', interval '0', interval '1 hour'),
  ('performance', 'public.performance_logs_hourly', interval '0', interval '1 hour'),
  ('performance_day', 'public.performance_logs', interval '0', interval '1 day'),
  ('endpoint', 'sonde.endpoint_checks', interval '0', interval '1 hour'),
  ('endpoint', 'sonde.endpoint_minute', interval '0', interval '1 hour'),
  ('endpoint', 'sonde.endpoint_hour', interval '0', interval '1 hour'),
  ('endpoint_day', 'sonde.endpoint_checks', interval '0', interval '1 day'),
  ('held', 'sonde.performance_held', interval '1 hour', interval '2 hours'),
  ('held', 'public.performance_logs', interval '1 hour', interval '2 hours')
) AS needs (series, parent, before, after);
COMMENT ON VIEW sonde.series_needs IS 'Which partitioned tables a dirty mark of a series needs, and how far around its hour';

-- Whether anything of lo <= t < hi has left, or is about to.
CREATE FUNCTION sonde.is_gone(parent text, lo timestamptz, hi timestamptz) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT EXISTS (SELECT FROM sonde.archives a
                 WHERE a.parent = is_gone.parent AND a.state <> 'restored' AND a.hi > is_gone.lo AND a.lo < is_gone.hi)
$$;
COMMENT ON FUNCTION sonde.is_gone IS 'Whether a part of this time of a table has left the database, or is about to';

-- Whether a mark waits that needs rows of this partition.
CREATE FUNCTION sonde.is_dirty(parent text, lo timestamptz, hi timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM sonde.series_needs n JOIN sonde.dirty_marks m USING (series)
                 WHERE n.parent = is_dirty.parent
                   AND m.hour > is_dirty.lo - n.after AND m.hour < is_dirty.hi + n.before)
$$;
COMMENT ON FUNCTION sonde.is_dirty IS 'Whether a rollup is due that needs this time of a table';

-- As in 0007, but marks whose rows have left, or are about to, stay where they are: an hour counted anew from what came
-- late would be counted from that alone.
CREATE OR REPLACE FUNCTION sonde.take_marks(wanted text, most int) RETURNS TABLE (hour timestamptz, probes smallint[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('sonde'), hashtext('rollup/' || wanted));
  RETURN QUERY
  WITH due AS (
    SELECT DISTINCT m.hour, m.probe_id FROM sonde.dirty_marks m
    WHERE m.series = wanted AND NOT EXISTS (
      SELECT FROM sonde.series_needs n JOIN sonde.archives a USING (parent)
      WHERE n.series = wanted AND a.state <> 'restored' AND a.hi > m.hour - n.before AND a.lo < m.hour + n.after)
    ORDER BY m.hour DESC, m.probe_id LIMIT most
  ),
  seen AS (
    DELETE FROM sonde.dirty_marks AS mark USING due
    WHERE mark.series = wanted AND mark.hour = due.hour AND mark.probe_id = due.probe_id
    RETURNING mark.hour, mark.probe_id
  )
  SELECT hour, array_agg(DISTINCT probe_id) FROM seen GROUP BY hour ORDER BY hour DESC;
END $$;

-- As in 0008, but a day that is about to leave counts as one that has left.
CREATE OR REPLACE FUNCTION sonde.rollup_endpoint_months(most int DEFAULT 64) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  due    record;
  until  timestamptz;
  done   int := 0;
BEGIN
  FOR due IN SELECT * FROM sonde.take_marks('endpoint_month', most) LOOP
    until := (due.hour AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
    IF NOT EXISTS (
         SELECT FROM sonde.endpoint_day d
         WHERE d.bucket >= due.hour AND d.bucket < until AND d.probe_id = ANY (due.probes)
           AND (sonde.is_gone('sonde.endpoint_checks', d.bucket, d.bucket + interval '1 day')
                OR NOT EXISTS (SELECT FROM sonde.partition_ranges r WHERE r.parent = 'sonde.endpoint_checks'::regclass
                               AND NOT r.is_default AND r.lo <= d.bucket AND r.hi > d.bucket))) THEN
      PERFORM sonde.put_endpoint_buckets('month', due.hour, until, due.probes);
    ELSE
      INSERT INTO sonde.endpoint_month AS kept
        (target_id, probe_id, bucket, checks, ok, status_2xx, status_3xx, status_4xx, status_5xx, cache_hits, cache_known,
         timeouts, dns_errors, tls_errors, origin_errors)
      SELECT target_id, probe_id, due.hour, sum(checks), sum(ok), sum(status_2xx), sum(status_3xx), sum(status_4xx),
             sum(status_5xx), sum(cache_hits), sum(cache_known), sum(timeouts), sum(dns_errors), sum(tls_errors),
             sum(origin_errors)
      FROM sonde.endpoint_day WHERE bucket >= due.hour AND bucket < until AND probe_id = ANY (due.probes)
      GROUP BY target_id, probe_id
      ON CONFLICT (bucket, target_id, probe_id) DO UPDATE SET
        (checks, ok, status_2xx, status_3xx, status_4xx, status_5xx, cache_hits, cache_known, timeouts, dns_errors,
         tls_errors, origin_errors) =
        (excluded.checks, excluded.ok, excluded.status_2xx, excluded.status_3xx, excluded.status_4xx, excluded.status_5xx,
         excluded.cache_hits, excluded.cache_known, excluded.timeouts, excluded.dns_errors, excluded.tls_errors,
         excluded.origin_errors);
    END IF;
    done := done + 1;
  END LOOP;
  RETURN done;
END $$;

-- Tells that a partition is about to leave: from now on no rollup that needs it begins, and none is under way, for their
-- locks are held here. False where a rollup is due that still needs it; nothing is told then. Months need no mark of
-- theirs to be gone: where they can still be exact they are made so now, later they add up their days.
CREATE FUNCTION sonde.begin_leaving(name text, parent text, lo timestamptz, hi timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('sonde'), hashtext('rollup/' || series))
  FROM (SELECT DISTINCT n.series FROM sonde.series_needs n WHERE n.parent = begin_leaving.parent ORDER BY 1) AS needing;
  IF sonde.is_dirty(parent, lo, hi) THEN
    RETURN false;
  END IF;
  IF parent = 'sonde.endpoint_checks' THEN
    WHILE sonde.rollup_endpoint_months() > 0 LOOP NULL; END LOOP;
  END IF;
  INSERT INTO sonde.archives (name, parent, lo, hi, state) VALUES (name, parent, lo, hi, 'leaving')
  ON CONFLICT ON CONSTRAINT archives_pkey DO UPDATE SET state = 'leaving', left_at = now();
  RETURN true;
END $$;
COMMENT ON FUNCTION sonde.begin_leaving IS 'First step of a partition out of the database; false while a rollup is due that needs it';

-- Attaches a table that holds rows, as attach_partition does with an empty one: the matching CHECK keeps ATTACH from
-- reading it under its locks.
CREATE FUNCTION sonde.attach_loaded(parent regclass, child regclass, lo timestamptz, hi timestamptz)
RETURNS void LANGUAGE plpgsql SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
  key  text := (SELECT attname FROM pg_partitioned_table JOIN pg_attribute ON attrelid = partrelid
                AND attnum = partattrs[0] WHERE partrelid = parent);
BEGIN
  EXECUTE format('ALTER TABLE %s ADD CONSTRAINT partition_bound CHECK (%I IS NOT NULL AND %I >= %L AND %I < %L)',
                 child, key, key, lo, key, hi);
  EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', parent, child, lo, hi);
  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT partition_bound', child);
END $$;
COMMENT ON FUNCTION sonde.attach_loaded IS 'Attaches a table that holds the rows of one partition';
