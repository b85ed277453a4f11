-- name: pauses_probes
-- In one order, so that two operators can't deadlock.
SELECT code, id FROM probe_locations WHERE code = ANY (%(vantages)s) ORDER BY id FOR NO KEY UPDATE;

-- name: pauses_set
-- A pause that is only made longer or shorter began when it began.
INSERT INTO sonde.pauses AS kept (probe_id, until_at, reason)
VALUES (%(probe)s, now() + %(for_s)s::float8 * interval '1 second', %(reason)s)
ON CONFLICT (probe_id) DO UPDATE
SET since = CASE WHEN kept.until_at <= now() THEN now() ELSE kept.since END,
    until_at = excluded.until_at, reason = excluded.reason
RETURNING until_at;

-- name: pauses_end
DELETE FROM sonde.pauses WHERE probe_id = %(probe)s RETURNING until_at IS NULL OR until_at > now();

-- name: pauses_reassign
-- A pause is part of the assignment: a new revision, also where there are no tasks yet.
INSERT INTO sonde.assignments (probe_id, revision, body) VALUES (%(probe)s, 1, '')
ON CONFLICT (probe_id) DO UPDATE SET revision = assignments.revision + 1, updated_at = now();

-- name: pauses_told
-- Whether the agent hears of pauses; NULL = it was never heard.
SELECT 'pause' = ANY (capabilities) FROM sonde.agents WHERE probe_id = %(probe)s;

-- name: pauses_event
INSERT INTO sonde.events (kind, subject, detail, data, severity)
VALUES (%(kind)s, %(vantage)s, %(detail)s, jsonb_build_object('reason', %(reason)s::text, 'until', %(until)s::timestamptz),
        'info');

-- name: pauses_sweep
DELETE FROM sonde.pauses WHERE until_at < now() - interval '1 day';
