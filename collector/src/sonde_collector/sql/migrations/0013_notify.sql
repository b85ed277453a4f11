-- 0013: who hears of an event, what is silenced, and what planned work takes out of uptime.

-- ── Channels and deliveries ──────────────────────────────────────────────────────────────────────────────

CREATE TABLE sonde.notify_channels (
  key            TEXT PRIMARY KEY,
  spec           JSONB NOT NULL,
  is_active      BOOLEAN NOT NULL DEFAULT true,
  updated_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
  last_sent_at   TIMESTAMPTZ,
  last_error_at  TIMESTAMPTZ,
  last_error     TEXT
) WITH (fillfactor = 50);
COMMENT ON TABLE sonde.notify_channels IS 'Where notices go; spec is the [[notify]] as written: it names files of secrets, never their content';
COMMENT ON COLUMN sonde.notify_channels.last_error IS 'What the last attempt that failed was answered, without any secret';

-- An event is planned once: a flag on each, as ids are drawn before they are committed and a cursor over them would skip.
ALTER TABLE sonde.events ADD COLUMN planned_at TIMESTAMPTZ;
UPDATE sonde.events SET planned_at = at;
CREATE INDEX events_unplanned ON sonde.events (id) WHERE planned_at IS NULL;
CREATE INDEX events_by_topic ON sonde.events (topic, id DESC) WHERE topic IS NOT NULL;
COMMENT ON COLUMN sonde.events.planned_at IS 'When its deliveries were made; NULL = not yet';

-- One row for each event and channel that was there when it was planned.
CREATE TABLE sonde.deliveries (
  event_id     BIGINT NOT NULL REFERENCES sonde.events(id) ON DELETE CASCADE,
  channel      TEXT NOT NULL REFERENCES sonde.notify_channels(key) ON DELETE CASCADE,
  topic        TEXT,
  state        TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'failed', 'silenced', 'filtered', 'duplicate')),
  attempts     INT NOT NULL DEFAULT 0,
  next_at      TIMESTAMPTZ NOT NULL DEFAULT now(),
  created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
  done_at      TIMESTAMPTZ,
  silenced_by  TEXT,
  last_error   TEXT,
  PRIMARY KEY (event_id, channel)
) WITH (fillfactor = 50);
CREATE INDEX deliveries_waiting ON sonde.deliveries (channel, next_at, event_id) WHERE state = 'waiting';
CREATE INDEX deliveries_waiting_by_topic ON sonde.deliveries (channel, topic, event_id) WHERE state = 'waiting';
CREATE INDEX deliveries_failed ON sonde.deliveries (channel, done_at) WHERE state = 'failed';
CREATE INDEX deliveries_by_end ON sonde.deliveries (done_at);
CREATE INDEX deliveries_filtered ON sonde.deliveries (channel, topic, event_id) WHERE state = 'filtered';
CREATE INDEX deliveries_silenced ON sonde.deliveries (channel, topic) WHERE state = 'silenced' AND done_at IS NULL;
COMMENT ON TABLE sonde.deliveries IS 'What becomes of each event on each channel';
COMMENT ON COLUMN sonde.deliveries.state IS
  'waiting: to be sent · sent · failed: given up · silenced · filtered: the channel does not ask for it · duplicate: it says nothing that the channel was not told';
COMMENT ON COLUMN sonde.deliveries.done_at IS 'When nothing more will become of it; a silenced one is looked at again until then';
COMMENT ON COLUMN sonde.deliveries.silenced_by IS 'The silence or maintenance window';
COMMENT ON COLUMN sonde.deliveries.last_error IS 'Without any secret';

-- What each channel was told that goes on, and was not told the end of.
CREATE TABLE sonde.told (
  channel   TEXT NOT NULL REFERENCES sonde.notify_channels(key) ON DELETE CASCADE,
  topic     TEXT NOT NULL,
  event_id  BIGINT NOT NULL REFERENCES sonde.events(id) ON DELETE CASCADE,
  since     TIMESTAMPTZ NOT NULL,
  PRIMARY KEY (channel, topic)
);
COMMENT ON TABLE sonde.told IS 'What each channel was told that goes on still';
COMMENT ON COLUMN sonde.told.since IS 'When the first event of this stretch happened';

-- ── Silences ─────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sonde.silences (
  id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subjects    TEXT[],
  objects     TEXT[],
  kinds       TEXT[],
  vantages    TEXT[],
  from_at     TIMESTAMPTZ NOT NULL DEFAULT now(),
  until_at    TIMESTAMPTZ NOT NULL,
  reason      TEXT NOT NULL,
  created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
  CHECK (until_at > from_at),
  CHECK (num_nonnulls(subjects, objects, kinds, vantages) > 0)
);
COMMENT ON TABLE sonde.silences IS 'Events that are kept but not told for a while: all that is not NULL must match, by keys with * and ?';
COMMENT ON COLUMN sonde.silences.objects IS 'server, target, origin_group, provider, vantage, credential, collector, channel';

-- ── Maintenance ──────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sonde.maintenance_windows (
  id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key         TEXT UNIQUE,
  spec        JSONB,
  servers     TEXT[],
  targets     TEXT[],
  vantages    TEXT[],
  from_at     TIMESTAMPTZ NOT NULL,
  until_at    TIMESTAMPTZ NOT NULL,
  weekly      BOOLEAN NOT NULL DEFAULT false,
  ended_at    TIMESTAMPTZ,
  reason      TEXT NOT NULL,
  created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
  CHECK (until_at > from_at),
  CHECK (NOT weekly OR until_at <= from_at + interval '168 hours'),
  CHECK (num_nonnulls(servers, targets, vantages) > 0)
);
COMMENT ON TABLE sonde.maintenance_windows IS 'Planned work: what is measured then is kept, but does not count for uptime, and its events are silenced';
COMMENT ON COLUMN sonde.maintenance_windows.key IS 'Of a [[maintenance]] in the fleet file; NULL = of `silence add --maintenance`';
COMMENT ON COLUMN sonde.maintenance_windows.servers IS 'Keys with * and ?; servers and targets both NULL = all';
COMMENT ON COLUMN sonde.maintenance_windows.vantages IS 'As measured from these only; NULL = from anywhere';
COMMENT ON COLUMN sonde.maintenance_windows.weekly IS 'Every 168 hours again from from_at to until_at, in UTC';
COMMENT ON COLUMN sonde.maintenance_windows.ended_at IS 'It is over since then, though what passed before stays out of uptime';

-- A key with * and ? as a LIKE pattern: unlike a regular expression no text of a person makes it fail.
CREATE FUNCTION sonde.glob_like(glob text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT replace(replace(replace(replace(replace(glob, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'), '?', '_')
$$;
COMMENT ON FUNCTION sonde.glob_like IS 'The LIKE pattern of a key with * and ?';

CREATE FUNCTION sonde.glob_likes(globs text[]) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT array_agg(sonde.glob_like(glob)) FROM unnest(globs) AS glob
$$;
COMMENT ON FUNCTION sonde.glob_likes IS 'The LIKE patterns of keys with * and ?; NULL of none';

CREATE FUNCTION sonde.chosen(key text, globs text[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(key LIKE ANY (sonde.glob_likes(globs)), false)
$$;
COMMENT ON FUNCTION sonde.chosen IS 'Whether one of the globs matches the key';

-- When a window is open between two times.
CREATE FUNCTION sonde.window_spans(w sonde.maintenance_windows, lo timestamptz, hi timestamptz)
RETURNS TABLE (begins timestamptz, ends timestamptz) LANGUAGE sql STABLE AS $$
  SELECT begins, least(ends, w.ended_at)
  FROM (
    SELECT w.from_at + k * interval '168 hours' AS begins, w.until_at + k * interval '168 hours' AS ends
    FROM generate_series(
      CASE WHEN w.weekly THEN greatest(0, floor(extract(epoch FROM lo - w.until_at) / 604800)::bigint) ELSE 0 END,
      CASE WHEN w.weekly THEN floor(extract(epoch FROM hi - w.from_at) / 604800)::bigint ELSE 0 END) AS k
  ) AS turn
  WHERE begins < hi AND ends > lo AND (w.ended_at IS NULL OR w.ended_at > begins AND w.ended_at > lo)
$$;
COMMENT ON FUNCTION sonde.window_spans IS 'When a maintenance window is open between two times';

CREATE FUNCTION sonde.any_maintenance(lo timestamptz, hi timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM sonde.maintenance_windows AS w, sonde.window_spans(w, lo, hi))
$$;
COMMENT ON FUNCTION sonde.any_maintenance IS 'Whether any window is open between two times';

-- The vantages that a window speaks of; NULL = all.
CREATE FUNCTION sonde.window_probes(w sonde.maintenance_windows) RETURNS smallint[] LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN w.vantages IS NOT NULL THEN
    (SELECT coalesce(array_agg(id), '{}') FROM probe_locations WHERE sonde.chosen(code, w.vantages)) END
$$;
COMMENT ON FUNCTION sonde.window_probes IS 'The vantages that a maintenance window speaks of; NULL = all';

CREATE FUNCTION sonde.server_maintenance(lo timestamptz, hi timestamptz)
RETURNS TABLE (server_id int, begins timestamptz, ends timestamptz, probes smallint[]) LANGUAGE sql STABLE AS $$
  WITH span AS MATERIALIZED (  -- patterns are made once, not once a server
    SELECT turn.begins, turn.ends, sonde.window_probes(w) AS probes, sonde.glob_likes(w.servers) AS keys,
           w.servers IS NULL AND w.targets IS NULL AS every_one
    FROM sonde.maintenance_windows AS w CROSS JOIN LATERAL sonde.window_spans(w, lo, hi) AS turn
  )
  SELECT s.id, span.begins, span.ends, span.probes
  FROM span
  JOIN servers AS s ON true
  LEFT JOIN sonde.server_keys AS k ON k.server_id = s.id
  WHERE span.every_one OR coalesce(k.key, s.hostname, host(s.ip_address)) LIKE ANY (span.keys)
$$;
COMMENT ON FUNCTION sonde.server_maintenance IS 'Which servers are worked on when, between two times, and as seen from where; NULL = from anywhere';

CREATE FUNCTION sonde.target_maintenance(lo timestamptz, hi timestamptz)
RETURNS TABLE (target_id int, begins timestamptz, ends timestamptz, probes smallint[]) LANGUAGE sql STABLE AS $$
  WITH span AS MATERIALIZED (
    SELECT turn.begins, turn.ends, sonde.window_probes(w) AS probes, sonde.glob_likes(w.targets) AS keys,
           w.servers IS NULL AND w.targets IS NULL AS every_one
    FROM sonde.maintenance_windows AS w CROSS JOIN LATERAL sonde.window_spans(w, lo, hi) AS turn
  )
  SELECT t.id, span.begins, span.ends, span.probes
  FROM span JOIN sonde.targets AS t ON span.every_one OR t.key LIKE ANY (span.keys)
$$;
COMMENT ON FUNCTION sonde.target_maintenance IS 'Which targets are worked on when, between two times, and as seen from where; NULL = from anywhere';

-- Every hour of a window that has passed and still has raw rows is counted anew, once the window's own transaction commits.
CREATE FUNCTION sonde.mark_window(w sonde.maintenance_windows) RETURNS void LANGUAGE sql AS $$
  INSERT INTO sonde.dirty_marks (series, hour, probe_id)
  SELECT DISTINCT kept.series, hour, p.id
  FROM (
    SELECT named.series, min(r.lo) AS since
    FROM (VALUES ('performance', 'performance_logs'::regclass), ('endpoint', 'sonde.endpoint_checks'::regclass))
      AS named(series, parent)
    JOIN sonde.partition_ranges AS r ON r.parent = named.parent AND NOT r.is_default AND isfinite(r.lo)
    GROUP BY named.series
  ) AS kept
  CROSS JOIN LATERAL sonde.window_spans(w, kept.since, now() + interval '15 minutes') AS span
  CROSS JOIN LATERAL generate_series(
    date_trunc('hour', greatest(span.begins, kept.since), 'UTC'),
    least(span.ends, now() + interval '15 minutes') - interval '1 microsecond', interval '1 hour') AS hour
  JOIN probe_locations AS p ON w.vantages IS NULL OR sonde.chosen(p.code, w.vantages)
$$;
COMMENT ON FUNCTION sonde.mark_window IS 'Marks the hours of a maintenance window dirty';

CREATE FUNCTION sonde.window_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    PERFORM sonde.mark_window(OLD);
  END IF;
  IF TG_OP <> 'DELETE' THEN
    PERFORM sonde.mark_window(NEW);
  END IF;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION sonde.window_changed IS 'Trigger: what a window took out of uptime, or gives back, is counted anew';
CREATE TRIGGER window_changed AFTER INSERT OR UPDATE OR DELETE ON sonde.maintenance_windows
FOR EACH ROW EXECUTE FUNCTION sonde.window_changed();

-- ── Rollups: what lies in a window is taken off the counts of uptime ─────────────────────────────────────

-- As 0007's performance_figures: of all rows.
CREATE FUNCTION sonde.all_performance_figures(lo timestamptz, hi timestamptz, probes smallint[])
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
COMMENT ON FUNCTION sonde.all_performance_figures IS 'Exact figures of each server and vantage between two times, maintenance or not';

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
  'Exact figures of each server and vantage between two times; what was measured in a maintenance window does not count for uptime';
COMMENT ON COLUMN performance_logs_hourly.connection_count IS 'Runs that tried to connect, outside maintenance windows';
COMMENT ON COLUMN performance_logs_hourly.connection_ok IS 'Runs of connection_count that connected';

-- As 0008's endpoint_buckets: of all rows.
CREATE FUNCTION sonde.all_endpoint_buckets(width text, lo timestamptz, hi timestamptz, probes smallint[])
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
COMMENT ON FUNCTION sonde.all_endpoint_buckets IS 'endpoint_checks of some vantages by buckets of one width, maintenance or not';

-- The counts of checks, their outcomes and their statuses are of the checks outside every window, so that each share of
-- them stays a share; checks may be 0. Times and caches are of all checks.
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
  'endpoint_checks of some vantages by buckets of one width; a check in a maintenance window is not counted, though its times are';
COMMENT ON COLUMN sonde.endpoint_minute.checks IS 'Outside maintenance windows, as all counts but those of caches; may be 0';

-- ── What the fleet watch asks ────────────────────────────────────────────────────────────────────────────

CREATE INDEX rejected_results_by_time ON sonde.rejected_results (rejected_at);
