-- Partitions that leave the database, the files that they become, and what is read from both.

-- name: archive_lead
-- Whether this session is the one that archives; until it ends.
SELECT pg_try_advisory_lock(hashtext('sonde'), hashtext('retention'));

-- name: archive_lead_no_more
SELECT pg_advisory_unlock(hashtext('sonde'), hashtext('retention'));

-- name: archive_partitions
-- Every partition with two ends, oldest first, and whether it was restored.
SELECT n.nspname || '.' || p.relname, c.relname, r.lo, r.hi, coalesce(a.state = 'restored', false)
FROM sonde.partition_ranges r
JOIN pg_class p ON p.oid = r.parent JOIN pg_namespace n ON n.oid = p.relnamespace
JOIN pg_class c ON c.oid = r.child
LEFT JOIN sonde.archives a ON a.name = c.relname
WHERE NOT r.is_default AND isfinite(r.lo) AND isfinite(r.hi)
ORDER BY r.hi, 1;

-- name: archive_records
SELECT name, parent, lo, hi, state, file, rows, first_at, last_at, bytes, hot_bytes, sha256, digest, schema, archived_at
FROM sonde.archives ORDER BY parent, lo;

-- name: archive_begin_leaving
SELECT sonde.begin_leaving(%(name)s, %(parent)s, %(lo)s, %(hi)s);

-- name: archive_attachment
-- How a table hangs on its parent: "attached", "pending" (its detaching was begun), "apart"; no row = there is no such table.
SELECT CASE WHEN i.inhrelid IS NULL THEN 'apart' WHEN i.inhdetachpending THEN 'pending' ELSE 'attached' END,
       EXISTS (SELECT FROM pg_partitioned_table t WHERE t.partrelid = %(parent)s::regclass AND t.partdefid <> 0)
FROM pg_class c
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = %(parent)s::regclass
WHERE c.oid = to_regclass(%(child)s);

-- name: archive_patience
-- Behind somebody's lock we give up and come again rather than let writers queue behind us.
SELECT set_config('lock_timeout', %s, false);

-- name: archive_detach
ALTER TABLE {parent} DETACH PARTITION {child} CONCURRENTLY;

-- name: archive_detach_beside_default
-- CONCURRENTLY is not to be had where there is a default partition.
ALTER TABLE {parent} DETACH PARTITION {child};

-- name: archive_detach_finalize
ALTER TABLE {parent} DETACH PARTITION {child} FINALIZE;

-- name: archive_is_dirty
SELECT sonde.is_dirty(%(parent)s, %(lo)s, %(hi)s);

-- name: archive_attach
SELECT sonde.attach_loaded(%(parent)s::regclass, %(child)s::regclass, %(lo)s, %(hi)s);

-- name: archive_stay
-- A partition that does not leave after all: what it was before.
WITH restored AS (
  UPDATE sonde.archives SET state = 'restored' WHERE name = %(name)s AND file IS NOT NULL
)
DELETE FROM sonde.archives WHERE name = %(name)s AND file IS NULL;

-- name: archive_hold
LOCK TABLE {table} IN SHARE MODE;

-- name: archive_detached
UPDATE sonde.archives SET state = 'detached' WHERE name = %(name)s AND state = 'leaving';

-- name: archive_written
UPDATE sonde.archives SET
  state = 'written', file = %(file)s, rows = %(rows)s, first_at = %(first_at)s, last_at = %(last_at)s,
  bytes = %(bytes)s, hot_bytes = %(hot_bytes)s, sha256 = %(sha256)s, digest = %(digest)s, columns = %(columns)s,
  schema = %(schema)s, database_id = %(database_id)s
WHERE name = %(name)s AND state IN ('detached', 'written');

-- name: archive_rewrite
UPDATE sonde.archives SET state = 'detached' WHERE name = %(name)s AND state = 'written';

-- name: archive_drop
-- Its foreign keys let go of their tables, for which all writers must pause: an instant, or not now.
DROP TABLE IF EXISTS {child};

-- name: archive_dropped
UPDATE sonde.archives SET state = %(state)s, archived_at = now(), restored_at = NULL WHERE name = %(name)s;

-- name: archive_sweep_marks
-- Marks of what has left: nothing can honour them any more.
DELETE FROM sonde.dirty_marks m USING sonde.series_needs n, sonde.archives a
WHERE n.series = m.series AND a.parent = n.parent AND a.state IN ('detached', 'written', 'archived', 'deleted')
  AND a.hi > m.hour - n.before AND a.lo < m.hour + n.after;

-- name: archive_columns
-- The columns of a table: name and SQL type.
SELECT attname, format_type(atttypid, atttypmod)
FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;

-- name: archive_columns_of
-- The columns of a partition when it was archived.
SELECT columns FROM sonde.archives WHERE name = %(name)s;

-- name: archive_key
-- The columns of a table's primary key, in its order.
SELECT a.attname
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %(table)s::regclass AND i.indisprimary ORDER BY k.place;

-- name: archive_session
-- Texts of values are the same whatever the role's own settings are.
SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO', true), set_config('extra_float_digits', '1', true),
       set_config('intervalstyle', 'postgres', true), set_config('bytea_output', 'hex', true);

-- name: archive_facts
SELECT count(*), min({time}), max({time}), pg_total_relation_size(%(table)s::regclass),
       (SELECT max(name) FROM sonde.migrations), (SELECT id FROM sonde.database)
FROM {table};

-- name: archive_copy_text
COPY (SELECT {columns} FROM {table} ORDER BY {order}) TO STDOUT (FORMAT csv);

-- name: archive_copy_binary
COPY (SELECT {columns} FROM {table} ORDER BY {order}) TO STDOUT (FORMAT binary);

-- name: archive_restore_table
CREATE TABLE {child} (LIKE {parent} INCLUDING ALL);

-- name: archive_restore_rows
COPY {child} ({columns}) FROM STDIN (FORMAT csv);

-- name: archive_restored
UPDATE sonde.archives SET state = 'restored', restored_at = now() WHERE name = %(name)s;

-- name: retention_tell
-- Once when archiving begins to fail, and once when it works again.
INSERT INTO sonde.events (kind, subject, detail, severity, topic, resolved)
SELECT 'archive_failed', %(subject)s, %(detail)s, CASE WHEN %(failed)s THEN 'warning' ELSE 'info' END,
       'archive_failed/' || %(subject)s, NOT %(failed)s
WHERE %(failed)s IS DISTINCT FROM coalesce(
  (SELECT NOT resolved FROM sonde.events WHERE topic = 'archive_failed/' || %(subject)s ORDER BY id DESC LIMIT 1), false);

-- name: retention_delete
-- Rows older than their retention, some at a time.
DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {time} < %(before)s LIMIT %(most)s));

-- name: tiers_lock
-- Nobody drops or finishes detaching anything below these while we read.
LOCK TABLE {tables} IN ACCESS SHARE MODE;

-- name: tiers_snapshot
SELECT pg_export_snapshot();

-- name: tiers_same_snapshot
SET TRANSACTION SNAPSHOT {snapshot};

-- name: tiers_timeout
SELECT set_config('statement_timeout', %s, true);

-- name: tiers_relations
-- Every table and view by schema and name, and its columns; what has been detached is read with its parent.
SELECT n.nspname, c.relname, jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname IN ('public', 'sonde') AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition
  AND NOT EXISTS (SELECT FROM sonde.archives t WHERE t.name = c.relname AND t.state IN ('leaving', 'detached', 'written'))
  AND has_table_privilege(c.oid, 'SELECT')
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: tiers_bounds
-- From when to when a table's partitions reach; those without an end left out.
SELECT min(lo), max(hi) FROM sonde.partition_ranges
WHERE parent = %(parent)s::regclass AND NOT is_default AND isfinite(lo) AND isfinite(hi);

-- name: tiers_apart
-- What is on its way out and hangs on its parent no more, but has no file to rely on yet.
SELECT a.name, a.parent, a.lo, a.hi FROM sonde.archives a
WHERE a.state IN ('leaving', 'detached', 'written')
  AND NOT EXISTS (SELECT FROM sonde.partition_ranges r JOIN pg_class c ON c.oid = r.child
                  WHERE c.relname = a.name AND r.parent = a.parent::regclass);

-- name: tiers_read
COPY (SELECT {columns} FROM {table}) TO STDOUT (FORMAT csv);

-- name: tiers_read_between
COPY (SELECT {columns} FROM {table} WHERE {time} >= {lo} AND {time} < {hi}) TO STDOUT (FORMAT csv);

-- name: engine_schema
-- For DuckDB: PostgreSQL's schemas, by their names.
CREATE SCHEMA IF NOT EXISTS {schema};

-- name: engine_view
CREATE VIEW {schema}.{name} AS FROM {source};

-- name: engine_lock
-- For DuckDB: what was registered is all that there is, and nobody may change that.
SET TimeZone = 'UTC';
SET enable_external_access = false;
SET lock_configuration = true;
