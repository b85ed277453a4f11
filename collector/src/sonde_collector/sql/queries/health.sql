-- Health: what came in, what is remembered, what was decided. One turn at a time in the whole fleet of collectors.

-- name: health_lead
SELECT pg_try_advisory_xact_lock(hashtext('sonde'), hashtext('health')), extract(epoch FROM now())::float8;

-- name: health_take
-- So many pieces of the inbox; whoever rolls back leaves them to the next.
DELETE FROM sonde.health_inbox
WHERE id IN (SELECT id FROM sonde.health_inbox ORDER BY id LIMIT %(most)s)
RETURNING object, verdicts, labels;

-- name: health_tell_servers
INSERT INTO sonde.health_inbox (object, verdicts) VALUES ('server', %(verdicts)s);

-- name: health_waiting
SELECT EXISTS (SELECT FROM sonde.health_inbox);

-- name: health_watched
-- Everything that is watched, in one snapshot.
SELECT json_build_object(
  'servers', (
    SELECT coalesce(json_agg(json_build_array(s.id, k.key, s.provider_id)), '[]')
    FROM servers s JOIN sonde.server_keys k ON k.server_id = s.id WHERE s.is_active
  ),
  'targets', (
    SELECT coalesce(json_agg(json_build_array(id, key, spec)), '[]') FROM sonde.targets WHERE is_active
  ),
  'providers', (SELECT coalesce(json_object_agg(id, slug), '{}') FROM providers),
  'protocols', (SELECT coalesce(json_object_agg(id, name), '{}') FROM protocols),
  'settings', (SELECT coalesce(json_object_agg(key, spec), '{}') FROM sonde.health_settings WHERE is_active),
  'groups', (SELECT coalesce(json_object_agg(key, spec), '{}') FROM sonde.origin_groups WHERE is_active),
  'vantages', (
    SELECT coalesce(json_agg(json_build_array(
      p.id, p.code, coalesce(a.ready, true), coalesce(a.reason, ''),
      extract(epoch FROM now() - greatest(a.last_seen, h.heard)),
      EXISTS (SELECT FROM sonde.paused WHERE probe_id = p.id))), '[]')
    FROM probe_locations p
    LEFT JOIN sonde.agents a ON a.probe_id = p.id
    LEFT JOIN (
      SELECT probe_id, max(least(live_until - interval '1 minute', now())) AS heard FROM sonde.streams GROUP BY probe_id
    ) h ON h.probe_id = p.id
    WHERE p.is_active
  ),
  'holds', (
    SELECT coalesce(json_agg(json_build_array(
      id, provider_id, extract(epoch FROM since), extract(epoch FROM ended_at), verdict, servers)), '[]')
    FROM sonde.provider_holds WHERE ended_at IS NULL OR ended_at > now() - interval '30 days'
  ),
  'lines', (SELECT coalesce(json_object_agg(probe_id, json_build_array(last_ok, gaps)), '{}') FROM sonde.health_lines)
);

-- name: health_windows
SELECT object, object_id, verdicts, labels FROM sonde.health_windows;

-- name: health_remember
INSERT INTO sonde.health_windows (object, object_id, verdicts, labels) VALUES (%(object)s, %(id)s, %(verdicts)s, %(labels)s)
ON CONFLICT (object, object_id) DO UPDATE SET verdicts = excluded.verdicts, labels = excluded.labels;

-- name: health_forget
DELETE FROM sonde.health_windows w
WHERE NOT EXISTS (
  SELECT FROM servers WHERE w.object = 'server' AND id = w.object_id AND is_active
  UNION ALL SELECT FROM sonde.targets WHERE w.object = 'target' AND id = w.object_id AND is_active);

-- name: health_line
INSERT INTO sonde.health_lines (probe_id, last_ok, gaps) VALUES (%(probe)s, %(last_ok)s, %(gaps)s)
ON CONFLICT (probe_id) DO UPDATE SET last_ok = excluded.last_ok, gaps = excluded.gaps;

-- name: health_states
SELECT object, key, state, extract(epoch FROM since)::float8, reason, extract(epoch FROM checked_at)::float8, flapping, held,
  data
FROM sonde.health_states;

-- name: health_state
INSERT INTO sonde.health_states (object, key, state, since, reason, checked_at, flapping, held, data)
VALUES (%(object)s, %(key)s, %(state)s, to_timestamp(%(since)s), %(reason)s, to_timestamp(%(checked_at)s), %(flapping)s,
        %(held)s, %(data)s)
ON CONFLICT (object, key) DO UPDATE SET
  (state, since, reason, checked_at, flapping, held, data) =
  (excluded.state, excluded.since, excluded.reason, excluded.checked_at, excluded.flapping, excluded.held, excluded.data);

-- name: health_state_gone
DELETE FROM sonde.health_states WHERE object = %(object)s AND key = %(key)s;

-- name: health_change
INSERT INTO sonde.health_changes (object, key, at, from_state, to_state, reason, flapping, data)
VALUES (%(object)s, %(key)s, to_timestamp(%(at)s), %(from)s, %(to)s, %(reason)s, %(flapping)s, %(data)s)
ON CONFLICT DO NOTHING;

-- name: health_event
INSERT INTO sonde.events (kind, subject, detail, data, dedup, severity, topic, resolved)
VALUES (%(kind)s, %(subject)s, %(detail)s, %(data)s, %(dedup)s, %(severity)s, %(topic)s, %(resolved)s)
ON CONFLICT (dedup) DO NOTHING;

-- name: health_certificates
-- The newest certificate of each address that a fit vantage has seen in the last day, among so many of the newest checks.
SELECT DISTINCT ON (t.id, e.address) t.id, coalesce(e.address, ''), extract(epoch FROM e.cert_not_after)::float8
FROM sonde.targets t
CROSS JOIN LATERAL (
  SELECT c.address, c.cert_not_after, c.measured_at FROM sonde.endpoint_checks c
  WHERE c.target_id = t.id AND c.measured_at > now() - interval '1 day' AND c.measured_at < now() + interval '15 minutes'
    AND c.cert_not_after IS NOT NULL AND c.quality & 4 = 0
  ORDER BY c.measured_at DESC LIMIT 64
) e
WHERE t.is_active AND t.spec->>'kind' IN ('http', 'tls')
ORDER BY t.id, e.address, e.measured_at DESC;

-- ── Providers that fail as a whole ───────────────────────────────────────────────────────────────────────

-- name: health_hold_begins
INSERT INTO sonde.provider_holds (provider_id, since, held_at, servers)
VALUES (%(provider)s, to_timestamp(%(since)s), now(), %(servers)s) RETURNING id;

-- name: health_hold_ends
UPDATE sonde.provider_holds SET ended_at = to_timestamp(%(ended)s) WHERE id = %(id)s;

-- name: health_rollups_wait
-- Figures of hours from which rows are taken away are made anew; a rollup that saw those rows must not write last.
SELECT pg_advisory_xact_lock(hashtext('sonde'), hashtext('rollup/' || series))
FROM unnest(ARRAY['performance', 'performance_day']) AS series;

-- name: health_hold_rows
-- These failures leave the books until the hold is judged; their hours are counted anew.
WITH due AS (
  SELECT DISTINCT d.at, d.server, d.probe
  FROM unnest(%(at)s::timestamptz[], %(servers)s::int[], %(probes)s::smallint[]) AS d (at, server, probe)
  JOIN sonde.partition_ranges r ON r.parent = 'sonde.performance_held'::regclass AND r.lo <= d.at AND r.hi > d.at
), gone AS (
  DELETE FROM performance_logs l USING due d
  WHERE l.measured_at = d.at AND l.server_id = d.server AND l.probe_id = d.probe AND NOT l.connection_success
    -- The same said without d, so that no plan looks into other partitions.
    AND l.measured_at >= %(first)s AND l.measured_at <= %(last)s
  RETURNING l.*
), marks AS (
  INSERT INTO sonde.dirty_marks (series, hour, probe_id)
  SELECT DISTINCT 'performance', date_trunc('hour', measured_at, 'UTC'), probe_id FROM gone
), hours AS (
  DELETE FROM performance_logs_hourly h
  USING (SELECT DISTINCT date_trunc('hour', measured_at, 'UTC') AS hour, server_id, probe_id FROM gone) g
  WHERE h.hour = g.hour AND h.server_id = g.server_id AND h.probe_id = g.probe_id
), days AS (
  DELETE FROM sonde.performance_daily y
  USING (SELECT DISTINCT date_trunc('day', measured_at, 'UTC') AS day, server_id, probe_id FROM gone) g
  WHERE y.day = g.day AND y.server_id = g.server_id AND y.probe_id = g.probe_id
)
INSERT INTO sonde.performance_held
SELECT kept.* FROM gone,
  jsonb_populate_record(NULL::sonde.performance_held, to_jsonb(gone) || '{"held_because": "provider held"}') AS kept;

-- name: health_hold_find
-- The stretch of a provider that waits for a judgement, else its newest; locked.
SELECT h.id, h.provider_id, extract(epoch FROM h.since)::float8, extract(epoch FROM h.ended_at)::float8, h.verdict, h.servers
FROM sonde.provider_holds h JOIN providers p ON p.id = h.provider_id
WHERE p.slug = %(provider)s
ORDER BY h.verdict IS NULL DESC, h.since DESC LIMIT 1
FOR UPDATE OF h;

-- name: health_provider_known
SELECT slug FROM providers WHERE slug = %(provider)s;

-- name: health_hold_judge
UPDATE sonde.provider_holds SET verdict = %(verdict)s, judged_at = now() WHERE id = %(id)s;

-- name: health_hold_waits
-- The judge waits for the turn that goes on: no row may be held after it.
SELECT pg_advisory_xact_lock(hashtext('sonde'), hashtext('health'));

-- name: health_hold_release
-- The provider was down: what failed enters the books.
WITH gone AS (
  DELETE FROM sonde.performance_held h
  USING servers s
  WHERE s.id = h.server_id AND s.provider_id = %(provider)s AND h.held_because = 'provider held'
    AND h.measured_at >= to_timestamp(%(since)s) AND h.measured_at <= coalesce(to_timestamp(%(ended)s), 'infinity')
    AND EXISTS (
      SELECT FROM sonde.partition_ranges r
      WHERE r.parent = 'performance_logs'::regclass AND r.lo <= h.measured_at AND r.hi > h.measured_at)
  RETURNING h.*
), marks AS (
  INSERT INTO sonde.dirty_marks (series, hour, probe_id)
  SELECT DISTINCT 'performance', date_trunc('hour', measured_at, 'UTC'), probe_id FROM gone
)
INSERT INTO performance_logs
SELECT moved.* FROM gone, jsonb_populate_record(NULL::performance_logs, to_jsonb(gone)) AS moved;

-- ── For those who look ───────────────────────────────────────────────────────────────────────────────────

-- name: health_list
-- The worst first.
SELECT h.object, h.key, h.state, h.since, h.reason, h.checked_at, h.flapping, h.held, h.data
FROM sonde.health_states h
WHERE (%(object)s::text IS NULL OR h.object = %(object)s) AND (%(state)s::text IS NULL OR h.state = %(state)s)
ORDER BY array_position(ARRAY['UNHEALTHY', 'DEGRADED', 'UNKNOWN', 'HEALTHY'], h.state), h.object, h.key;

-- name: health_show
SELECT h.object, h.key, h.state, h.since, h.reason, h.checked_at, h.flapping, h.held, h.data
FROM sonde.health_states h WHERE h.key = %(key)s ORDER BY h.object;

-- name: health_history
SELECT at, from_state, to_state, reason, flapping, data FROM sonde.health_changes
WHERE object = %(object)s AND key = %(key)s ORDER BY at DESC LIMIT %(most)s;

-- name: health_holds
-- Stretches that a person has to judge, or that go on.
SELECT p.slug AS provider, h.since, h.held_at, h.ended_at, h.verdict, h.judged_at, h.servers
FROM sonde.provider_holds h JOIN providers p ON p.id = h.provider_id
WHERE h.ended_at IS NULL OR h.verdict IS NULL
ORDER BY h.since DESC;
