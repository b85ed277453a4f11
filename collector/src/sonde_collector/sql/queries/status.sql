-- name: status_agents
-- One row a vantage that is active or has spoken. lag_s: age of the oldest result that waits on the agent;
-- rejected: its results that were set aside and are still kept. connected_at: since when it can send results.
SELECT p.code AS vantage, coalesce(p.is_active, false) AS active, a.version, a.revision, s.revision AS assigned,
  a.last_seen, extract(epoch FROM now() - a.last_seen)::float8 AS silent_s, a.started_at, a.ready, a.reason,
  a.clock_offset_ms::float8 AS clock_offset_ms, a.spool_rows, a.spool_bytes,
  CASE WHEN a.spool_rows > 0 THEN greatest(extract(epoch FROM now() - a.spool_oldest), 0) ELSE 0 END::float8 AS lag_s,
  concat_ws('; ', nullif(a.last_error, ''), m.limited) AS last_error, a.capabilities, a.refused, a.collector,
  u.probe_id IS NOT NULL AS paused, u.until_at AS paused_until, u.reason AS pause_reason,
  c.not_after AS certificate_until,
  extract(epoch FROM c.not_after - now())::float8 AS certificate_left_s, r.reason AS revoked,
  coalesce(x.rejected, 0) AS rejected, d.connected_at
FROM probe_locations p
LEFT JOIN sonde.agents a ON a.probe_id = p.id
LEFT JOIN sonde.assignments s ON s.probe_id = p.id
LEFT JOIN LATERAL (
  SELECT not_after, issued_at FROM sonde.certificates WHERE probe_id = p.id ORDER BY issued_at DESC LIMIT 1
) AS c ON true
LEFT JOIN LATERAL (
  SELECT string_agg(detail, '; ' ORDER BY what) AS limited
  FROM sonde.limits_met WHERE probe_id = p.id AND last_at > now() - interval '10 minutes'
) AS m ON true
LEFT JOIN sonde.paused u ON u.probe_id = p.id
LEFT JOIN sonde.revocations r ON r.probe_id = p.id AND (c.issued_at IS NULL OR c.issued_at <= r.revoked_at)
LEFT JOIN (
  SELECT s.probe_id, count(*) AS rejected
  FROM sonde.rejected_results JOIN sonde.streams s ON s.id = stream_id
  GROUP BY s.probe_id
) AS x ON x.probe_id = p.id
LEFT JOIN (
  SELECT probe_id, max(connected_at) AS connected_at FROM sonde.streams GROUP BY probe_id
) AS d ON d.probe_id = p.id
WHERE p.is_active OR a.last_seen > now() - interval '1 day'
ORDER BY p.code;

-- name: status_counts
-- Each vantage is in one of the first four: of a paused one it does not matter when it was heard.
SELECT count(*) FILTER (WHERE u.probe_id IS NULL AND a.last_seen >= now() - %(silent)s::float8 * interval '1 second') AS live,
  count(*) FILTER (WHERE u.probe_id IS NULL AND a.last_seen < now() - %(silent)s::float8 * interval '1 second') AS silent,
  count(*) FILTER (WHERE u.probe_id IS NULL AND a.last_seen IS NULL) AS never_seen,
  count(u.probe_id) AS paused,
  count(*) FILTER (WHERE u.probe_id IS NULL AND NOT a.ready) AS unready,
  min(a.spool_oldest) FILTER (WHERE a.spool_rows > 0) AS oldest_unacked,
  coalesce(sum(a.spool_rows), 0)::bigint AS spool_rows
FROM probe_locations p LEFT JOIN sonde.agents a ON a.probe_id = p.id LEFT JOIN sonde.paused u ON u.probe_id = p.id
WHERE p.is_active;

-- name: status_database
SELECT current_database() AS name, pg_database_size(current_database()) AS bytes,
  current_setting('server_version') AS version, (SELECT id::text FROM sonde.database) AS id;

-- name: status_rows
-- Rows by when they were measured; counting ends at a million, as nobody waits for an exact count.
SELECT t.name,
  CASE t.name
    WHEN 'performance_logs' THEN (SELECT count(*) FROM (
      SELECT FROM performance_logs WHERE measured_at > now() - t.age AND measured_at <= now() LIMIT 1000001) x)
    WHEN 'sonde.endpoint_checks' THEN (SELECT count(*) FROM (
      SELECT FROM sonde.endpoint_checks WHERE measured_at > now() - t.age AND measured_at <= now() LIMIT 1000001) x)
    WHEN 'sonde.vantage_health' THEN (SELECT count(*) FROM (
      SELECT FROM sonde.vantage_health WHERE measured_at > now() - t.age AND measured_at <= now() LIMIT 1000001) x)
    WHEN 'sonde.missed_runs' THEN (SELECT count(*) FROM (
      SELECT FROM sonde.missed_runs WHERE measured_at > now() - t.age AND measured_at <= now() LIMIT 1000001) x)
    WHEN 'streaming_checks' THEN (SELECT count(*) FROM (
      SELECT FROM streaming_checks WHERE checked_at > now() - t.age AND checked_at <= now() LIMIT 1000001) x)
    WHEN 'sonde.canary_checks' THEN (SELECT count(*) FROM (
      SELECT FROM sonde.canary_checks WHERE checked_at > now() - t.age AND checked_at <= now() LIMIT 1000001) x)
  END AS rows
FROM (
  SELECT name, %(seconds)s::float8 * interval '1 second' AS age
  FROM unnest(ARRAY['performance_logs', 'sonde.endpoint_checks', 'sonde.vantage_health', 'sonde.missed_runs',
                    'streaming_checks', 'sonde.canary_checks']) name
) t;

-- name: status_rejected
SELECT reason, count(*) AS rows, max(rejected_at) AS last FROM sonde.rejected_results GROUP BY reason ORDER BY reason;

-- name: status_gaps
SELECT reason, count(*) AS gaps, sum(results)::bigint AS results FROM sonde.gaps GROUP BY reason ORDER BY reason;

-- name: status_ping
-- Whether it answers, and takes nothing: a standby.
SELECT current_setting('transaction_read_only')::boolean;

-- name: top_servers
-- The ranking of the last minutes as the seed ranks: uptime, then speed, then ping; a figure that nobody has comes last.
SELECT coalesce(k.key, s.hostname, host(s.ip_address)) AS server, p.name AS provider, c.name AS city, co.iso_code AS country,
  count(*) AS runs,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.ping_ms)::float8 AS ping_ms,
  avg(l.jitter_ms)::float8 AS jitter_ms,
  (100.0 * (1 - sum(l.received)::float8 / nullif(sum(l.sent), 0)))::float8 AS loss_pct,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.download_mbps)::float8 AS download_mbps,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.upload_mbps)::float8 AS upload_mbps,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY l.connection_time_ms)::float8 AS connection_time_ms,
  string_agg(DISTINCT pr.name, ', ') AS protocols,
  (100.0 * avg(l.connection_success::int))::float8 AS up_pct,
  count(DISTINCT l.probe_id) AS vantages,
  extract(epoch FROM now() - max(l.measured_at))::float8 AS age_s
FROM performance_logs l
LEFT JOIN protocols pr ON pr.id = l.protocol_id
JOIN servers s ON s.id = l.server_id
JOIN providers p ON p.id = s.provider_id
JOIN cities c ON c.id = s.city_id
JOIN countries co ON co.id = c.country_id
LEFT JOIN sonde.server_keys k ON k.server_id = s.id
WHERE l.measured_at > now() - %(seconds)s::float8 * interval '1 second'
GROUP BY s.id, k.key, p.name, c.name, co.iso_code
ORDER BY up_pct DESC NULLS LAST, download_mbps DESC NULLS LAST, ping_ms NULLS LAST, loss_pct NULLS LAST, server
LIMIT %(limit)s;

-- name: top_targets
SELECT t.key AS target, e.kind, coalesce(e.address, '') AS address, count(*) AS runs,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY e.total_ms) FILTER (WHERE e.ok)::float8 AS total_ms,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY e.first_byte_ms) FILTER (WHERE e.ok)::float8 AS first_byte_ms,
  (100.0 * avg(e.ok::int))::float8 AS ok_pct,
  (array_agg(coalesce(e.mismatch, e.failure) ORDER BY e.measured_at DESC) FILTER (WHERE NOT e.ok))[1] AS last_failure,
  count(DISTINCT e.probe_id) AS vantages,
  extract(epoch FROM now() - max(e.measured_at))::float8 AS age_s
FROM sonde.endpoint_checks e JOIN sonde.targets t ON t.id = e.target_id
WHERE e.measured_at > now() - %(seconds)s::float8 * interval '1 second'
GROUP BY t.key, e.kind, coalesce(e.address, '')
ORDER BY 7 DESC, 5 NULLS LAST, 1, 3
LIMIT %(limit)s;
