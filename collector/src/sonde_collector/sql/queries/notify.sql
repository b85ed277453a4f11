-- name: notify_lead
-- Whether this session may deliver; held until it ends.
SELECT pg_try_advisory_lock(hashtext('sonde'), hashtext('notify'));

-- name: notify_database
SELECT id::text FROM sonde.database;

-- name: notify_channels
SELECT key, spec FROM sonde.notify_channels WHERE is_active ORDER BY key;

-- name: notify_unplanned
-- By a flag and not by a cursor: an event whose id is lower may be committed later.
SELECT id, at, kind, subject, detail, severity, topic, resolved, data
FROM sonde.events WHERE planned_at IS NULL ORDER BY id LIMIT 500;

-- name: notify_silences
-- What is silenced now, by silences and by maintenance windows.
SELECT 'silence ' || id AS name, subjects, objects, kinds, vantages, NULL::text[] AS servers, NULL::text[] AS targets
FROM sonde.silences WHERE from_at <= now() AND until_at > now()
UNION ALL
SELECT 'maintenance ' || coalesce(w.key, w.id::text), NULL, NULL, NULL, w.vantages, w.servers, w.targets
FROM sonde.maintenance_windows AS w
WHERE EXISTS (SELECT FROM sonde.window_spans(w, now(), now() + interval '1 microsecond'))
ORDER BY 1;

-- name: notify_told
-- Of these topics what each channel was told, or is about to be: the newest that waits, else the newest that was sent.
SELECT DISTINCT ON (channel, topic) channel, e.id, e.at, e.kind, e.subject, e.detail, e.severity, e.topic, e.resolved, e.data
FROM (
  SELECT channel, topic, event_id, 1 AS rank FROM sonde.deliveries WHERE state = 'waiting' AND topic = ANY(%(topics)s)
  UNION ALL
  SELECT channel, topic, event_id, 0 FROM sonde.told WHERE topic = ANY(%(topics)s)
) AS known
JOIN sonde.events AS e ON e.id = known.event_id
-- Its end was not told, as the channel does not want ends: it is over all the same.
WHERE NOT EXISTS (
  SELECT FROM sonde.deliveries AS f JOIN sonde.events AS x ON x.id = f.event_id
  WHERE f.state = 'filtered' AND f.channel = known.channel AND f.topic = known.topic AND f.event_id > known.event_id AND x.resolved)
ORDER BY channel, topic, rank DESC, event_id DESC;

-- name: notify_plan
-- The deliveries of some events, and these events' flag. An end that a channel does not want to hear of ends it all the same.
WITH made AS (
  INSERT INTO sonde.deliveries (event_id, channel, topic, state, done_at, silenced_by)
  SELECT event_id, channel, topic, state,
    CASE WHEN state = 'waiting' OR state = 'silenced' AND topic IS NOT NULL THEN NULL ELSE now() END, silenced_by
  FROM jsonb_to_recordset(%(rows)s) AS r(event_id BIGINT, channel TEXT, topic TEXT, state TEXT, silenced_by TEXT)
  ON CONFLICT DO NOTHING
), over AS (
  DELETE FROM sonde.told USING jsonb_to_recordset(%(rows)s) AS r(event_id BIGINT, channel TEXT, topic TEXT, state TEXT)
  JOIN sonde.events AS e ON e.id = r.event_id AND e.resolved
  WHERE told.channel = r.channel AND told.topic = r.topic AND r.state = 'filtered'
)
UPDATE sonde.events SET planned_at = now() WHERE id = ANY(%(events)s) AND planned_at IS NULL;

-- name: notify_superseded
-- After notify_plan: older silenced ones of the same topic are closed, as news came.
UPDATE sonde.deliveries AS d SET done_at = now()
FROM (
  SELECT channel, topic, max(event_id) AS newest
  FROM jsonb_to_recordset(%(rows)s) AS r(event_id BIGINT, channel TEXT, topic TEXT) GROUP BY channel, topic
) AS news
WHERE d.state = 'silenced' AND d.done_at IS NULL
  AND d.channel = news.channel AND d.topic = news.topic AND d.event_id < news.newest;

-- name: notify_silenced
-- Silenced news that is the newest of its topic on a channel: to be looked at again when a silence ends.
SELECT d.channel, d.silenced_by, e.id, e.at, e.kind, e.subject, e.detail, e.severity, e.topic, e.resolved, e.data
FROM sonde.deliveries AS d JOIN sonde.events AS e ON e.id = d.event_id
WHERE d.state = 'silenced' AND d.done_at IS NULL
ORDER BY e.id;

-- name: notify_released
UPDATE sonde.deliveries AS d
SET state = r.state, next_at = now(), done_at = CASE WHEN r.state = 'waiting' THEN NULL ELSE now() END,
    silenced_by = coalesce(r.silenced_by, d.silenced_by)
FROM jsonb_to_recordset(%(rows)s) AS r(event_id BIGINT, channel TEXT, state TEXT, silenced_by TEXT)
WHERE d.event_id = r.event_id AND d.channel = r.channel AND d.state = 'silenced' AND d.done_at IS NULL;

-- name: notify_due
-- What waits for these channels, the longest due first, with what each was told before. Of a topic only the oldest: an end
-- must not overtake its beginning.
SELECT d.channel, d.attempts, extract(epoch FROM now() - d.created_at)::float8 AS age_s,
  e.id, e.at, e.kind, e.subject, e.detail, e.severity, e.topic, e.resolved, e.data,
  t.since, to_jsonb(b) AS before, b.at AS before_at
FROM unnest(%(channels)s::text[]) AS wanted(channel)
CROSS JOIN LATERAL (
  SELECT * FROM sonde.deliveries AS d
  WHERE d.channel = wanted.channel AND d.state = 'waiting' AND d.next_at <= now()
    AND NOT EXISTS (
      SELECT FROM sonde.deliveries AS earlier
      WHERE earlier.state = 'waiting' AND earlier.channel = d.channel AND earlier.topic = d.topic
        AND earlier.event_id < d.event_id)
  ORDER BY d.next_at, d.event_id LIMIT 100
) AS d
JOIN sonde.events AS e ON e.id = d.event_id
LEFT JOIN sonde.told AS t ON t.channel = d.channel AND t.topic = d.topic
LEFT JOIN sonde.events AS b ON b.id = t.event_id
ORDER BY d.channel, d.next_at, d.event_id;

-- name: notify_sent
-- These were told; what goes on is remembered until its end was told.
WITH done AS (
  UPDATE sonde.deliveries SET state = 'sent', attempts = attempts + 1, done_at = now(), last_error = NULL
  WHERE channel = %(channel)s AND event_id = ANY(%(events)s) AND state = 'waiting'
  RETURNING event_id
), said AS (
  SELECT e.id, e.topic, e.at, e.resolved FROM sonde.events AS e JOIN done ON done.event_id = e.id WHERE e.topic IS NOT NULL
), ended AS (
  DELETE FROM sonde.told USING said WHERE told.channel = %(channel)s AND told.topic = said.topic AND said.resolved
), begun AS (
  INSERT INTO sonde.told (channel, topic, event_id, since)
  SELECT %(channel)s, topic, id, at FROM said WHERE NOT resolved
  ON CONFLICT (channel, topic) DO UPDATE SET event_id = excluded.event_id
)
UPDATE sonde.notify_channels SET last_sent_at = now() WHERE key = %(channel)s;

-- name: notify_unsent
-- These were not told: they wait on, or are given up.
WITH done AS (
  UPDATE sonde.deliveries
  SET attempts = attempts + 1, last_error = %(error)s,
      state = CASE WHEN %(again_s)s::float8 IS NULL THEN 'failed' ELSE 'waiting' END,
      done_at = CASE WHEN %(again_s)s::float8 IS NULL THEN now() END,
      next_at = now() + coalesce(%(again_s)s::float8, 0) * interval '1 second'
  WHERE channel = %(channel)s AND event_id = ANY(%(events)s) AND state = 'waiting'
)
UPDATE sonde.notify_channels SET last_error_at = now(), last_error = %(error)s WHERE key = %(channel)s;

-- name: notify_channel_event
-- One event when a channel gives a message up, and one when it works again.
INSERT INTO sonde.events (kind, subject, detail, severity, topic, resolved)
SELECT %(kind)s, %(channel)s, %(detail)s, CASE WHEN %(resolved)s THEN 'info' ELSE 'warning' END,
  'notify_failed/' || %(channel)s::text, %(resolved)s
WHERE %(resolved)s IS DISTINCT FROM coalesce((
  SELECT resolved FROM sonde.events WHERE topic = 'notify_failed/' || %(channel)s::text ORDER BY id DESC LIMIT 1), true);

-- name: notify_going_on
-- What a channel was told that goes on still, for those that want it said again and again.
SELECT t.since, e.id, e.at, e.kind, e.subject, e.detail, e.severity, e.topic, e.resolved, e.data
FROM sonde.told AS t JOIN sonde.events AS e ON e.id = t.event_id
WHERE t.channel = %(channel)s
ORDER BY e.id;

-- name: notify_list
SELECT c.key, c.spec ->> 'kind' AS kind, c.is_active, c.last_sent_at, c.last_error_at, c.last_error,
  coalesce(w.waiting, 0) AS waiting, w.oldest AS waiting_since, coalesce(f.failed, 0) AS failed_last_day,
  coalesce(s.silenced, 0) AS silenced, coalesce(t.firing, 0) AS firing
FROM sonde.notify_channels AS c
LEFT JOIN LATERAL (
  SELECT count(*) AS waiting, min(created_at) AS oldest FROM sonde.deliveries WHERE channel = c.key AND state = 'waiting'
) AS w ON true
LEFT JOIN LATERAL (
  SELECT count(*) AS failed FROM sonde.deliveries
  WHERE channel = c.key AND state = 'failed' AND done_at > now() - interval '1 day'
) AS f ON true
LEFT JOIN LATERAL (
  SELECT count(*) AS silenced FROM sonde.deliveries WHERE channel = c.key AND state = 'silenced' AND done_at IS NULL
) AS s ON true
LEFT JOIN LATERAL (SELECT count(*) AS firing FROM sonde.told WHERE channel = c.key) AS t ON true
WHERE c.is_active OR w.waiting > 0
ORDER BY c.key;

-- name: notify_forget
-- What was dealt with three months ago is history that nobody asks for.
DELETE FROM sonde.deliveries WHERE done_at < now() - interval '90 days';
