-- 0010: what is kept for answers: each server's days over all its vantages, its last week, and speeds that grow old.
--
-- A day of sonde.performance_daily has one row per server and vantage: averaging a week of 50 vantages and 2000 servers is
-- 700 000 rows. So whoever writes such a day marks it (series 'server_day'), and a rollup of its own makes the day of each
-- server from its vantages, then the week from the days. Vantages count by weight, not by how often they measure.

ALTER TABLE sonde.vantages ADD COLUMN weight DOUBLE PRECISION NOT NULL DEFAULT 1 CHECK (weight > 0);
COMMENT ON COLUMN sonde.vantages.weight IS 'How much its word counts in means over vantages; 1 is usual';

-- Of one server: what all that it answers is read by. INCLUDE lets the first seed's trend read the index alone: the rows of
-- one server lie as far apart as there are servers.
CREATE INDEX performance_logs_by_server ON performance_logs (server_id, measured_at)
  INCLUDE (ping_ms, download_mbps, connection_success);
CREATE INDEX performance_logs_hourly_by_server ON performance_logs_hourly (server_id, hour);
CREATE INDEX endpoint_minute_by_target ON sonde.endpoint_minute (target_id, bucket);
CREATE INDEX endpoint_hour_by_target ON sonde.endpoint_hour (target_id, bucket);
CREATE INDEX endpoint_day_by_target ON sonde.endpoint_day (target_id, bucket);
CREATE INDEX endpoint_month_by_target ON sonde.endpoint_month (target_id, bucket);

CREATE FUNCTION sonde.today() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT date_trunc('day', now(), 'UTC')
$$;
COMMENT ON FUNCTION sonde.today IS 'When this day began, in UTC';

-- ── Days of a server ─────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE sonde.server_days (
  server_id         INT NOT NULL,
  day               TIMESTAMPTZ NOT NULL,
  vantages          INT NOT NULL,
  sample_count      BIGINT NOT NULL,
  download_count    BIGINT NOT NULL,
  avg_download      DOUBLE PRECISION,
  median_download   DOUBLE PRECISION,
  upload_count      BIGINT NOT NULL,
  avg_upload        DOUBLE PRECISION,
  median_upload     DOUBLE PRECISION,
  ping_count        BIGINT NOT NULL,
  avg_ping          DOUBLE PRECISION,
  median_ping       DOUBLE PRECISION,
  p95_ping          DOUBLE PRECISION,
  connection_count  BIGINT NOT NULL,
  connection_ok     BIGINT NOT NULL,
  uptime_pct        DOUBLE PRECISION,
  uptime_samples    DOUBLE PRECISION,
  download_cells    INT NOT NULL,
  download_total    NUMERIC,
  ping_cells        INT NOT NULL,
  ping_total        NUMERIC,
  uptime_cells      INT NOT NULL,
  uptime_total      NUMERIC,
  PRIMARY KEY (server_id, day)
) WITH (fillfactor = 70);
CREATE INDEX server_days_by_day ON sonde.server_days (day);
COMMENT ON TABLE sonde.server_days IS 'Each server''s days (UTC) over all vantages, from sonde.performance_daily';
COMMENT ON COLUMN sonde.server_days.avg_download IS 'Mean of the vantages'' means, by their weights; so are upload, ping, uptime';
COMMENT ON COLUMN sonde.server_days.median_download IS 'Median of the vantages'' means; so is upload';
COMMENT ON COLUMN sonde.server_days.median_ping IS 'Median of the vantages'' medians';
COMMENT ON COLUMN sonde.server_days.p95_ping IS 'Median of the vantages'' 95th percentiles';
COMMENT ON COLUMN sonde.server_days.uptime_samples IS
  'How many connections of one vantage would tell uptime_pct as well: (sum w)^2 / sum(w^2 / n) (Kish)';
COMMENT ON COLUMN sonde.server_days.download_total IS
  'Sum of the vantages'' means, whatever their weights, and download_cells of how many: the first seed''s averages';

-- Days from lo to hi of the vantages named (NULL = all), of one server or (NULL) all.
CREATE FUNCTION sonde.server_day_figures(lo timestamptz, hi timestamptz, probes smallint[], server int)
RETURNS SETOF sonde.server_days LANGUAGE sql STABLE AS $$
  SELECT cell.server_id, cell.day, count(*)::int, sum(cell.sample_count)::bigint,
         coalesce(sum(cell.download_count), 0),
         sum(cell.w * cell.avg_download) / sum(cell.w) FILTER (WHERE cell.avg_download IS NOT NULL),
         percentile_cont(0.5) WITHIN GROUP (ORDER BY cell.avg_download),
         coalesce(sum(cell.upload_count), 0),
         sum(cell.w * cell.avg_upload) / sum(cell.w) FILTER (WHERE cell.avg_upload IS NOT NULL),
         percentile_cont(0.5) WITHIN GROUP (ORDER BY cell.avg_upload),
         coalesce(sum(cell.ping_count), 0),
         sum(cell.w * cell.avg_ping) / sum(cell.w) FILTER (WHERE cell.avg_ping IS NOT NULL),
         percentile_cont(0.5) WITHIN GROUP (ORDER BY cell.median_ping),
         percentile_cont(0.5) WITHIN GROUP (ORDER BY cell.p95_ping),
         coalesce(sum(cell.connection_count), 0), coalesce(sum(cell.connection_ok), 0),
         100 * sum(cell.w * cell.connection_ok / cell.tried) / sum(cell.w) FILTER (WHERE cell.tried > 0),
         (sum(cell.w) FILTER (WHERE cell.tried > 0)) ^ 2 / sum(cell.w ^ 2 / cell.tried),
         count(cell.avg_download)::int, sum(cell.avg_download),
         count(cell.avg_ping)::int, sum(cell.avg_ping),
         count(cell.uptime_pct)::int, sum(cell.uptime_pct)
  FROM (
    SELECT daily.*, coalesce(vantage.weight, 1) AS w, nullif(daily.connection_count, 0)::float8 AS tried
    FROM sonde.performance_daily AS daily
    LEFT JOIN sonde.vantages AS vantage ON vantage.probe_id = daily.probe_id
    WHERE daily.day >= lo AND daily.day < hi
      AND (server IS NULL OR daily.server_id = server) AND (probes IS NULL OR daily.probe_id = ANY (probes))
  ) AS cell
  GROUP BY cell.server_id, cell.day
$$;
COMMENT ON FUNCTION sonde.server_day_figures IS 'Days of servers over some vantages, by weight';

CREATE FUNCTION sonde.mark_server_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sonde.dirty_marks (series, hour, probe_id) SELECT DISTINCT 'server_day', day, 0::smallint FROM written;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION sonde.mark_server_days IS 'Whoever writes days of vantages marks the days of servers';
CREATE TRIGGER mark_inserted AFTER INSERT ON sonde.performance_daily REFERENCING NEW TABLE AS written
FOR EACH STATEMENT EXECUTE FUNCTION sonde.mark_server_days();
CREATE TRIGGER mark_updated AFTER UPDATE ON sonde.performance_daily REFERENCING NEW TABLE AS written
FOR EACH STATEMENT EXECUTE FUNCTION sonde.mark_server_days();

CREATE FUNCTION sonde.weight_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sonde.dirty_marks (series, hour, probe_id)
  SELECT 'server_day', day AT TIME ZONE 'UTC', 0
  FROM (SELECT min(day) AT TIME ZONE 'UTC' AS first, max(day) AT TIME ZONE 'UTC' AS last FROM sonde.performance_daily) AS kept,
       generate_series(kept.first, kept.last, interval '1 day') AS day;
  RETURN NULL;
END $$;
COMMENT ON FUNCTION sonde.weight_changed IS 'Another weight of a vantage changes every day, the newest first';
CREATE TRIGGER weight_set AFTER INSERT ON sonde.vantages
FOR EACH ROW WHEN (NEW.weight <> 1) EXECUTE FUNCTION sonde.weight_changed();
CREATE TRIGGER weight_changed AFTER UPDATE OF weight ON sonde.vantages
FOR EACH ROW WHEN (NEW.weight <> OLD.weight) EXECUTE FUNCTION sonde.weight_changed();

-- ── Windows of days ──────────────────────────────────────────────────────────────────────────────────────

-- Wilson's interval for a share of so many samples, at 95 %: what bounds the truth when few were asked.
CREATE FUNCTION sonde.wilson(share double precision, samples double precision, side int) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN share IS NOT NULL AND samples IS NOT NULL THEN least(greatest(
    (share + 1.9208 / samples + side * 1.96 * sqrt(greatest(share * (1 - share), 0) / samples + 0.9604 / samples ^ 2))
    / (1 + 3.8416 / samples), 0), 1) END
$$;
COMMENT ON FUNCTION sonde.wilson IS 'Lower (side -1) or upper (1) end of Wilson''s 95 % interval (Wilson 1927)';

CREATE TABLE sonde.server_week (
  server_id         INT PRIMARY KEY,
  today             TIMESTAMPTZ NOT NULL,
  vantages          INT NOT NULL,
  sample_count      BIGINT NOT NULL,
  download_count    BIGINT NOT NULL,
  avg_download      DOUBLE PRECISION,
  median_download   DOUBLE PRECISION,
  upload_count      BIGINT NOT NULL,
  avg_upload        DOUBLE PRECISION,
  median_upload     DOUBLE PRECISION,
  ping_count        BIGINT NOT NULL,
  avg_ping          DOUBLE PRECISION,
  median_ping       DOUBLE PRECISION,
  connection_count  BIGINT NOT NULL,
  connection_ok     BIGINT NOT NULL,
  uptime_pct        DOUBLE PRECISION,
  uptime_samples    DOUBLE PRECISION,
  uptime_low        DOUBLE PRECISION,
  uptime_high       DOUBLE PRECISION,
  by_uptime         DOUBLE PRECISION NOT NULL,
  by_speed          DOUBLE PRECISION NOT NULL,
  by_ping           DOUBLE PRECISION NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX server_week_by_rank ON sonde.server_week (by_uptime, by_speed, by_ping, server_id);
CREATE TRIGGER unchanged BEFORE UPDATE ON sonde.server_days
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER unchanged BEFORE UPDATE ON sonde.server_week
FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
COMMENT ON TABLE sonde.server_week IS 'Each server''s last seven days and the begun one; right on the day that stands in today';
COMMENT ON COLUMN sonde.server_week.avg_download IS 'Mean of the days'' means, by how often each day measured; so are the others';
COMMENT ON COLUMN sonde.server_week.median_download IS 'Median of the days'' medians; so are the others';
COMMENT ON COLUMN sonde.server_week.vantages IS 'The most of a day';
COMMENT ON COLUMN sonde.server_week.by_uptime IS
  'What servers are ranked by, most first: whole percents of uptime_low, then by_speed, then by_ping; -1, -1, -1e300 = unknown';
COMMENT ON COLUMN sonde.server_week.uptime_low IS 'Lower end of Wilson''s 95 % interval: few samples promise little';

-- So many whole days and the begun one, of the vantages named (NULL = all).
CREATE FUNCTION sonde.server_windows(days int, probes smallint[]) RETURNS SETOF sonde.server_week LANGUAGE sql STABLE AS $$
  SELECT figures.*,
         100 * sonde.wilson(figures.uptime_pct / 100, figures.uptime_samples, -1),
         100 * sonde.wilson(figures.uptime_pct / 100, figures.uptime_samples, 1),
         coalesce(floor(100 * sonde.wilson(figures.uptime_pct / 100, figures.uptime_samples, -1)), -1),
         coalesce(figures.avg_download, -1), coalesce(-figures.avg_ping, -1e300)
  FROM (
    SELECT day.server_id, sonde.today(), max(day.vantages), sum(day.sample_count)::bigint, sum(day.download_count)::bigint,
           sum(day.avg_download * greatest(day.download_count, 1))
             / sum(greatest(day.download_count, 1)) FILTER (WHERE day.avg_download IS NOT NULL) AS avg_download,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY day.median_download),
           sum(day.upload_count)::bigint,
           sum(day.avg_upload * greatest(day.upload_count, 1))
             / sum(greatest(day.upload_count, 1)) FILTER (WHERE day.avg_upload IS NOT NULL) AS avg_upload,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY day.median_upload),
           sum(day.ping_count)::bigint,
           sum(day.avg_ping * greatest(day.ping_count, 1))
             / sum(greatest(day.ping_count, 1)) FILTER (WHERE day.avg_ping IS NOT NULL) AS avg_ping,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY day.median_ping),
           sum(day.connection_count)::bigint, sum(day.connection_ok)::bigint,
           sum(day.uptime_pct * day.connection_count) / nullif(sum(day.connection_count), 0) AS uptime_pct,
           sum(day.connection_count)::float8 ^ 2
             / nullif(sum(day.connection_count::float8 ^ 2 / day.uptime_samples), 0) AS uptime_samples
    FROM (SELECT * FROM sonde.server_days WHERE probes IS NULL
          UNION ALL
          SELECT * FROM sonde.server_day_figures(sonde.today() - days * interval '1 day', 'infinity', probes, NULL)
          WHERE probes IS NOT NULL) AS day
    WHERE day.day >= sonde.today() - days * interval '1 day'
    GROUP BY day.server_id
  ) AS figures
$$;
COMMENT ON FUNCTION sonde.server_windows IS 'Figures of the last days of each server';

CREATE FUNCTION sonde.keep_server_week() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sonde.server_week SELECT * FROM sonde.server_windows(7, NULL)
  ON CONFLICT (server_id) DO UPDATE SET
    (today, vantages, sample_count, download_count, avg_download, median_download, upload_count, avg_upload, median_upload,
     ping_count, avg_ping, median_ping, connection_count, connection_ok, uptime_pct, uptime_samples, uptime_low, uptime_high,
     by_uptime, by_speed, by_ping) =
    (excluded.today, excluded.vantages, excluded.sample_count, excluded.download_count, excluded.avg_download,
     excluded.median_download, excluded.upload_count, excluded.avg_upload, excluded.median_upload, excluded.ping_count,
     excluded.avg_ping, excluded.median_ping, excluded.connection_count, excluded.connection_ok, excluded.uptime_pct,
     excluded.uptime_samples, excluded.uptime_low, excluded.uptime_high, excluded.by_uptime, excluded.by_speed,
     excluded.by_ping);
  DELETE FROM sonde.server_week AS week
  WHERE NOT EXISTS (SELECT FROM sonde.server_days AS day
                    WHERE day.server_id = week.server_id AND day.day >= sonde.today() - interval '7 days');
END $$;
COMMENT ON FUNCTION sonde.keep_server_week IS 'Makes sonde.server_week anew from the days';

-- Days whose vantages' days changed, then the week; a day that begins moves the week on although nothing is dirty.
CREATE FUNCTION sonde.rollup_server_days(most int DEFAULT 256) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  due     record;
  done    int := 0;
  recent  boolean := false;
BEGIN
  FOR due IN SELECT * FROM sonde.take_marks('server_day', most) LOOP
    INSERT INTO sonde.server_days
    SELECT * FROM sonde.server_day_figures(due.hour, due.hour + interval '1 day', NULL, NULL)
    ON CONFLICT (server_id, day) DO UPDATE SET
      (vantages, sample_count, download_count, avg_download, median_download, upload_count, avg_upload, median_upload,
       ping_count, avg_ping, median_ping, p95_ping, connection_count, connection_ok, uptime_pct, uptime_samples,
       download_cells, download_total, ping_cells, ping_total, uptime_cells, uptime_total) =
      (excluded.vantages, excluded.sample_count, excluded.download_count, excluded.avg_download, excluded.median_download,
       excluded.upload_count, excluded.avg_upload, excluded.median_upload, excluded.ping_count, excluded.avg_ping,
       excluded.median_ping, excluded.p95_ping, excluded.connection_count, excluded.connection_ok, excluded.uptime_pct,
       excluded.uptime_samples, excluded.download_cells, excluded.download_total, excluded.ping_cells, excluded.ping_total,
       excluded.uptime_cells, excluded.uptime_total);
    recent := recent OR due.hour >= sonde.today() - interval '7 days';
    done := done + 1;
  END LOOP;
  IF recent OR EXISTS (SELECT FROM sonde.server_week WHERE today <> sonde.today()) THEN
    PERFORM sonde.keep_server_week();
  END IF;
  RETURN done;
END $$;
COMMENT ON FUNCTION sonde.rollup_server_days IS 'Days whose vantages'' days changed since the last call into server_days and server_week';

-- As in 0007, and the days of servers.
CREATE OR REPLACE PROCEDURE rollup_performance_logs() LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sonde.dirty_marks (series, hour, probe_id)
  SELECT DISTINCT 'performance', date_trunc('hour', measured_at, 'UTC'), probe_id
  FROM performance_logs WHERE measured_at >= date_trunc('hour', now(), 'UTC') - interval '2 hours';
  WHILE sonde.rollup_performance_hours() > 0 LOOP COMMIT; END LOOP;
  WHILE sonde.rollup_performance_days() > 0 LOOP COMMIT; END LOOP;
  WHILE sonde.rollup_server_days() > 0 LOOP COMMIT; END LOOP;
  COMMIT;
END $$;

-- ── Latest ───────────────────────────────────────────────────────────────────────────────────────────────

-- A plan measures every seven days at least: a speed that is older than eight is one that nobody measures any more.
CREATE FUNCTION sonde.speeds_since() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT now() - interval '8 days'
$$;
COMMENT ON FUNCTION sonde.speeds_since IS 'Older speeds no longer count as known';
COMMENT ON TABLE sonde.server_latest IS
  'Of each server and vantage the best-measured protocol and family: the fastest of the last eight days, else the newest';

CREATE OR REPLACE VIEW mv_server_latest_performance AS
SELECT server_id, probe_id, measured_at, ping_ms, download_mbps, upload_mbps, connection_success
FROM sonde.server_latest
WHERE download_mbps IS NOT NULL AND coalesce(download_at, measured_at) >= sonde.speeds_since();
COMMENT ON VIEW mv_server_latest_performance IS 'Last known value per metric, of servers whose speed was measured within eight days';

-- Chooses anew for these pairs of server and vantage.
CREATE FUNCTION sonde.choose_latest(servers int[], vantages smallint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sonde.server_latest AS kept
    (server_id, probe_id, measured_at, ping_ms, download_mbps, upload_mbps, connection_success, protocol_id, family,
     jitter_ms, packet_loss_pct, connection_time_ms, ping_at, download_at, upload_at, connection_at)
  SELECT DISTINCT ON (server_id, probe_id)
    server_id, probe_id, measured_at, ping_ms, download_mbps, upload_mbps, connection_success, protocol_id, family,
    jitter_ms, packet_loss_pct, connection_time_ms, ping_at, download_at, upload_at, connection_at
  FROM sonde.latest
  JOIN (SELECT DISTINCT * FROM unnest(servers, vantages) AS t(server_id, probe_id)) AS touched USING (server_id, probe_id)
  ORDER BY server_id, probe_id, CASE WHEN download_at >= sonde.speeds_since() THEN download_mbps END DESC NULLS LAST,
           measured_at DESC, protocol_id DESC, family DESC
  ON CONFLICT (server_id, probe_id) DO UPDATE SET
    measured_at = excluded.measured_at, ping_ms = excluded.ping_ms, download_mbps = excluded.download_mbps,
    upload_mbps = excluded.upload_mbps, connection_success = excluded.connection_success,
    protocol_id = excluded.protocol_id, family = excluded.family, jitter_ms = excluded.jitter_ms,
    packet_loss_pct = excluded.packet_loss_pct, connection_time_ms = excluded.connection_time_ms,
    ping_at = excluded.ping_at, download_at = excluded.download_at, upload_at = excluded.upload_at,
    connection_at = excluded.connection_at;
END $$;
COMMENT ON FUNCTION sonde.choose_latest IS 'The best-measured protocol and family of some servers and vantages';

-- As in 0007, with the choice apart.
CREATE OR REPLACE FUNCTION sonde.note_latest(at timestamptz, probes smallint[]) RETURNS void LANGUAGE plpgsql AS $$
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
  PERFORM sonde.choose_latest(servers, vantages);
END $$;

-- Chooses anew where a chosen speed has grown old and another protocol is known better by now: time alone does it, no row.
-- Beside note_latest it would choose from what that is about to change.
CREATE FUNCTION sonde.rollup_aged_latest() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  servers   int[];
  vantages  smallint[];
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('sonde'), hashtext('rollup/performance'));
  SELECT array_agg(chosen.server_id), array_agg(chosen.probe_id) INTO servers, vantages
  FROM sonde.server_latest AS chosen
  WHERE chosen.download_at < sonde.speeds_since()
    AND EXISTS (SELECT FROM sonde.latest AS other
                WHERE other.server_id = chosen.server_id AND other.probe_id = chosen.probe_id
                  AND (other.download_at >= sonde.speeds_since() OR other.measured_at > chosen.measured_at));
  PERFORM sonde.choose_latest(servers, vantages);
  RETURN coalesce(cardinality(servers), 0);
END $$;
COMMENT ON FUNCTION sonde.rollup_aged_latest IS 'Latest values whose speed has grown old give way';

-- ── Ranking ──────────────────────────────────────────────────────────────────────────────────────────────

-- A page of active servers, the best first: so many whole days and the begun one, of the vantages named (NULL = all), of one
-- country, provider or protocol or (NULL) all, after the place of another page's last row. The kept week answers where it is
-- what is asked and is of today: a day may begin with no new row and no collector.
CREATE FUNCTION sonde.ranking(days int, probes smallint[], country int, provider int, protocol int, after float8[], most int)
RETURNS SETOF sonde.server_week LANGUAGE plpgsql STABLE ROWS 20 AS $$
BEGIN
  IF days = 7 AND probes IS NULL AND EXISTS (SELECT FROM sonde.server_week WHERE today = sonde.today()) THEN
    RETURN QUERY
    SELECT ranked.* FROM sonde.server_week AS ranked
    JOIN servers AS s ON s.id = ranked.server_id JOIN cities AS c ON c.id = s.city_id
    WHERE s.is_active AND (country IS NULL OR c.country_id = country) AND (provider IS NULL OR s.provider_id = provider)
      AND (protocol IS NULL OR EXISTS (
        SELECT FROM server_protocols AS spoken WHERE spoken.server_id = s.id AND spoken.protocol_id = protocol))
      AND (after IS NULL OR (ranked.by_uptime, ranked.by_speed, ranked.by_ping, ranked.server_id::float8)
                            < (after[1], after[2], after[3], after[4]))
    ORDER BY ranked.by_uptime DESC, ranked.by_speed DESC, ranked.by_ping DESC, ranked.server_id DESC LIMIT most;
  ELSE
    RETURN QUERY
    SELECT ranked.* FROM sonde.server_windows(days, probes) AS ranked
    JOIN servers AS s ON s.id = ranked.server_id JOIN cities AS c ON c.id = s.city_id
    WHERE s.is_active AND (country IS NULL OR c.country_id = country) AND (provider IS NULL OR s.provider_id = provider)
      AND (protocol IS NULL OR EXISTS (
        SELECT FROM server_protocols AS spoken WHERE spoken.server_id = s.id AND spoken.protocol_id = protocol))
      AND (after IS NULL OR (ranked.by_uptime, ranked.by_speed, ranked.by_ping, ranked.server_id::float8)
                            < (after[1], after[2], after[3], after[4]))
    ORDER BY ranked.by_uptime DESC, ranked.by_speed DESC, ranked.by_ping DESC, ranked.server_id DESC LIMIT most;
  END IF;
END $$;
COMMENT ON FUNCTION sonde.ranking IS 'A page of servers, the best first; see sonde.server_week.by_uptime';

-- Slugs of the platforms whose newest check since then says that the server unlocks them. In plpgsql, as its plan is kept.
CREATE FUNCTION sonde.unlocked(server int, since timestamptz) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN ARRAY(
    SELECT platform.slug::text
    FROM streaming_platforms AS platform
    CROSS JOIN LATERAL (
      SELECT checked.is_unlocked FROM streaming_checks AS checked
      WHERE checked.server_id = server AND checked.platform_id = platform.id AND checked.checked_at >= since
      ORDER BY checked.checked_at DESC, checked.stream_id DESC, checked.seq DESC LIMIT 1
    ) AS newest
    WHERE newest.is_unlocked ORDER BY platform.slug);
END $$;
COMMENT ON FUNCTION sonde.unlocked IS 'What a server unlocks by the newest check of each platform';

CREATE FUNCTION sonde.protocols_of(server int) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN ARRAY(
    SELECT protocol.name::text
    FROM server_protocols AS spoken JOIN protocols AS protocol ON protocol.id = spoken.protocol_id
    WHERE spoken.server_id = server ORDER BY protocol.name);
END $$;
COMMENT ON FUNCTION sonde.protocols_of IS 'Names of the protocols that a server speaks';

-- As in 0002, from the days of servers: the averages are the first seed's, of each day and vantage alike. Only what is
-- returned is asked for its protocols and platforms.
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
  SELECT best.id, best.provider, best.slug, best.city, round(best.download, 2), round(best.ping, 1), round(best.uptime, 1),
         sonde.protocols_of(best.id), sonde.unlocked(best.id, now() - interval '24 hours')
  FROM (
    SELECT s.id, p.name AS provider, p.slug, c.name AS city, week.download, week.ping, week.uptime
    FROM servers s
    JOIN providers p ON p.id = s.provider_id
    JOIN cities c ON c.id = s.city_id
    JOIN countries co ON co.id = c.country_id
    CROSS JOIN LATERAL (
      SELECT sum(d.download_total) / nullif(sum(d.download_cells), 0) AS download,
             sum(d.ping_total) / nullif(sum(d.ping_cells), 0) AS ping,
             sum(d.uptime_total) / nullif(sum(d.uptime_cells), 0) AS uptime
      FROM sonde.server_days d WHERE d.server_id = s.id AND d.day >= sonde.today() - interval '7 days'
      HAVING count(*) > 0
    ) AS week
    WHERE co.iso_code = p_country_code AND s.is_active
    ORDER BY week.uptime DESC NULLS LAST, week.download DESC NULLS LAST, week.ping ASC NULLS LAST, s.id
    LIMIT p_limit
  ) AS best
  ORDER BY best.uptime DESC NULLS LAST, best.download DESC NULLS LAST, best.ping ASC NULLS LAST, best.id;
END $$;

-- ── One server, one target ───────────────────────────────────────────────────────────────────────────────

-- A server's buckets at each vantage: by the minute from raw rows, or by the hour. Days: sonde.server_day_figures.
CREATE FUNCTION sonde.server_cells(tier text, server int, lo timestamptz, hi timestamptz, probes smallint[])
RETURNS TABLE (
  bucket timestamptz, probe_id smallint, sample_count bigint, download_count bigint, avg_download float8,
  median_download float8, upload_count bigint, avg_upload float8, ping_count bigint, avg_ping float8, p50_ping float8,
  p95_ping float8, connection_count bigint, connection_ok bigint
) LANGUAGE sql STABLE AS $$
  SELECT date_trunc('minute', log.measured_at, 'UTC'), log.probe_id, count(*), count(log.download_mbps),
         avg(log.download_mbps)::float8, percentile_cont(0.5) WITHIN GROUP (ORDER BY log.download_mbps),
         count(log.upload_mbps), avg(log.upload_mbps)::float8, count(log.ping_ms), avg(log.ping_ms),
         percentile_cont(0.5) WITHIN GROUP (ORDER BY log.ping_ms), percentile_cont(0.95) WITHIN GROUP (ORDER BY log.ping_ms),
         count(log.connection_success), count(*) FILTER (WHERE log.connection_success)
  FROM performance_logs AS log
  WHERE tier = 'raw' AND log.server_id = server AND log.measured_at >= lo AND log.measured_at < hi
    AND (probes IS NULL OR log.probe_id = ANY (probes))
  GROUP BY 1, 2
  UNION ALL
  SELECT hourly.hour, hourly.probe_id, hourly.sample_count, coalesce(hourly.download_count, 0), hourly.avg_download,
         hourly.avg_download, coalesce(hourly.upload_count, 0), hourly.avg_upload, coalesce(hourly.ping_count, 0),
         hourly.avg_ping, hourly.p50_ping, hourly.p95_ping, coalesce(hourly.connection_count, 0),
         coalesce(hourly.connection_ok, 0)
  FROM performance_logs_hourly AS hourly
  WHERE tier = 'hourly' AND hourly.server_id = server AND hourly.hour >= lo AND hourly.hour < hi
    AND (probes IS NULL OR hourly.probe_id = ANY (probes))
$$;
COMMENT ON FUNCTION sonde.server_cells IS 'A server''s minutes or hours at each vantage';

-- A server's days: as they are kept, or of the vantages named. A plan for any server would read all of them.
CREATE FUNCTION sonde.server_days_of(server int, lo timestamptz, hi timestamptz, probes smallint[])
RETURNS SETOF sonde.server_days LANGUAGE plpgsql STABLE SET plan_cache_mode = force_custom_plan AS $$
BEGIN
  IF probes IS NULL THEN
    RETURN QUERY SELECT * FROM sonde.server_days AS kept WHERE kept.server_id = server AND kept.day >= lo AND kept.day < hi;
  ELSE
    RETURN QUERY SELECT * FROM sonde.server_day_figures(lo, hi, probes, server);
  END IF;
END $$;
COMMENT ON FUNCTION sonde.server_days_of IS 'A server''s days over all vantages, or some';

CREATE FUNCTION sonde.endpoint_cells(tier text, target int, lo timestamptz, hi timestamptz, probes smallint[])
RETURNS SETOF sonde.endpoint_day LANGUAGE sql STABLE AS $$
  SELECT * FROM sonde.endpoint_minute WHERE tier = 'minute' AND target_id = target AND bucket >= lo AND bucket < hi
    AND (probes IS NULL OR probe_id = ANY (probes))
  UNION ALL
  SELECT * FROM sonde.endpoint_hour WHERE tier = 'hour' AND target_id = target AND bucket >= lo AND bucket < hi
    AND (probes IS NULL OR probe_id = ANY (probes))
  UNION ALL
  SELECT * FROM sonde.endpoint_day WHERE tier = 'day' AND target_id = target AND bucket >= lo AND bucket < hi
    AND (probes IS NULL OR probe_id = ANY (probes))
  UNION ALL
  SELECT * FROM sonde.endpoint_month WHERE tier = 'month' AND target_id = target AND bucket >= lo AND bucket < hi
    AND (probes IS NULL OR probe_id = ANY (probes))
$$;
COMMENT ON FUNCTION sonde.endpoint_cells IS 'A target''s buckets of one width at each vantage';

INSERT INTO sonde.dirty_marks (series, hour, probe_id) SELECT DISTINCT 'server_day', day, 0::smallint FROM sonde.performance_daily;
