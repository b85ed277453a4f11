-- What DuckDB runs over tables and files together: as answers_trend_cells, over what has left the database too.

-- name: cold_trend_hourly
SELECT c.hour AS at, count(*) AS vantages, sum(c.sample_count)::bigint AS sample_count,
  sum(c.w * c.avg_download) / sum(c.w) FILTER (WHERE c.avg_download IS NOT NULL) AS avg_download_mbps,
  quantile_cont(c.avg_download, 0.5) AS median_download_mbps,
  sum(coalesce(c.download_count, 0))::bigint AS download_count,
  sum(c.w * c.avg_upload) / sum(c.w) FILTER (WHERE c.avg_upload IS NOT NULL) AS avg_upload_mbps,
  sum(coalesce(c.upload_count, 0))::bigint AS upload_count,
  sum(c.w * c.avg_ping) / sum(c.w) FILTER (WHERE c.avg_ping IS NOT NULL) AS avg_ping_ms,
  quantile_cont(c.p50_ping, 0.5) AS p50_ping_ms, quantile_cont(c.p95_ping, 0.5) AS p95_ping_ms,
  sum(coalesce(c.ping_count, 0))::bigint AS ping_count,
  100 * sum(c.w * c.connection_ok / c.connection_count) FILTER (WHERE c.connection_count > 0)
    / sum(c.w) FILTER (WHERE c.connection_count > 0) AS uptime_pct,
  sum(coalesce(c.connection_count, 0))::bigint AS connection_count,
  sum(coalesce(c.connection_ok, 0))::bigint AS connection_ok
FROM (
  SELECT hourly.hour, hourly.sample_count, hourly.avg_download::double AS avg_download, hourly.download_count,
    hourly.avg_upload::double AS avg_upload, hourly.upload_count, hourly.avg_ping::double AS avg_ping,
    hourly.p50_ping::double AS p50_ping, hourly.p95_ping::double AS p95_ping, hourly.ping_count,
    hourly.connection_count, hourly.connection_ok, coalesce(v.weight, 1)::double AS w
  FROM performance_logs_hourly AS hourly LEFT JOIN sonde.vantages AS v USING (probe_id)
  WHERE hourly.server_id = {server} AND hourly.hour >= {lo} AND hourly.hour < {hi} AND {seen}
) AS c
GROUP BY 1 ORDER BY 1;

-- name: cold_trend_raw
SELECT c.minute AS at, count(*) AS vantages, sum(c.sample_count)::bigint AS sample_count,
  sum(c.w * c.avg_download) / sum(c.w) FILTER (WHERE c.avg_download IS NOT NULL) AS avg_download_mbps,
  quantile_cont(c.median_download, 0.5) AS median_download_mbps, sum(c.download_count)::bigint AS download_count,
  sum(c.w * c.avg_upload) / sum(c.w) FILTER (WHERE c.avg_upload IS NOT NULL) AS avg_upload_mbps,
  sum(c.upload_count)::bigint AS upload_count,
  sum(c.w * c.avg_ping) / sum(c.w) FILTER (WHERE c.avg_ping IS NOT NULL) AS avg_ping_ms,
  quantile_cont(c.p50_ping, 0.5) AS p50_ping_ms, quantile_cont(c.p95_ping, 0.5) AS p95_ping_ms,
  sum(c.ping_count)::bigint AS ping_count,
  100 * sum(c.w * c.connection_ok / c.connection_count) FILTER (WHERE c.connection_count > 0)
    / sum(c.w) FILTER (WHERE c.connection_count > 0) AS uptime_pct,
  sum(c.connection_count)::bigint AS connection_count, sum(c.connection_ok)::bigint AS connection_ok
FROM (
  SELECT date_trunc('minute', log.measured_at) AS minute, coalesce(any_value(v.weight), 1)::double AS w,
    count(*) AS sample_count, count(log.download_mbps) AS download_count,
    avg(log.download_mbps::double) AS avg_download, quantile_cont(log.download_mbps::double, 0.5) AS median_download,
    count(log.upload_mbps) AS upload_count, avg(log.upload_mbps::double) AS avg_upload,
    count(log.ping_ms) AS ping_count, avg(log.ping_ms::double) AS avg_ping,
    quantile_cont(log.ping_ms::double, 0.5) AS p50_ping, quantile_cont(log.ping_ms::double, 0.95) AS p95_ping,
    count(log.connection_success) AS connection_count, count(*) FILTER (WHERE log.connection_success) AS connection_ok
  FROM performance_logs AS log LEFT JOIN sonde.vantages AS v USING (probe_id)
  WHERE log.server_id = {server} AND log.measured_at >= {lo} AND log.measured_at < {hi} AND {seen}
  GROUP BY 1, log.probe_id
) AS c
GROUP BY 1 ORDER BY 1;
