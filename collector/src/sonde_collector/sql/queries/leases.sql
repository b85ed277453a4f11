-- name: leases_patience
-- A collector that stopped in the middle of a transaction must not stop the others for longer.
SELECT set_config('lock_timeout', '3s', true);

-- name: leases_lock
-- Everything about these resources is decided by one transaction at a time, whatever collector it is of. By one order
-- for everybody, that of the locks themselves, so that no two wait for each other.
SELECT pg_advisory_xact_lock(key)
FROM (
  SELECT DISTINCT hashtextextended(kind || '/' || name, 5) AS key
  FROM unnest(%(kinds)s::text[], %(names)s::text[]) AS wanted (kind, name)
  ORDER BY key OFFSET 0
) AS in_order;

-- name: leases_of
-- How many leases a vantage has that have not ended.
SELECT count(DISTINCT lease) FROM sonde.leases WHERE probe_id = %(probe_id)s AND expires_at > clock_timestamp();

-- name: leases_now
-- The time once the locks are held; now() is that of the transaction's beginning.
SELECT clock_timestamp();

-- name: leases_accounts
SELECT a.credential, a.sessions, a.logins_per_minute, a.same_key_twice, a.linger_s, a.state = 'refused', r.refused_at,
  r.servers
FROM sonde.accounts a
LEFT JOIN sonde.refusals r ON r.credential = a.credential AND r.ended_at IS NULL AND a.state = 'refused'
WHERE a.is_active AND a.credential = ANY(%(names)s);

-- name: leases_held
SELECT l.kind, l.name, l.granted_at, l.expires_at, l.free_at
FROM sonde.leases l JOIN unnest(%(kinds)s::text[], %(names)s::text[]) AS wanted (kind, name) USING (kind, name);

-- name: leases_waiting
SELECT w.kind, w.name, w.probe_id, w.since, w.until
FROM sonde.lease_waits w JOIN unnest(%(kinds)s::text[], %(names)s::text[]) AS wanted (kind, name) USING (kind, name);

-- name: leases_clear
-- What counts for nothing any more, and the places of this vantage in the lines: it stands in others now, or in none.
WITH wanted AS (
  SELECT * FROM unnest(%(kinds)s::text[], %(names)s::text[]) AS wanted (kind, name)
), over AS (
  DELETE FROM sonde.leases l USING wanted w
  WHERE l.kind = w.kind AND l.name = w.name AND l.free_at <= %(now)s AND l.granted_at <= %(now)s - %(window)s::interval
)
DELETE FROM sonde.lease_waits l USING wanted w
WHERE l.kind = w.kind AND l.name = w.name AND (l.probe_id = %(probe_id)s OR l.until < %(now)s);

-- name: leases_grant
INSERT INTO sonde.leases (kind, name, lease, probe_id, instance, server, granted_at, expires_at, free_at)
SELECT kind, name, %(lease)s, %(probe_id)s, %(instance)s, %(server)s, granted_at, expires_at, free_at
FROM unnest(%(kinds)s::text[], %(names)s::text[], %(granted)s::timestamptz[], %(expires)s::timestamptz[],
            %(free)s::timestamptz[]) AS held (kind, name, granted_at, expires_at, free_at);

-- name: leases_wait
INSERT INTO sonde.lease_waits (kind, name, probe_id, since, until)
SELECT kind, name, %(probe_id)s, since, until
FROM unnest(%(kinds)s::text[], %(names)s::text[], %(since)s::timestamptz[], %(until)s::timestamptz[])
  AS line (kind, name, since, until);

-- name: leases_owner
-- Whose lease it is.
SELECT p.code FROM sonde.leases l JOIN probe_locations p ON p.id = l.probe_id WHERE l.lease = %(lease)s LIMIT 1;

-- name: leases_what
SELECT kind, name, server, granted_at FROM sonde.leases WHERE lease = %(lease)s;

-- name: leases_renew
-- Only a lease that has not ended: its agent may have ended the run, and somebody else may hold its place.
UPDATE sonde.leases
SET expires_at = clock_timestamp() + %(ttl)s::interval,
    free_at = clock_timestamp() + %(ttl)s::interval + (free_at - expires_at)
WHERE lease = %(lease)s AND expires_at > clock_timestamp()
  AND granted_at > clock_timestamp() - %(longest)s::interval;

-- name: leases_release
-- A session counts until the provider has dealt with its goodbye, or where it was told none, until it notices.
UPDATE sonde.leases
SET expires_at = least(expires_at, clock_timestamp()),
    free_at = least(free_at, clock_timestamp() + least(%(settle)s::interval, free_at - expires_at))
WHERE lease = %(lease)s;

-- name: leases_sweep
-- Of what nobody asks for any more.
WITH waits AS (DELETE FROM sonde.lease_waits WHERE until < now() - interval '1 hour')
DELETE FROM sonde.leases WHERE free_at < now() - interval '1 hour' AND granted_at < now() - interval '1 hour';
