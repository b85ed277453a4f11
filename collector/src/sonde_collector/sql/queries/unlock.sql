-- name: unlock_platform
SELECT id FROM streaming_platforms WHERE slug = %(slug)s;

-- name: unlock_void
-- Alone for a moment: no check is between being judged and being committed. So every later step sees all checks of before,
-- and every later check sees this row.
SELECT pg_advisory_xact_lock(hashtext('sonde'), hashtext('voided rules'));

-- name: unlock_voided
INSERT INTO sonde.voided_rules (platform_id, rule_version, reason) VALUES (%(platform)s, %(version)s, %(reason)s)
ON CONFLICT (platform_id, rule_version) DO UPDATE SET reason = excluded.reason;

-- name: unlock_unvoided
DELETE FROM sonde.voided_rules WHERE platform_id = %(platform)s AND rule_version = %(version)s;

-- name: unlock_partitions
SELECT child::text FROM sonde.partition_ranges WHERE parent = 'public.streaming_checks'::regclass ORDER BY lo DESC;

-- name: unlock_mend
SELECT sonde.mend_unlocked(%(child)s::regclass, %(platform)s::smallint, %(version)s, %(most)s);

-- name: unlock_voided_list
SELECT p.slug AS platform, v.rule_version AS version, v.voided_at, v.reason
FROM sonde.voided_rules v JOIN streaming_platforms p ON p.id = v.platform_id
ORDER BY v.voided_at DESC, p.slug, v.rule_version;

-- name: unlock_servers
-- Whose cells a page may have, in their order.
SELECT l.id FROM (
  SELECT coalesce(k.key, s.hostname, host(s.ip_address)) AS key, s.*
  FROM servers s LEFT JOIN sonde.server_keys k ON k.server_id = s.id
) l
WHERE l.is_active AND (%(server)s::text IS NULL OR l.key LIKE %(server)s)
  AND (%(after_server)s::text IS NULL OR (l.key COLLATE "C", l.id) >= (%(after_server)s, %(after_id)s::bigint))
ORDER BY l.key COLLATE "C", l.id;

-- name: unlock_matrix
-- The newest check of each server, platform, family and protocol, in an order that does not change; of some servers or all
-- (NULL), %(limit)s of them or all (NULL). Patterns are LIKE's.
SELECT l.key AS server, l.id AS _id, v.slug AS provider, co.iso_code AS country, p.slug AS platform, p.name AS platform_name,
  m.family, coalesce(m.family, 0) AS _family, r.name AS protocol, coalesce(m.protocol_id, 0) AS _protocol, a.code AS vantage,
  m.checked_at, extract(epoch FROM now() - m.checked_at)::float8 AS age_s, m.verdict, m.is_unlocked, m.is_conclusive, m.scope,
  m.region, m.level, m.via, m.fidelity, m.rule_version, m.response_time_ms, m.exchanges, m.detail, m.evidence, m.credential,
  m.cause, CASE WHEN m.is_conclusive THEN m.is_unlocked::int END AS _open
FROM sonde.unlock_matrix(now() - %(max_age_s)s::float8 * interval '1 second', %(servers)s::int[],
                         %(platforms)s::smallint[]) m
JOIN (
  SELECT coalesce(k.key, s.hostname, host(s.ip_address)) AS key, s.*
  FROM servers s LEFT JOIN sonde.server_keys k ON k.server_id = s.id
) l ON l.id = m.server_id
JOIN providers v ON v.id = l.provider_id
JOIN cities c ON c.id = l.city_id
JOIN countries co ON co.id = c.country_id
JOIN streaming_platforms p ON p.id = m.platform_id
LEFT JOIN protocols r ON r.id = m.protocol_id
LEFT JOIN probe_locations a ON a.id = m.probe_id
WHERE l.is_active
  AND (%(server)s::text IS NULL OR l.key LIKE %(server)s)
  AND (%(vantage)s::text IS NULL OR a.code LIKE %(vantage)s)
  AND (%(country)s::text IS NULL OR co.iso_code = %(country)s)
  AND (%(provider)s::text IS NULL OR v.slug = %(provider)s)
  AND (%(verdict)s::text IS NULL OR m.verdict = %(verdict)s)
  AND (%(after_server)s::text IS NULL
       OR (l.key COLLATE "C", l.id, p.slug COLLATE "C", coalesce(m.family, 0), coalesce(m.protocol_id, 0))
          > (%(after_server)s, %(after_id)s::bigint, %(after_platform)s::text, %(after_family)s::bigint,
             %(after_protocol)s::bigint))
ORDER BY l.key COLLATE "C", l.id, p.slug COLLATE "C", 8, 10
LIMIT %(limit)s;

-- name: unlock_matrix_total
-- How many series the metrics of all cells are: age and info of each, and whether it is open where the check says so.
SELECT coalesce(sum(2 + m.is_conclusive::int), 0)::bigint
FROM sonde.unlock_matrix(now() - %(max_age_s)s::float8 * interval '1 second') m
JOIN (
  SELECT coalesce(k.key, s.hostname, host(s.ip_address)) AS key, s.*
  FROM servers s LEFT JOIN sonde.server_keys k ON k.server_id = s.id
) l ON l.id = m.server_id
LEFT JOIN probe_locations a ON a.id = m.probe_id
WHERE l.is_active
  AND (%(server)s::text IS NULL OR l.key LIKE %(server)s)
  AND (%(vantage)s::text IS NULL OR a.code LIKE %(vantage)s);

-- name: unlock_rules
-- What canaries say of each rule version that they use.
SELECT p.slug AS platform, r.rule_version AS version, r.state, r.checked_at, r.conclusive_at, r.vantages, r.doubting,
  extract(epoch FROM now() - r.checked_at)::float8 AS age_s
FROM sonde.rule_states(now() - interval '15 days') r JOIN streaming_platforms p ON p.id = r.platform_id
ORDER BY p.slug, r.rule_version;
