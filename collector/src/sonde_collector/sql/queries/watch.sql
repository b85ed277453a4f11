-- name: watch_lock
SELECT pg_advisory_xact_lock(hashtext('sonde'), hashtext('fleet watch'));

-- name: watch_going_on
-- Topics of the fleet's own troubles whose newest event is no end.
SELECT topic FROM (
  SELECT DISTINCT ON (topic) topic, resolved FROM sonde.events
  WHERE kind IN ('agent_silent', 'agent_clock', 'agent_certificate', 'agent_spool', 'results_rejected', 'disk_low',
                 'rule_stale', 'agent_limited')
    AND topic IS NOT NULL
  ORDER BY topic, id DESC
) AS newest WHERE NOT resolved;

-- name: watch_agents
SELECT p.code AS vantage, coalesce(p.is_active, false) AS active,
  extract(epoch FROM now() - a.last_seen)::float8 AS silent_s, a.clock_offset_ms::float8 AS clock_offset_ms, a.spool_bytes,
  CASE WHEN a.spool_rows > 0 THEN greatest(extract(epoch FROM now() - a.spool_oldest), 0) ELSE 0 END::float8 AS lag_s,
  EXISTS (SELECT FROM sonde.paused WHERE probe_id = p.id) AS paused, coalesce(r.rejected, 0) AS rejected, c.left_s AS certificate_left_s, c.life_s AS certificate_life_s
FROM probe_locations AS p
JOIN sonde.agents AS a ON a.probe_id = p.id
LEFT JOIN LATERAL (
  SELECT extract(epoch FROM not_after - now())::float8 AS left_s,
    extract(epoch FROM not_after - issued_at)::float8 AS life_s
  FROM sonde.certificates WHERE probe_id = p.id ORDER BY issued_at DESC LIMIT 1
) AS c ON true
LEFT JOIN (
  SELECT s.probe_id, count(*) AS rejected
  FROM sonde.rejected_results AS x JOIN sonde.streams AS s ON s.id = x.stream_id
  WHERE x.rejected_at > now() - interval '10 minutes'
  GROUP BY s.probe_id
) AS r ON r.probe_id = p.id
ORDER BY p.code;

-- name: watch_limits
-- Who met a limit within ten minutes, and which.
SELECT p.code AS vantage, string_agg(m.detail, '; ' ORDER BY m.what) AS met
FROM sonde.limits_met AS m JOIN probe_locations AS p ON p.id = m.probe_id
WHERE m.last_at > now() - interval '10 minutes'
GROUP BY p.code ORDER BY p.code;

-- name: watch_told
-- How often each of these topics began within a day.
SELECT topic, count(*)::int AS begun FROM sonde.events
WHERE topic = ANY(%s) AND NOT resolved AND at > now() - interval '1 day' GROUP BY topic;

-- name: watch_rules
-- What canaries say of each rule version. Fifteen days: a plan runs once in seven at least, and two in a row count.
SELECT p.slug AS platform, p.name, r.rule_version AS version, r.state, r.vantages, r.doubting
FROM sonde.rule_states(now() - interval '15 days') r JOIN streaming_platforms p ON p.id = r.platform_id
ORDER BY p.slug, r.rule_version;

-- name: watch_events
INSERT INTO sonde.events (kind, subject, detail, data, severity, topic, resolved)
SELECT kind, subject, detail, data, severity, topic, resolved
FROM jsonb_to_recordset(%s) AS r(
  kind TEXT, subject TEXT, detail TEXT, data JSONB, severity TEXT, topic TEXT, resolved BOOLEAN);
