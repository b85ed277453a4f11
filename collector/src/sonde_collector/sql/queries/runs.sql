-- name: runs_plan_tasks
-- What each active vantage is assigned: whose tasks a request may name.
SELECT p.code, p.id, a.revision, a.body
FROM probe_locations AS p JOIN sonde.assignments AS a ON a.probe_id = p.id
WHERE p.is_active AND p.code = ANY (%(vantages)s);

-- name: runs_vantages
SELECT code FROM probe_locations WHERE is_active ORDER BY code;

-- name: runs_add
-- The tasks come in the same transaction; collectors hear of both at once.
INSERT INTO sonde.run_requests (plan, expires_at) VALUES (%(plan)s, now() + %(for_s)s::float8 * interval '1 second')
RETURNING id, expires_at;

-- name: runs_add_tasks
-- An agent that says what it can be told, and does not name this, would never answer.
INSERT INTO sonde.run_tasks (request_id, probe_id, task, revision, outcome)
SELECT %(id)s, %(probe)s, task, %(revision)s,
  CASE WHEN EXISTS (SELECT FROM sonde.agents WHERE probe_id = %(probe)s AND NOT 'run-now' = ANY (capabilities))
       THEN 'too_old' END
FROM unnest(%(tasks)s::text[]) AS task;

-- name: runs_listen
LISTEN sonde_runs;

-- name: runs_open
-- What agents are to be told. A moment after its end a request is still named, for the last answers.
SELECT p.code, r.id, extract(epoch FROM r.expires_at - now())::float8, t.revision, array_agg(t.task ORDER BY t.task)
FROM sonde.run_requests AS r
JOIN sonde.run_tasks AS t ON t.request_id = r.id AND t.outcome IS NULL
JOIN probe_locations AS p ON p.id = t.probe_id
WHERE r.expires_at > now() - %(after_s)s::float8 * interval '1 second'
GROUP BY p.code, r.id, t.revision
ORDER BY p.code, r.asked_at, r.id;

-- name: runs_answer
-- The first answer stays: another collector may have heard it too.
UPDATE sonde.run_tasks AS t
SET outcome = a.outcome, reason = a.reason, detail = a.detail, epoch = a.epoch, seq = a.seq, answered_at = now()
FROM unnest(%(ids)s::uuid[], %(codes)s::text[], %(tasks)s::text[], %(outcomes)s::text[], %(reasons)s::text[],
            %(details)s::text[], %(epochs)s::bytea[], %(seqs)s::bigint[])
  AS a (id, code, task, outcome, reason, detail, epoch, seq)
JOIN probe_locations AS p ON p.code = a.code
WHERE t.request_id = a.id AND t.probe_id = p.id AND t.task = a.task AND t.outcome IS NULL;

-- name: runs_progress
-- One row a vantage. committed: of what ran, whose results are in the database by now.
SELECT p.code AS vantage, count(*) AS tasks,
  count(*) FILTER (WHERE t.outcome = 'done') AS done,
  count(*) FILTER (WHERE t.outcome = 'failed') AS failed,
  count(*) FILTER (WHERE t.outcome IN ('done', 'failed') AND s.acked_seq >= t.seq) AS committed,
  count(*) FILTER (WHERE t.outcome = 'refused') AS refused,
  count(*) FILTER (WHERE t.outcome = 'missed') AS skipped,
  count(*) FILTER (WHERE t.outcome = 'gone') AS gone,
  count(*) FILTER (WHERE t.outcome = 'too_old') AS too_old,
  count(*) FILTER (WHERE t.outcome IS NULL) AS unanswered,
  coalesce(max(a.last_seen) < now() - %(silent)s::float8 * interval '1 second', true) AS silent,
  (SELECT json_object_agg(word, many) FROM (
     SELECT concat(w.outcome, ': ', coalesce(w.reason, w.detail)) AS word, count(*) AS many FROM sonde.run_tasks AS w
     WHERE w.request_id = %(id)s AND w.probe_id = p.id AND w.outcome IN ('missed', 'refused', 'failed')
     GROUP BY 1 ORDER BY 2 DESC LIMIT 5) AS words) AS reasons
FROM sonde.run_tasks AS t
JOIN probe_locations AS p ON p.id = t.probe_id
LEFT JOIN sonde.agents AS a ON a.probe_id = t.probe_id
LEFT JOIN sonde.streams AS s ON s.epoch = t.epoch AND s.probe_id = t.probe_id
WHERE t.request_id = %(id)s
GROUP BY p.id, p.code
ORDER BY p.code;

-- name: runs_sweep
DELETE FROM sonde.run_requests WHERE expires_at < now() - interval '1 day';
