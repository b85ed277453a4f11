-- The first seed's queries as it writes them: sections 3, 6 and 7. Statements that it hands to pg_cron stand as they are there.
-- name: top_10
SELECT
  s.id,
  p.name AS provider,
  c.name AS city,
  co.name AS country,
  lp.download_mbps,
  lp.ping_ms,
  lp.measured_at
FROM servers s
JOIN providers p ON s.provider_id = p.id
JOIN cities c ON s.city_id = c.id
JOIN countries co ON c.country_id = co.id
JOIN mv_server_latest_performance lp ON s.id = lp.server_id
WHERE s.is_active = true
ORDER BY lp.download_mbps DESC
LIMIT 10;

-- name: country_ranking
SELECT * FROM get_country_vpn_ranking('DE', 20);

-- name: trend_30_days
SELECT
  date_trunc('day', measured_at) AS day,
  AVG(download_mbps)::NUMERIC(7,2) AS avg_download,
  PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY download_mbps) AS median_download,
  AVG(ping_ms)::NUMERIC(6,2) AS avg_ping,
  (COUNT(*) FILTER (WHERE connection_success))::FLOAT / COUNT(*) * 100 AS uptime_pct
FROM performance_logs
WHERE server_id = $1
  AND measured_at >= NOW() - INTERVAL '30 days'
GROUP BY date_trunc('day', measured_at)
ORDER BY day;

-- name: next_partition
SELECT create_next_partition()

-- name: rollup
CALL rollup_performance_logs()
