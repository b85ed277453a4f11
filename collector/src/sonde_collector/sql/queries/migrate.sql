-- name: migrate_lock
-- One migration at a time, whoever starts it; held to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('sonde'), hashtext('migrate'));

-- name: migrate_search_path
-- A role named sonde would have schema sonde first in its path, and the seed's tables would be made there.
SET LOCAL search_path = public;

-- name: migrate_has_ledger
SELECT to_regclass('sonde.migrations') IS NOT NULL;

-- name: migrate_applied
SELECT name, sha256 FROM sonde.migrations ORDER BY name;

-- name: migrate_record
INSERT INTO sonde.migrations (name, sha256) VALUES (%s, %s);

-- name: migrate_foreign_tables
-- Relations by names of ours that stand in public without our ledger.
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND relname = ANY (%s)
ORDER BY relname;

-- name: migrate_time_zone
-- What a new connection of anybody gets: the database's own setting, else the server's.
SELECT coalesce(
  (SELECT split_part(setting, '=', 2) FROM pg_db_role_setting, unnest(setconfig) AS setting
   WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND setrole = 0 AND setting ILIKE 'timezone=%%'),
  (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'));
