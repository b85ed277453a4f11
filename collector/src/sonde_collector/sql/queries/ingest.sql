-- Ingestion: sessions of streams, and the one transaction that commits their batches.

-- The vantage that a hello names; the lock keeps it while its stream is made.
-- name: ingest_vantage
SELECT id FROM probe_locations WHERE code = %(vantage)s FOR KEY SHARE

-- The stream of a hello, locked: its vantage's code, cursor, and whether a connection is alive on it.
-- name: ingest_stream
SELECT s.id, p.code, s.acked_seq, s.chain, s.instance, coalesce(s.live_until > now(), false) AS live
FROM sonde.streams s JOIN probe_locations p ON p.id = s.probe_id
WHERE s.epoch = %(epoch)s
FOR UPDATE OF s

-- New streams of a vantage are begun one after another, so that each sees those before it.
-- name: ingest_streams_lock
SELECT pg_advisory_xact_lock(hashtextextended('new streams', %(probe)s))

-- Streams that a vantage began within a day.
-- name: ingest_streams_begun
SELECT count(*) FROM sonde.streams WHERE probe_id = %(probe)s AND created_at > now() - interval '1 day'

-- A stream that was never seen. Two hellos at once make one row.
-- name: ingest_new_stream
INSERT INTO sonde.streams (probe_id, epoch) VALUES (%(probe)s, %(epoch)s) ON CONFLICT (epoch) DO NOTHING

-- The newest connection fences the older ones in; the answer's database is read in the same snapshot.
-- name: ingest_take_session
UPDATE sonde.streams
SET session = session + 1, instance = %(instance)s, connected_at = now(),
    live_until = now() + make_interval(secs => %(seconds)s)
WHERE id = %(stream)s
RETURNING session, (SELECT d.id FROM sonde.database d)

-- Live connections say so; what does not come back is fenced. Locked in the order of the writers, so that they
-- can't wait for each other in a circle.
-- name: ingest_renew
WITH held AS MATERIALIZED (
  SELECT s.id, s.epoch, s.session
  FROM sonde.streams s JOIN unnest(%(epochs)s::bytea[], %(sessions)s::bigint[]) AS mine (epoch, session)
    ON s.epoch = mine.epoch AND s.session = mine.session
  ORDER BY s.id FOR NO KEY UPDATE OF s
)
UPDATE sonde.streams s SET live_until = now() + make_interval(secs => %(seconds)s)
FROM held WHERE s.id = held.id AND s.session = held.session
RETURNING held.epoch, held.session

-- A connection that ends in order is not alive any more, so that a copy of its spool is not taken for a clone.
-- name: ingest_leave
UPDATE sonde.streams SET live_until = now() WHERE epoch = %(epoch)s AND session = %(session)s

-- The cursors of a write, locked in one order by every writer of every collector.
-- name: ingest_lock_cursors
SELECT id, epoch, probe_id, acked_seq, chain, session
FROM sonde.streams WHERE epoch = ANY(%(epochs)s::bytea[])
ORDER BY id FOR UPDATE

-- Servers by stable key, as they are now; the lock keeps them until the rows that name them are committed. The keys
-- come as JSON: psycopg writes a text[] item by item, which for 2000 keys takes longer than this query.
-- name: ingest_lock_servers
SELECT k.key, s.id
FROM sonde.server_keys k JOIN servers s ON s.id = k.server_id
WHERE k.key = ANY(ARRAY(SELECT jsonb_array_elements_text(%(keys)s::jsonb)))
ORDER BY s.id FOR KEY SHARE OF s

-- Targets by stable key, likewise.
-- name: ingest_lock_targets
SELECT key, id FROM sonde.targets
WHERE key = ANY(ARRAY(SELECT jsonb_array_elements_text(%(keys)s::jsonb)))
ORDER BY id FOR KEY SHARE

-- Platforms by slug, likewise.
-- name: ingest_lock_platforms
SELECT slug, id FROM streaming_platforms
WHERE slug = ANY(ARRAY(SELECT jsonb_array_elements_text(%(keys)s::jsonb)))
ORDER BY id FOR KEY SHARE

-- Protocols by name.
-- name: ingest_protocols
SELECT name, id FROM protocols WHERE name = ANY(ARRAY(SELECT jsonb_array_elements_text(%(keys)s::jsonb)))

-- For this transaction foreign keys are not checked row by row: their parents are locked already.
-- name: ingest_keys_checked
SET LOCAL session_replication_role = replica

-- Gaps that a batch declared. A write whose COMMIT was unknown comes again, hence DO NOTHING.
-- name: ingest_gaps
INSERT INTO sonde.gaps (stream_id, first_seq, last_seq, reason, from_at, until_at)
SELECT * FROM unnest(%(streams)s::int[], %(first)s::bigint[], %(last)s::bigint[], %(reasons)s::text[],
                     %(from_at)s::timestamptz[], %(until_at)s::timestamptz[])
ON CONFLICT DO NOTHING

-- Results that can't be rows, with their reason and bytes; and what they take of their vantage's day, 100 bytes each
-- for the row itself. In one order, so that two writers can't wait for each other.
-- name: ingest_rejects
WITH stored AS (
  INSERT INTO sonde.rejected_results (stream_id, seq, kind, target, measured_at, reason, detail, result)
  SELECT * FROM unnest(%(streams)s::int[], %(seqs)s::bigint[], %(kinds)s::text[], %(targets)s::text[],
                       %(measured_at)s::timestamptz[], %(reasons)s::text[], %(details)s::text[], %(results)s::bytea[])
  ON CONFLICT DO NOTHING
  RETURNING stream_id, octet_length(result) + octet_length(detail) + octet_length(target) + 100 AS bytes
)
INSERT INTO sonde.rejected_bytes (probe_id, day, bytes)
SELECT s.probe_id, (now() AT TIME ZONE 'UTC')::date, sum(stored.bytes)
FROM stored JOIN sonde.streams AS s ON s.id = stored.stream_id
GROUP BY s.probe_id ORDER BY s.probe_id
ON CONFLICT (probe_id, day) DO UPDATE SET bytes = rejected_bytes.bytes + excluded.bytes

-- The end of a write: hours to roll up anew, verdicts for health, the batches, and the cursors. One round trip.
-- name: ingest_finish
WITH marks AS (
  INSERT INTO sonde.dirty_marks (series, hour, probe_id)
  SELECT * FROM unnest(%(series)s::text[], %(hours)s::timestamptz[], %(probes)s::smallint[])
), batches AS (
  INSERT INTO sonde.batches (stream_id, first_seq, last_seq, received_at, rows, trimmed, rejected, clock_offset_ms,
                             agent_version, config_revision, database_id)
  SELECT * FROM unnest(%(streams)s::int[], %(first)s::bigint[], %(last)s::bigint[], %(received_at)s::timestamptz[],
                       %(rows)s::int[], %(trimmed)s::int[], %(rejected)s::int[], %(offsets)s::real[],
                       %(versions)s::text[], %(revisions)s::bigint[], %(databases)s::uuid[])
), told AS (
  INSERT INTO sonde.health_inbox (object, verdicts, labels)
  SELECT * FROM (VALUES ('server', %(server_verdicts)s::bytea, NULL::jsonb),
                        ('target', %(target_verdicts)s::bytea, %(labels)s::jsonb)) AS t (object, verdicts, labels)
  WHERE verdicts IS NOT NULL
)
UPDATE sonde.streams s
SET acked_seq = c.acked, chain = c.chain, live_until = now() + make_interval(secs => %(seconds)s)
FROM unnest(%(cursors)s::int[], %(acked)s::bigint[], %(chains)s::bytea[]) AS c (id, acked, chain)
WHERE s.id = c.id
