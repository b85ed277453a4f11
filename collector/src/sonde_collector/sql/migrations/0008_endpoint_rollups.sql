-- 0008: endpoint checks by minute, hour, day and month: how many, how they went, how long those that went well took.
-- Marks and their order as in 0007.

CREATE TABLE sonde.endpoint_minute (
  target_id           INT NOT NULL,
  probe_id            SMALLINT NOT NULL,
  bucket              TIMESTAMPTZ NOT NULL,
  checks              INT NOT NULL,
  ok                  INT NOT NULL,
  status_2xx          INT NOT NULL,
  status_3xx          INT NOT NULL,
  status_4xx          INT NOT NULL,
  status_5xx          INT NOT NULL,
  cache_hits          INT NOT NULL,
  cache_known         INT NOT NULL,
  timeouts            INT NOT NULL,
  dns_errors          INT NOT NULL,
  tls_errors          INT NOT NULL,
  origin_errors       INT NOT NULL,
  avg_total_ms        REAL,
  p50_total_ms        REAL,
  p95_total_ms        REAL,
  p99_total_ms        REAL,
  p50_first_byte_ms   REAL,
  p95_first_byte_ms   REAL,
  PRIMARY KEY (bucket, target_id, probe_id)
) PARTITION BY RANGE (bucket);
CREATE TABLE sonde.endpoint_hour (LIKE sonde.endpoint_minute INCLUDING ALL) PARTITION BY RANGE (bucket);
CREATE TABLE sonde.endpoint_day (LIKE sonde.endpoint_minute INCLUDING ALL);
CREATE TABLE sonde.endpoint_month (LIKE sonde.endpoint_minute INCLUDING ALL);
CREATE TRIGGER unchanged BEFORE UPDATE ON sonde.endpoint_minute
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER unchanged BEFORE UPDATE ON sonde.endpoint_hour
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER unchanged BEFORE UPDATE ON sonde.endpoint_day
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER unchanged BEFORE UPDATE ON sonde.endpoint_month
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
COMMENT ON TABLE sonde.endpoint_minute IS 'endpoint_checks by minute: counts, and times of the checks that went well';
COMMENT ON TABLE sonde.endpoint_hour IS 'endpoint_checks by hour';
COMMENT ON TABLE sonde.endpoint_day IS 'endpoint_checks by day (UTC)';
COMMENT ON TABLE sonde.endpoint_month IS 'endpoint_checks by calendar month (UTC)';
COMMENT ON COLUMN sonde.endpoint_minute.cache_known IS 'Answers that said whether they came from a cache';
COMMENT ON COLUMN sonde.endpoint_minute.origin_errors IS 'Status 5xx, refused or reset: the origin''s fault';

-- The rows of endpoint_checks from lo to hi of some vantages, by buckets of one width. A bucket is exact: its percentiles
-- are those of its rows.
CREATE FUNCTION sonde.endpoint_buckets(width text, lo timestamptz, hi timestamptz, probes smallint[])
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
  GROUP BY target_id, probe_id, date_trunc(width, measured_at, 'UTC')
$$;
COMMENT ON FUNCTION sonde.endpoint_buckets IS 'endpoint_checks of some vantages by buckets of one width';

-- Puts those buckets into one of the tables above.
CREATE FUNCTION sonde.put_endpoint_buckets(width text, lo timestamptz, hi timestamptz, probes smallint[])
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF width IN ('minute', 'hour') THEN
    PERFORM sonde.cover(format('sonde.endpoint_%s', width)::regclass, lo);
  END IF;
  EXECUTE format($put$
    INSERT INTO sonde.endpoint_%I AS kept SELECT * FROM sonde.endpoint_buckets(%L, $1, $2, $3)
    ON CONFLICT (bucket, target_id, probe_id) DO UPDATE SET
      (checks, ok, status_2xx, status_3xx, status_4xx, status_5xx, cache_hits, cache_known, timeouts, dns_errors,
       tls_errors, origin_errors, avg_total_ms, p50_total_ms, p95_total_ms, p99_total_ms, p50_first_byte_ms,
       p95_first_byte_ms) =
      (excluded.checks, excluded.ok, excluded.status_2xx, excluded.status_3xx, excluded.status_4xx, excluded.status_5xx,
       excluded.cache_hits, excluded.cache_known, excluded.timeouts, excluded.dns_errors, excluded.tls_errors,
       excluded.origin_errors, excluded.avg_total_ms, excluded.p50_total_ms, excluded.p95_total_ms,
       excluded.p99_total_ms, excluded.p50_first_byte_ms, excluded.p95_first_byte_ms)
  $put$, width, width) USING lo, hi, probes;
END $$;
COMMENT ON FUNCTION sonde.put_endpoint_buckets IS 'Recomputes the buckets of one width between two times';

CREATE FUNCTION sonde.rollup_endpoint_hours(most int DEFAULT 256) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  due   record;
  done  int := 0;
BEGIN
  FOR due IN SELECT * FROM sonde.take_marks('endpoint', most) LOOP
    PERFORM sonde.put_endpoint_buckets('minute', due.hour, due.hour + interval '1 hour', due.probes);
    PERFORM sonde.put_endpoint_buckets('hour', due.hour, due.hour + interval '1 hour', due.probes);
    INSERT INTO sonde.dirty_marks (series, hour, probe_id)
    SELECT 'endpoint_day', date_trunc('day', due.hour, 'UTC'), probe FROM unnest(due.probes) AS probe;
    done := done + 1;
  END LOOP;
  RETURN done;
END $$;
COMMENT ON FUNCTION sonde.rollup_endpoint_hours IS 'Hours written to since the last call into endpoint_minute and endpoint_hour';

CREATE FUNCTION sonde.rollup_endpoint_days(most int DEFAULT 256) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  due   record;
  done  int := 0;
BEGIN
  FOR due IN SELECT * FROM sonde.take_marks('endpoint_day', most) LOOP
    PERFORM sonde.put_endpoint_buckets('day', due.hour, due.hour + interval '1 day', due.probes);
    INSERT INTO sonde.dirty_marks (series, hour, probe_id)
    SELECT 'endpoint_month', date_trunc('month', due.hour, 'UTC'), probe FROM unnest(due.probes) AS probe;
    done := done + 1;
  END LOOP;
  RETURN done;
END $$;
COMMENT ON FUNCTION sonde.rollup_endpoint_days IS 'Days whose hours changed since the last call into endpoint_day';

-- A month of which retention has already dropped a day's rows keeps its percentiles, and takes its counts from its days.
CREATE FUNCTION sonde.rollup_endpoint_months(most int DEFAULT 64) RETURNS int LANGUAGE plpgsql AS $$
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
           AND NOT EXISTS (SELECT FROM sonde.partition_ranges r WHERE r.parent = 'sonde.endpoint_checks'::regclass
                           AND NOT r.is_default AND r.lo <= d.bucket AND r.hi > d.bucket)) THEN
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
COMMENT ON FUNCTION sonde.rollup_endpoint_months IS 'Months whose days changed since the last call into endpoint_month';

INSERT INTO sonde.dirty_marks (series, hour, probe_id)
SELECT DISTINCT 'endpoint', date_trunc('hour', measured_at, 'UTC'), probe_id FROM sonde.endpoint_checks;
