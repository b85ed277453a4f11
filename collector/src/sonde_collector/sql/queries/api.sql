-- name: api_session
-- What every session of the read API is bound by: it writes nothing, ends by itself, takes one processor.
SELECT set_config('default_transaction_read_only', 'on', false), set_config('statement_timeout', %(timeout)s, false),
  set_config('idle_in_transaction_session_timeout', '30s', false), set_config('TimeZone', 'UTC', false),
  set_config('max_parallel_workers_per_gather', '0', false), set_config('jit', 'off', false);

-- name: api_read_only_role
SET ROLE pg_read_all_data;

-- name: api_servers
-- Servers by key, from the one after %(after_key)s. One that an adopted database has and no fleet file names goes by
-- hostname or address.
SELECT l.key, l.id AS _id, p.slug AS provider, p.name AS provider_name, co.iso_code AS country, c.name AS city,
  l.hostname, host(l.ip_address) AS ip_address, coalesce(l.is_active, false) AS is_active,
  ARRAY(SELECT r.name::text FROM server_protocols x JOIN protocols r ON r.id = x.protocol_id
        WHERE x.server_id = l.id ORDER BY r.name) AS protocols,
  coalesce(h.state, 'UNKNOWN') AS health, h.since AS health_since
FROM (
  SELECT coalesce(k.key, s.hostname, host(s.ip_address)) AS key, s.*
  FROM servers s LEFT JOIN sonde.server_keys k ON k.server_id = s.id
) l
JOIN providers p ON p.id = l.provider_id
JOIN cities c ON c.id = l.city_id
JOIN countries co ON co.id = c.country_id
LEFT JOIN sonde.health_states h ON h.object = 'server' AND h.key = l.key
WHERE (%(country)s::text IS NULL OR co.iso_code = %(country)s)
  AND (%(provider)s::text IS NULL OR p.slug = %(provider)s)
  AND (%(protocol)s::text IS NULL OR EXISTS (
    SELECT FROM server_protocols x JOIN protocols r ON r.id = x.protocol_id
    WHERE x.server_id = l.id AND r.name = %(protocol)s))
  AND (%(active)s::boolean IS NULL OR coalesce(l.is_active, false) = %(active)s)
  AND (%(server)s::text IS NULL OR l.key = %(server)s)
  AND (%(after_key)s::text IS NULL OR (l.key COLLATE "C", l.id) > (%(after_key)s, %(after_id)s::bigint))
ORDER BY l.key COLLATE "C", l.id
LIMIT %(limit)s;

-- name: api_server_latest
-- What is known of one server, by vantage, protocol and family.
SELECT v.code AS vantage, r.name AS protocol, nullif(l.family, 0) AS family, l.measured_at,
  l.ping_ms, l.ping_at, l.jitter_ms, l.jitter_at, l.packet_loss_pct, l.packet_loss_at, l.download_mbps, l.download_at,
  l.upload_mbps, l.upload_at, l.connection_success, l.connection_at, l.connection_time_ms, l.connection_time_at,
  l.failure, l.stage
FROM sonde.latest l
JOIN probe_locations v ON v.id = l.probe_id
LEFT JOIN protocols r ON r.id = l.protocol_id
WHERE l.server_id = %(id)s
ORDER BY v.code, l.protocol_id, l.family
LIMIT 2000;

-- name: api_targets
SELECT t.key, coalesce(t.spec ->> 'kind', 'http') AS kind,
  coalesce(t.spec ->> 'url', t.spec ->> 'host', '') AS address, t.is_active,
  coalesce(h.state, 'UNKNOWN') AS health, h.since AS health_since,
  n.measured_at, n.up AS vantages_up, n.vantages
FROM sonde.targets t
LEFT JOIN sonde.health_states h ON h.object = 'target' AND h.key = t.key
LEFT JOIN LATERAL (
  SELECT max(e.measured_at) AS measured_at, count(*) FILTER (WHERE e.ok) AS up, count(*) AS vantages
  FROM sonde.endpoint_latest e WHERE e.target_id = t.id
) n ON true
WHERE (%(active)s::boolean IS NULL OR t.is_active = %(active)s)
  AND (%(after_key)s::text IS NULL OR t.key COLLATE "C" > %(after_key)s)
ORDER BY t.key COLLATE "C"
LIMIT %(limit)s;

-- name: api_target
SELECT t.key, t.id AS _id FROM sonde.targets t WHERE t.key = %(key)s;

-- name: api_target_latest
SELECT t.key AS target, v.code AS vantage, e.kind, e.measured_at, e.ok, e.address, e.family, e.resolve_ms, e.connect_ms,
  e.tls_ms, e.first_byte_ms, e.total_ms, e.status, e.cache_status, e.cert_not_after, e.mismatch, e.failure, e.stage
FROM sonde.endpoint_latest e
JOIN sonde.targets t ON t.id = e.target_id
JOIN probe_locations v ON v.id = e.probe_id
WHERE e.target_id = %(id)s
ORDER BY v.code
LIMIT 2000;

-- name: api_matrix
-- Of each active server the best-measured protocol from each vantage.
SELECT l.key AS server, l.id AS _id, v.code AS vantage, known.value, known.at
FROM (
  SELECT coalesce(k.key, s.hostname, host(s.ip_address)) AS key, s.*
  FROM servers s LEFT JOIN sonde.server_keys k ON k.server_id = s.id
) l
JOIN sonde.server_latest n ON n.server_id = l.id
JOIN probe_locations v ON v.id = n.probe_id
CROSS JOIN LATERAL (
  SELECT CASE %(metric)s
      WHEN 'ping_ms' THEN n.ping_ms WHEN 'jitter_ms' THEN n.jitter_ms WHEN 'packet_loss_pct' THEN n.packet_loss_pct
      WHEN 'download_mbps' THEN n.download_mbps WHEN 'upload_mbps' THEN n.upload_mbps
      WHEN 'connection_time_ms' THEN n.connection_time_ms WHEN 'connection_success' THEN n.connection_success::int
    END::float8 AS value,
    CASE %(metric)s
      WHEN 'ping_ms' THEN n.ping_at WHEN 'download_mbps' THEN n.download_at WHEN 'upload_mbps' THEN n.upload_at
      WHEN 'connection_success' THEN n.connection_at ELSE n.measured_at
    END AS at
) known
WHERE l.is_active AND v.is_active AND known.value IS NOT NULL
  AND (%(country)s::text IS NULL
       OR l.city_id IN (SELECT c.id FROM cities c JOIN countries co ON co.id = c.country_id WHERE co.iso_code = %(country)s))
  AND (%(provider)s::text IS NULL OR l.provider_id = (SELECT p.id FROM providers p WHERE p.slug = %(provider)s))
  AND (%(after_server)s::text IS NULL OR (l.key COLLATE "C", l.id, v.code COLLATE "C")
       > (%(after_server)s, %(after_id)s::bigint, %(after_vantage)s::text))
ORDER BY l.key COLLATE "C", l.id, v.code COLLATE "C"
LIMIT %(limit)s;

-- name: api_health
SELECT h.object, h.key, h.state, h.since, h.reason, h.checked_at, h.flapping, h.held
FROM sonde.health_states h
WHERE (%(object)s::text IS NULL OR h.object = %(object)s)
  AND (%(state)s::text IS NULL OR h.state = %(state)s)
  AND (%(after_object)s::text IS NULL
       OR (h.object COLLATE "C", h.key COLLATE "C") > (%(after_object)s, %(after_key)s::text))
ORDER BY h.object COLLATE "C", h.key COLLATE "C"
LIMIT %(limit)s;

-- name: api_agents
SELECT p.code AS vantage, c.name AS city, co.iso_code AS country, coalesce(p.is_active, false) AS is_active,
  CASE WHEN u.probe_id IS NOT NULL AND p.is_active THEN 'paused'
       WHEN a.last_seen IS NULL THEN 'never_seen'
       WHEN a.last_seen < now() - %(silent)s::float8 * interval '1 second' THEN 'silent'
       WHEN p.is_active THEN 'live' ELSE 'inactive' END AS state,
  a.last_seen AS last_seen_at, a.started_at, a.version, a.ready, nullif(a.reason, '') AS reason,
  a.clock_offset_ms, a.spool_rows, a.spool_bytes,
  CASE WHEN a.spool_rows > 0 THEN a.spool_oldest END AS spool_oldest_at, nullif(a.last_error, '') AS last_error,
  a.revision, s.revision AS assigned_revision, jsonb_array_length(a.refused) AS refused_tasks,
  u.until_at AS paused_until_at, nullif(u.reason, '') AS pause_reason
FROM probe_locations p
LEFT JOIN cities c ON c.id = p.city_id
LEFT JOIN countries co ON co.id = c.country_id
LEFT JOIN sonde.agents a ON a.probe_id = p.id
LEFT JOIN sonde.assignments s ON s.probe_id = p.id
LEFT JOIN sonde.paused u ON u.probe_id = p.id
WHERE (%(active)s::boolean IS NULL OR coalesce(p.is_active, false) = %(active)s)
  AND (%(after_vantage)s::text IS NULL OR p.code COLLATE "C" > %(after_vantage)s)
ORDER BY p.code COLLATE "C"
LIMIT %(limit)s;

-- name: api_gaps
-- Newest first.
SELECT v.code AS vantage, g.stream_id, g.first_seq, g.last_seq, g.results, g.reason, g.from_at, g.until_at, g.recorded_at
FROM sonde.gaps g
JOIN sonde.streams s ON s.id = g.stream_id
JOIN probe_locations v ON v.id = s.probe_id
WHERE (%(vantage)s::text IS NULL OR v.code = %(vantage)s)
  AND (%(after_recorded_at)s::timestamptz IS NULL OR (g.recorded_at, g.stream_id, g.first_seq)
       < (%(after_recorded_at)s, %(after_stream_id)s::bigint, %(after_first_seq)s::bigint))
ORDER BY g.recorded_at DESC, g.stream_id DESC, g.first_seq DESC
LIMIT %(limit)s;

-- name: api_events
-- Newest first.
SELECT e.id, e.at, e.kind, e.subject, e.severity, e.topic, e.resolved, e.detail, e.data
FROM sonde.events e
WHERE (%(kind)s::text IS NULL OR e.kind = %(kind)s)
  AND (%(subject)s::text IS NULL OR e.subject = %(subject)s)
  AND (%(severity)s::text IS NULL OR e.severity = %(severity)s)
  AND (%(after_id)s::bigint IS NULL OR e.id < %(after_id)s)
ORDER BY e.id DESC
LIMIT %(limit)s;

-- name: api_metrics_servers
-- The last values of servers for Prometheus, in an order that does not change; values that are too old are NULL.
SELECT l.key AS server, p.slug AS provider, co.iso_code AS country, v.code AS vantage,
  coalesce(r.name, 'direct') AS protocol, coalesce(nullif(n.family, 0)::text, '') AS family,
  CASE WHEN n.ping_at > t.oldest THEN n.ping_ms / 1e3 END AS rtt_seconds,
  CASE WHEN n.packet_loss_at > t.oldest THEN n.packet_loss_pct / 1e2 END AS loss_ratio,
  CASE WHEN n.download_at > t.oldest THEN n.download_mbps * 1e6 END AS download_bits_per_second,
  CASE WHEN n.upload_at > t.oldest THEN n.upload_mbps * 1e6 END AS upload_bits_per_second,
  CASE WHEN n.connection_time_at > t.oldest THEN n.connection_time_ms / 1e3 END AS connection_seconds,
  CASE WHEN n.connection_at > t.oldest THEN n.connection_success::int END AS up,
  extract(epoch FROM now() - n.measured_at) AS age_seconds
FROM (SELECT now() - %(max_age_s)s::float8 * interval '1 second' AS oldest) t
CROSS JOIN (
  SELECT coalesce(k.key, s.hostname, host(s.ip_address)) AS key, s.*
  FROM servers s LEFT JOIN sonde.server_keys k ON k.server_id = s.id
) l
JOIN providers p ON p.id = l.provider_id
JOIN cities c ON c.id = l.city_id
JOIN countries co ON co.id = c.country_id
JOIN sonde.latest n ON n.server_id = l.id AND n.measured_at > t.oldest
JOIN probe_locations v ON v.id = n.probe_id
LEFT JOIN protocols r ON r.id = n.protocol_id
WHERE l.is_active AND v.is_active
  AND (%(server)s::text IS NULL OR l.key LIKE %(server)s)
  AND (%(vantage)s::text IS NULL OR v.code LIKE %(vantage)s)
ORDER BY l.key COLLATE "C", l.id, v.code COLLATE "C", n.protocol_id, n.family
LIMIT %(limit)s;

-- name: api_metrics_servers_total
-- How many series the query above gives without a limit.
SELECT coalesce(sum(1 + num_nonnulls(
  nullif(n.ping_at > t.oldest, false), nullif(n.packet_loss_at > t.oldest, false),
  nullif(n.download_at > t.oldest, false), nullif(n.upload_at > t.oldest, false),
  nullif(n.connection_time_at > t.oldest, false), nullif(n.connection_at > t.oldest, false))), 0)::bigint
FROM (SELECT now() - %(max_age_s)s::float8 * interval '1 second' AS oldest) t
CROSS JOIN (
  SELECT coalesce(k.key, s.hostname, host(s.ip_address)) AS key, s.*
  FROM servers s LEFT JOIN sonde.server_keys k ON k.server_id = s.id
) l
JOIN sonde.latest n ON n.server_id = l.id AND n.measured_at > t.oldest
JOIN probe_locations v ON v.id = n.probe_id
WHERE l.is_active AND v.is_active
  AND (%(server)s::text IS NULL OR l.key LIKE %(server)s)
  AND (%(vantage)s::text IS NULL OR v.code LIKE %(vantage)s);

-- name: api_metrics_targets
SELECT t.key AS target, e.kind, v.code AS vantage,
  e.connect_ms / 1e3 AS connect_seconds, e.first_byte_ms / 1e3 AS first_byte_seconds, e.total_ms / 1e3 AS total_seconds,
  e.status AS status_code, extract(epoch FROM e.cert_not_after) AS certificate_expiry_timestamp_seconds,
  e.ok::int AS up, extract(epoch FROM now() - e.measured_at) AS age_seconds
FROM sonde.endpoint_latest e
JOIN sonde.targets t ON t.id = e.target_id
JOIN probe_locations v ON v.id = e.probe_id
WHERE t.is_active AND v.is_active AND e.measured_at > now() - %(max_age_s)s::float8 * interval '1 second'
  AND (%(target)s::text IS NULL OR t.key LIKE %(target)s)
  AND (%(vantage)s::text IS NULL OR v.code LIKE %(vantage)s)
ORDER BY t.key COLLATE "C", v.code COLLATE "C"
LIMIT %(limit)s;

-- name: api_metrics_targets_total
SELECT coalesce(sum(2 + num_nonnulls(e.connect_ms, e.first_byte_ms, e.total_ms, e.status, e.cert_not_after)), 0)::bigint
FROM sonde.endpoint_latest e
JOIN sonde.targets t ON t.id = e.target_id
JOIN probe_locations v ON v.id = e.probe_id
WHERE t.is_active AND v.is_active AND e.measured_at > now() - %(max_age_s)s::float8 * interval '1 second'
  AND (%(target)s::text IS NULL OR t.key LIKE %(target)s)
  AND (%(vantage)s::text IS NULL OR v.code LIKE %(vantage)s);

-- name: api_metrics_health
-- Health is judged from all vantages: one value an object.
SELECT object, key, CASE state WHEN 'HEALTHY' THEN 2 WHEN 'DEGRADED' THEN 1 WHEN 'UNHEALTHY' THEN 0 ELSE -1 END AS health
FROM sonde.health_states
WHERE object = %(object)s AND (%(key)s::text IS NULL OR key LIKE %(key)s)
ORDER BY key COLLATE "C"
LIMIT %(limit)s;

-- name: api_metrics_health_total
SELECT count(*) FROM sonde.health_states
WHERE object = %(object)s AND (%(key)s::text IS NULL OR key LIKE %(key)s);
