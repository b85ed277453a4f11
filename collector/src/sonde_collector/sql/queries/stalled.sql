-- name: stalled_end
-- Ends the sessions of collectors that hold locks, of a transaction or of a lead, and wait for a client that has said
-- nothing for so long. A statement that PostgreSQL itself is busy with, or that waits for a lock, is not one; an
-- idle session that holds nothing harms nobody. No timeout of PostgreSQL's own ends a COPY that waits for its client.
SELECT a.application_name, pg_terminate_backend(a.pid)
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid()
  AND starts_with(a.application_name, %(serving)s)
  AND a.wait_event_type = 'Client' AND a.state_change < now() - %(silent_s)s::float8 * interval '1 second'
  AND (a.xact_start IS NOT NULL
       OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted));
