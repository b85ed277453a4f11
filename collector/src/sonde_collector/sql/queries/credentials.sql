-- name: credentials_standing
-- When the account was last known to work, and whether it is refused. Locked: evidence is weighed one run at a time.
SELECT greatest(a.connected_at, (SELECT max(ended_at) FROM sonde.refusals r WHERE r.credential = a.credential)),
  a.state = 'refused'
FROM sonde.accounts a WHERE a.credential = %(credential)s FOR UPDATE;

-- name: credentials_failures
SELECT server, at FROM sonde.auth_failures WHERE credential = %(credential)s;

-- name: credentials_forget
DELETE FROM sonde.auth_failures WHERE credential = %(credential)s AND server <> ALL(%(servers)s);

-- name: credentials_failed
INSERT INTO sonde.auth_failures (credential, server, at) VALUES (%(credential)s, %(server)s, %(at)s)
ON CONFLICT (credential, server) DO UPDATE SET at = excluded.at;

-- name: credentials_connected
UPDATE sonde.accounts SET connected_at = greatest(connected_at, %(at)s) WHERE credential = %(credential)s;

-- name: credentials_refuse
-- The trigger writes the refusal and its event.
UPDATE sonde.accounts SET state = 'refused' WHERE credential = %(credential)s;

-- name: credentials_resume
-- The trigger ends the refusal.
UPDATE sonde.accounts SET state = 'ok' WHERE credential = ANY(%(names)s) AND state = 'refused' RETURNING credential;

-- name: credentials_known
SELECT credential FROM sonde.accounts WHERE is_active AND credential = ANY(%(names)s);

-- name: credentials_list
-- Every account with what of it is in use: sessions that count now, runs that go on now.
SELECT a.credential, p.slug AS provider, a.state, a.sessions, coalesce(u.in_use, 0) AS in_use,
  coalesce(u.running, 0) AS running, coalesce(u.vantages, '{}') AS vantages, a.logins_per_minute, a.same_key_twice,
  a.linger_s, a.connected_at, a.refused_at, coalesce(r.servers, f.servers, '{}') AS turned_away_by
FROM sonde.accounts a
JOIN providers p ON p.id = a.provider_id
LEFT JOIN sonde.refusals r ON r.credential = a.credential AND r.ended_at IS NULL AND a.state = 'refused'
LEFT JOIN LATERAL (
  SELECT array_agg(server ORDER BY at, server) AS servers FROM sonde.auth_failures WHERE credential = a.credential
) f ON true
LEFT JOIN LATERAL (
  SELECT count(*) AS in_use, count(*) FILTER (WHERE l.expires_at > now()) AS running,
    array_agg(DISTINCT v.code ORDER BY v.code) AS vantages
  FROM sonde.leases l JOIN probe_locations v ON v.id = l.probe_id
  WHERE l.kind = 'credential' AND l.name = a.credential AND l.free_at > now()
) u ON true
WHERE a.is_active
ORDER BY a.credential;

-- name: credentials_counts
SELECT state, count(*) FROM sonde.accounts WHERE is_active GROUP BY state;

-- name: credentials_refused
-- For those who look at the fleet: what waits for a person.
SELECT a.credential, a.refused_at, extract(epoch FROM now() - a.refused_at)::float8 AS refused_s, r.servers
FROM sonde.accounts a
LEFT JOIN sonde.refusals r ON r.credential = a.credential AND r.ended_at IS NULL
WHERE a.is_active AND a.state = 'refused'
ORDER BY a.credential;

-- name: credentials_marks
-- The hours in which something came that a held result may be judged by; to the end of the transaction nobody else judges.
SELECT hour FROM sonde.take_marks('held', 256);

-- name: credentials_judge
-- Results of this hour and the one before that were held because a credential was refused, and whose server is at
-- fault: within an hour after it another server let the same credential in, and the account was not refused as a whole.
-- They move to where they would have gone, and their hours are counted anew.
WITH due AS (
  SELECT h.* FROM sonde.performance_held h
  WHERE h.held_because = 'credential refused'
    AND h.measured_at >= %(hour)s - interval '1 hour' AND h.measured_at < %(hour)s + interval '1 hour'
    AND EXISTS (
      SELECT FROM performance_logs l
      WHERE l.credential = h.credential AND l.connection_success AND l.server_id <> h.server_id
        AND l.measured_at > h.measured_at AND l.measured_at <= h.measured_at + interval '1 hour'
        -- The same said without h, so that no plan looks into other partitions.
        AND l.measured_at > %(hour)s - interval '1 hour' AND l.measured_at < %(hour)s + interval '2 hours')
    AND NOT EXISTS (
      SELECT FROM sonde.refusals r
      WHERE r.credential = h.credential AND (r.since IS NULL OR h.measured_at >= r.since)
        AND (r.ended_at IS NULL OR h.measured_at <= r.ended_at))
), gone AS (
  DELETE FROM sonde.performance_held h USING due d
  WHERE h.measured_at = d.measured_at AND h.server_id = d.server_id AND h.probe_id = d.probe_id
    AND h.stream_id = d.stream_id AND h.seq = d.seq
  RETURNING h.*
), marks AS (
  INSERT INTO sonde.dirty_marks (series, hour, probe_id)
  SELECT DISTINCT 'performance', date_trunc('hour', measured_at, 'UTC'), probe_id FROM gone
)
INSERT INTO performance_logs
SELECT moved.* FROM gone, jsonb_populate_record(NULL::performance_logs, to_jsonb(gone)) AS moved
RETURNING server_id, probe_id, protocol_id, family, (extract(epoch FROM measured_at) * 1000000)::bigint;
