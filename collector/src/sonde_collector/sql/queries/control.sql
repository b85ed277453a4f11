-- name: control_directory
-- Every vantage with the revision of its tasks, and which database this is: what all watchers compare with.
SELECT d.id, p.code, p.id, coalesce(a.revision, 0)
FROM sonde.database d
LEFT JOIN probe_locations p ON true
LEFT JOIN sonde.assignments a ON a.probe_id = p.id;

-- name: control_assignment
SELECT a.revision, a.body, p.probe_id IS NOT NULL, coalesce(extract(epoch FROM p.until_at), 0)::float8, p.reason
FROM sonde.assignments a LEFT JOIN sonde.paused p USING (probe_id)
WHERE a.probe_id = %s;

-- name: control_overtake
-- An agent knows a later revision of this database: what it hears next must be later still.
UPDATE sonde.assignments SET revision = %(revision)s + 1, updated_at = now()
WHERE probe_id = %(probe)s AND revision < %(revision)s;

-- name: control_listen
LISTEN sonde_assignments;

-- name: control_report
-- Two collectors may hear of one agent; the later word stays.
INSERT INTO sonde.agents (
  probe_id, instance, version, revision, started_at, last_seen, clock_offset_ms, ready, reason,
  spool_rows, spool_bytes, spool_oldest, last_error, capabilities, refused, collector)
SELECT %(probe_id)s, %(instance)s, %(version)s, %(revision)s, to_timestamp(%(started_s)s), to_timestamp(%(seen_s)s),
  %(clock_offset_ms)s, %(ready)s, %(reason)s, %(spool_rows)s, %(spool_bytes)s, to_timestamp(%(oldest_s)s),
  %(last_error)s, %(capabilities)s, %(refused)s, %(collector)s
WHERE EXISTS (SELECT FROM probe_locations WHERE id = %(probe_id)s)
ON CONFLICT (probe_id) DO UPDATE
SET instance = excluded.instance, version = excluded.version, revision = excluded.revision,
    started_at = excluded.started_at, last_seen = excluded.last_seen, clock_offset_ms = excluded.clock_offset_ms,
    ready = excluded.ready, reason = excluded.reason, spool_rows = excluded.spool_rows,
    spool_bytes = excluded.spool_bytes, spool_oldest = excluded.spool_oldest, last_error = excluded.last_error,
    capabilities = excluded.capabilities, refused = excluded.refused,
    collector = excluded.collector
WHERE agents.last_seen <= excluded.last_seen;
