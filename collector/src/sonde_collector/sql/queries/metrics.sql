-- name: metrics_vantages
-- The active vantages whose agents were heard last, at most so many; a figure that is not known is NULL.
SELECT p.code AS vantage, coalesce(a.version, '') AS version, extract(epoch FROM a.last_seen)::float8 AS last_seen,
  CASE WHEN a.spool_rows > 0 THEN greatest(extract(epoch FROM now() - a.spool_oldest), 0) ELSE 0 END::float8 AS lag_s,
  a.spool_rows, a.spool_bytes, a.ready,
  EXISTS (SELECT FROM sonde.paused WHERE probe_id = p.id) AS paused, (a.clock_offset_ms / 1e3)::float8 AS clock_offset_s,
  extract(epoch FROM c.not_after)::float8 AS certificate_expiry
FROM sonde.agents a JOIN probe_locations p ON p.id = a.probe_id
LEFT JOIN LATERAL (
  SELECT not_after FROM sonde.certificates WHERE probe_id = p.id ORDER BY issued_at DESC LIMIT 1
) AS c ON true
WHERE p.is_active
ORDER BY a.last_seen DESC LIMIT %s;

-- name: metrics_troubles
-- Topics whose newest event is no end, by their first part. From one topic to the next by the index, however many
-- events each has.
WITH RECURSIVE newest AS (
  (SELECT topic, resolved FROM sonde.events WHERE topic IS NOT NULL ORDER BY topic, id DESC LIMIT 1)
  UNION ALL
  SELECT e.topic, e.resolved FROM newest n CROSS JOIN LATERAL (
    SELECT topic, resolved FROM sonde.events WHERE topic > n.topic ORDER BY topic, id DESC LIMIT 1
  ) AS e
)
SELECT split_part(topic, '/', 1) AS kind, count(*) FROM newest WHERE NOT resolved GROUP BY 1;

-- name: metrics_health
SELECT object, state, count(*) FROM sonde.health_states GROUP BY object, state;
