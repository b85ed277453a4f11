-- name: keeping_snapshot
-- The snapshot that a dump shares with this transaction, and what the database is.
SELECT pg_export_snapshot(), now(), (SELECT id::text FROM sonde.database), current_setting('server_version'),
  pg_database_size(current_database());

-- name: keeping_migrations
SELECT name, sha256 FROM sonde.migrations ORDER BY name;

-- name: keeping_exact_rows
SELECT name, rows FROM sonde.exact_rows();

-- name: keeping_record
INSERT INTO sonde.backups (made_at, place, bytes) VALUES (%s, %s, %s);

-- name: keeping_after_restore
SELECT sonde.after_restore(%s, %s, %s);

-- name: keeping_after_restore_by_hand
-- The same where somebody restored with PostgreSQL's own programs.
SELECT sonde.after_restore();

-- name: keeping_last
-- The newest backup, and how old what it holds is.
SELECT made_at, place, bytes, extract(epoch FROM now() - made_at)::float8 AS age_s
FROM sonde.backups ORDER BY made_at DESC LIMIT 1;

-- name: keeping_holds
-- What a database of ours holds; no row where it holds no schema of ours.
SELECT (SELECT count(*) FROM sonde.streams), (SELECT id::text FROM sonde.database);

-- name: keeping_has_schema
SELECT to_regclass('sonde.database') IS NOT NULL;

-- name: keeping_users
-- Who else is connected to the database in use.
SELECT DISTINCT coalesce(nullif(application_name, ''), 'a client') FROM pg_stat_activity
WHERE datname = 'sonde' AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY 1;

-- name: keeping_one_restore
SELECT pg_try_advisory_lock(hashtext('sonde'), hashtext('restore'));

-- name: keeping_leftovers
-- What an earlier restore left that was ended before its end.
SELECT datname FROM pg_database WHERE datname IN ('sonde_restoring', 'sonde_before') ORDER BY 1;

-- name: keeping_drop_restoring
DROP DATABASE IF EXISTS sonde_restoring WITH (FORCE);

-- name: keeping_drop_before
DROP DATABASE IF EXISTS sonde_before WITH (FORCE);

-- name: keeping_put_aside
ALTER DATABASE sonde RENAME TO sonde_before;

-- name: keeping_put_in_place
ALTER DATABASE sonde_restoring RENAME TO sonde;

-- name: keeping_analyze
ANALYZE;

-- name: keeping_tables
-- Every table that holds rows of its own.
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\_%'
ORDER BY 1, 2;

-- name: keeping_other_databases
-- What else lies in the cluster, but what PostgreSQL makes itself and what a restore leaves that was killed.
SELECT datname FROM pg_database
WHERE NOT datistemplate AND datname NOT IN ('postgres', 'sonde', 'sonde_restoring', 'sonde_before') ORDER BY 1;

-- name: keeping_export
SELECT pg_export_snapshot();
