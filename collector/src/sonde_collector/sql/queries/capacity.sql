-- name: capacity_sizes
SELECT parent, name, bytes, empty_bytes, rows, counted FROM sonde.table_sizes();

-- name: capacity_rates
SELECT name, rows, buckets, first_at, oldest_at
FROM sonde.row_rates(%(tables)s::text[], %(columns)s::text[], %(widths)s::text[], %(since)s::timestamptz[]);

-- name: capacity_database
SELECT pg_database_size(current_database()), pg_size_bytes(current_setting('max_wal_size'));

-- name: capacity_assignments
-- What each vantage that is in the inventory is told to run.
SELECT p.code, a.body FROM sonde.assignments a JOIN probe_locations p ON p.id = a.probe_id WHERE p.is_active;

-- name: capacity_data_directory
-- Where the server's data is; no row for a role that may not know.
SELECT setting FROM pg_settings WHERE name = 'data_directory';
