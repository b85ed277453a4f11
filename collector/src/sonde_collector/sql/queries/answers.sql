-- name: answers_named
-- The id of what the inventory calls by that name; a server without a key goes by its hostname or address.
SELECT CASE %(kind)s
  WHEN 'server' THEN coalesce(
    (SELECT server_id FROM sonde.server_keys WHERE key = %(name)s),
    (SELECT min(id) FROM servers WHERE hostname = %(name)s OR host(ip_address) = %(name)s))
  WHEN 'target' THEN (SELECT id FROM sonde.targets WHERE key = %(name)s)
  WHEN 'vantage' THEN (SELECT id FROM probe_locations WHERE code = %(name)s)
  WHEN 'provider' THEN (SELECT id FROM providers WHERE slug = %(name)s)
  WHEN 'protocol' THEN (SELECT id FROM protocols WHERE lower(name) = lower(%(name)s))
  WHEN 'country' THEN (SELECT id FROM countries WHERE iso_code = upper(%(name)s))
END;

-- name: answers_ranking
-- A page of the ranking; only its servers are asked for platforms, protocols and age. A check of more than thirty days ago
-- says nothing of what a server unlocks.
SELECT coalesce(k.key, s.hostname, host(s.ip_address)) AS server, best.server_id, p.slug AS provider, p.name AS provider_name,
  c.name AS city, co.iso_code AS country, co.name AS country_name, sonde.protocols_of(best.server_id) AS protocols,
  best.avg_download AS avg_download_mbps, best.median_download AS median_download_mbps, best.download_count,
  best.avg_upload AS avg_upload_mbps, best.median_upload AS median_upload_mbps, best.upload_count,
  best.avg_ping AS avg_ping_ms, best.median_ping AS median_ping_ms, best.ping_count,
  best.connection_count, best.connection_ok, best.uptime_pct, best.uptime_low AS uptime_low_pct,
  best.uptime_high AS uptime_high_pct, best.uptime_samples, best.sample_count, best.vantages,
  newest.at AS newest_at, extract(epoch FROM now() - newest.at)::float8 AS age_s,
  sonde.unlocked(best.server_id, now() - least(%(days)s::int, 30) * interval '1 day') AS platforms,
  best.by_uptime, best.by_speed, best.by_ping
FROM sonde.ranking(%(days)s::int, %(vantages)s::smallint[], %(country)s::int, %(provider)s::int, %(protocol)s::int,
                   %(after)s::float8[], %(limit)s::int) best
JOIN servers s ON s.id = best.server_id
JOIN providers p ON p.id = s.provider_id
JOIN cities c ON c.id = s.city_id
JOIN countries co ON co.id = c.country_id
LEFT JOIN sonde.server_keys k ON k.server_id = best.server_id
CROSS JOIN LATERAL (SELECT max(l.measured_at) AS at FROM sonde.server_latest l WHERE l.server_id = best.server_id) newest
ORDER BY best.by_uptime DESC, best.by_speed DESC, best.by_ping DESC, best.server_id DESC;

-- name: answers_vantage_weights
SELECT p.code AS vantage, coalesce(v.weight, 1) AS weight
FROM probe_locations p LEFT JOIN sonde.vantages v ON v.probe_id = p.id
WHERE p.is_active ORDER BY p.code;

-- name: answers_trend_days
-- Days of a server, or months of them: means by how often each day measured, medians of the days'.
SELECT date_trunc(%(step)s, d.day, 'UTC') AS at, max(d.vantages) AS vantages, sum(d.sample_count)::bigint AS sample_count,
  sum(d.avg_download * greatest(d.download_count, 1))
    / sum(greatest(d.download_count, 1)) FILTER (WHERE d.avg_download IS NOT NULL) AS avg_download_mbps,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY d.median_download) AS median_download_mbps,
  sum(d.download_count)::bigint AS download_count,
  sum(d.avg_upload * greatest(d.upload_count, 1))
    / sum(greatest(d.upload_count, 1)) FILTER (WHERE d.avg_upload IS NOT NULL) AS avg_upload_mbps,
  sum(d.upload_count)::bigint AS upload_count,
  sum(d.avg_ping * greatest(d.ping_count, 1))
    / sum(greatest(d.ping_count, 1)) FILTER (WHERE d.avg_ping IS NOT NULL) AS avg_ping_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY d.median_ping) AS p50_ping_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY d.p95_ping) AS p95_ping_ms,
  sum(d.ping_count)::bigint AS ping_count,
  sum(d.uptime_pct * d.connection_count) / nullif(sum(d.connection_count), 0) AS uptime_pct,
  sum(d.connection_count)::bigint AS connection_count, sum(d.connection_ok)::bigint AS connection_ok
FROM sonde.server_days_of(%(server)s::int, %(lo)s, %(hi)s, %(vantages)s::smallint[]) d
GROUP BY 1 ORDER BY 1;

-- name: answers_trend_cells
-- Minutes or hours of a server over its vantages, as its days are made.
SELECT c.bucket AS at, count(*) AS vantages, sum(c.sample_count)::bigint AS sample_count,
  sum(c.w * c.avg_download) / sum(c.w) FILTER (WHERE c.avg_download IS NOT NULL) AS avg_download_mbps,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY c.median_download) AS median_download_mbps,
  sum(c.download_count)::bigint AS download_count,
  sum(c.w * c.avg_upload) / sum(c.w) FILTER (WHERE c.avg_upload IS NOT NULL) AS avg_upload_mbps,
  sum(c.upload_count)::bigint AS upload_count,
  sum(c.w * c.avg_ping) / sum(c.w) FILTER (WHERE c.avg_ping IS NOT NULL) AS avg_ping_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY c.p50_ping) AS p50_ping_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY c.p95_ping) AS p95_ping_ms,
  sum(c.ping_count)::bigint AS ping_count,
  100 * sum(c.w * c.connection_ok / c.tried) / sum(c.w) FILTER (WHERE c.tried > 0) AS uptime_pct,
  sum(c.connection_count)::bigint AS connection_count, sum(c.connection_ok)::bigint AS connection_ok
FROM (
  SELECT cell.*, coalesce(v.weight, 1) AS w, nullif(cell.connection_count, 0)::float8 AS tried
  FROM sonde.server_cells(%(tier)s::text, %(server)s::int, %(lo)s, %(hi)s, %(vantages)s::smallint[]) cell
  LEFT JOIN sonde.vantages v ON v.probe_id = cell.probe_id
) c
GROUP BY 1 ORDER BY 1;

-- name: answers_endpoint_trend
-- Buckets of a target over its vantages: counts are added, times are those of the vantage in the middle.
SELECT c.bucket AS at, count(*) AS vantages, sum(c.checks)::bigint AS checks, sum(c.ok)::bigint AS ok,
  100.0::float8 * sum(c.w * c.ok / nullif(c.checks, 0)) / nullif(sum(c.w), 0) AS ok_pct,
  sum(c.status_2xx)::bigint AS status_2xx, sum(c.status_3xx)::bigint AS status_3xx,
  sum(c.status_4xx)::bigint AS status_4xx, sum(c.status_5xx)::bigint AS status_5xx,
  sum(c.cache_hits)::bigint AS cache_hits, sum(c.cache_known)::bigint AS cache_known,
  100.0::float8 * sum(c.cache_hits) / nullif(sum(c.cache_known), 0) AS cache_hit_pct,
  sum(c.timeouts)::bigint AS timeouts, sum(c.dns_errors)::bigint AS dns_errors, sum(c.tls_errors)::bigint AS tls_errors,
  sum(c.origin_errors)::bigint AS origin_errors,
  sum(c.w * c.avg_total_ms) / sum(c.w) FILTER (WHERE c.avg_total_ms IS NOT NULL) AS avg_total_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY c.p50_total_ms) AS p50_total_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY c.p95_total_ms) AS p95_total_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY c.p99_total_ms) AS p99_total_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY c.p50_first_byte_ms) AS p50_first_byte_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY c.p95_first_byte_ms) AS p95_first_byte_ms
FROM (
  SELECT cell.*, coalesce(v.weight, 1) AS w
  FROM sonde.endpoint_cells(%(tier)s::text, %(target)s::int, %(lo)s, %(hi)s, %(vantages)s::smallint[]) cell
  LEFT JOIN sonde.vantages v ON v.probe_id = cell.probe_id
) c
GROUP BY 1 ORDER BY 1;

-- name: answers_matrix
-- The last known value of one metric of each server and vantage; a page is so many servers.
SELECT server.name AS server, p.code AS vantage, known.value, known.at, extract(epoch FROM now() - known.at)::float8 AS age_s
FROM (
  SELECT s.id, coalesce(k.key, s.hostname, host(s.ip_address)) AS name
  FROM servers s LEFT JOIN sonde.server_keys k ON k.server_id = s.id
  WHERE s.is_active AND (%(after)s::text IS NULL OR coalesce(k.key, s.hostname, host(s.ip_address)) > %(after)s::text)
  ORDER BY 2 LIMIT %(limit)s
) server
JOIN sonde.server_latest chosen ON chosen.server_id = server.id
JOIN sonde.latest l USING (server_id, probe_id, protocol_id, family)
JOIN probe_locations p ON p.id = l.probe_id
CROSS JOIN LATERAL (
  SELECT CASE %(metric)s
      WHEN 'ping_ms' THEN l.ping_ms WHEN 'jitter_ms' THEN l.jitter_ms WHEN 'packet_loss_pct' THEN l.packet_loss_pct
      WHEN 'download_mbps' THEN l.download_mbps WHEN 'upload_mbps' THEN l.upload_mbps
      WHEN 'connection_time_ms' THEN l.connection_time_ms WHEN 'connection_success' THEN l.connection_success::int
    END::float8 AS value,
    CASE %(metric)s
      WHEN 'ping_ms' THEN l.ping_at WHEN 'jitter_ms' THEN l.jitter_at WHEN 'packet_loss_pct' THEN l.packet_loss_at
      WHEN 'download_mbps' THEN l.download_at WHEN 'upload_mbps' THEN l.upload_at
      WHEN 'connection_time_ms' THEN l.connection_time_at WHEN 'connection_success' THEN l.connection_at
    END AS at
) known
WHERE known.value IS NOT NULL
ORDER BY server.name, p.code;

-- name: answers_profile
-- A server's hours of the day (UTC) over some days: each day and vantage counts alike, by the vantage's weight.
SELECT extract(hour FROM h.hour AT TIME ZONE 'UTC')::int AS hour, sum(h.sample_count)::bigint AS sample_count,
  sum(h.w * h.avg_download)::float8 / sum(h.w) FILTER (WHERE h.avg_download IS NOT NULL) AS avg_download_mbps,
  sum(h.w * h.avg_upload)::float8 / sum(h.w) FILTER (WHERE h.avg_upload IS NOT NULL) AS avg_upload_mbps,
  sum(h.w * h.avg_ping)::float8 / sum(h.w) FILTER (WHERE h.avg_ping IS NOT NULL) AS avg_ping_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY h.p50_ping) AS p50_ping_ms,
  sum(h.w * h.uptime_pct)::float8 / sum(h.w) FILTER (WHERE h.uptime_pct IS NOT NULL) AS uptime_pct
FROM (
  SELECT hourly.*, coalesce(v.weight, 1) AS w
  FROM performance_logs_hourly hourly LEFT JOIN sonde.vantages v ON v.probe_id = hourly.probe_id
  WHERE hourly.server_id = %(server)s::int AND hourly.hour >= date_trunc('hour', now(), 'UTC') - %(days)s::int * interval '1 day'
) h
GROUP BY 1 ORDER BY 1;

-- name: answers_by_vantage
-- The last days of one server as each vantage saw it.
SELECT p.code AS vantage, coalesce(v.weight, 1) AS weight, sum(d.sample_count)::bigint AS sample_count,
  (sum(d.avg_download * greatest(d.download_count, 1))
    / sum(greatest(d.download_count, 1)) FILTER (WHERE d.avg_download IS NOT NULL))::float8 AS download_mbps,
  (sum(d.avg_upload * greatest(d.upload_count, 1))
    / sum(greatest(d.upload_count, 1)) FILTER (WHERE d.avg_upload IS NOT NULL))::float8 AS upload_mbps,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY d.median_ping) AS ping_ms,
  100.0::float8 * sum(d.connection_ok) / nullif(sum(d.connection_count), 0) AS uptime_pct,
  coalesce(sum(d.connection_count), 0)::bigint AS connection_count
FROM sonde.performance_daily d
JOIN probe_locations p ON p.id = d.probe_id
LEFT JOIN sonde.vantages v ON v.probe_id = d.probe_id
WHERE d.server_id = %(server)s::int AND d.day >= sonde.today() - %(days)s::int * interval '1 day'
GROUP BY p.code, v.weight ORDER BY p.code;

-- name: answers_tunnel_cost
-- What tunnels of one server cost beside the baseline of the same run.
SELECT p.code AS vantage, pr.name AS protocol, count(*) AS runs,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.ping_ms) FILTER (WHERE l.direct_ping_ms IS NOT NULL) AS ping_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.direct_ping_ms) FILTER (WHERE l.ping_ms IS NOT NULL) AS direct_ping_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.ping_ms::float8 - l.direct_ping_ms) AS ping_cost_ms,
  count(l.ping_ms - l.direct_ping_ms) AS ping_runs,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.download_mbps) FILTER (WHERE l.direct_download_mbps IS NOT NULL) AS download_mbps,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.direct_download_mbps) FILTER (WHERE l.download_mbps IS NOT NULL)
    AS direct_download_mbps,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.download_mbps / nullif(l.direct_download_mbps, 0)) AS download_share,
  count(l.download_mbps / nullif(l.direct_download_mbps, 0)) AS download_runs,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.upload_mbps / nullif(l.direct_upload_mbps, 0)) AS upload_share,
  count(l.upload_mbps / nullif(l.direct_upload_mbps, 0)) AS upload_runs
FROM performance_logs l
JOIN probe_locations p ON p.id = l.probe_id
JOIN protocols pr ON pr.id = l.protocol_id
WHERE l.server_id = %(server)s::int AND l.measured_at >= %(since)s
  AND (%(vantages)s::smallint[] IS NULL OR l.probe_id = ANY (%(vantages)s::smallint[]))
  AND (l.direct_ping_ms IS NOT NULL OR l.direct_download_mbps IS NOT NULL OR l.direct_upload_mbps IS NOT NULL)
GROUP BY p.code, pr.name ORDER BY p.code, pr.name;

-- name: answers_time_weighted
-- Each value holds until the vantage's next one; the window begins with the last one of before, where that is not too old.
WITH known AS (
  SELECT l.probe_id, l.measured_at, l.stream_id, l.seq,
    CASE %(metric)s
      WHEN 'ping_ms' THEN l.ping_ms WHEN 'jitter_ms' THEN l.jitter_ms WHEN 'packet_loss_pct' THEN l.packet_loss_pct
      WHEN 'download_mbps' THEN l.download_mbps WHEN 'upload_mbps' THEN l.upload_mbps
      WHEN 'connection_time_ms' THEN l.connection_time_ms WHEN 'connection_success' THEN l.connection_success::int
    END::float8 AS value
  FROM performance_logs l
  WHERE l.server_id = %(server)s::int AND l.measured_at >= %(carry_from)s AND l.measured_at < %(hi)s
    AND (%(vantages)s::smallint[] IS NULL OR l.probe_id = ANY (%(vantages)s::smallint[]))
),
-- One of before the window is moved to its start, all but the last of them give way.
points AS (
  SELECT DISTINCT ON (probe_id, at) probe_id, greatest(measured_at, %(lo)s) AS at, value
  FROM known WHERE value IS NOT NULL
  ORDER BY probe_id, at, measured_at DESC, stream_id DESC, seq DESC
),
held AS (
  SELECT probe_id, value,
    extract(epoch FROM lead(at, 1, %(hi)s) OVER (PARTITION BY probe_id ORDER BY at) - at)::float8 AS seconds
  FROM points
)
SELECT p.code AS vantage, coalesce(v.weight, 1) AS weight, sum(h.value * h.seconds) / nullif(sum(h.seconds), 0) AS value,
  sum(h.seconds) AS covered_s, count(*) AS values
FROM held h
JOIN probe_locations p ON p.id = h.probe_id
LEFT JOIN sonde.vantages v ON v.probe_id = h.probe_id
GROUP BY p.code, v.weight ORDER BY p.code;
