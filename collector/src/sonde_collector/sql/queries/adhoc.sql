-- name: adhoc_timeout
SELECT set_config('statement_timeout', %s, true);

-- name: adhoc_may_drop_rights
-- A superuser could still start programs and read files in a read-only transaction.
SELECT pg_has_role(current_user, 'pg_read_all_data', 'MEMBER');

-- name: adhoc_read_only_role
SET LOCAL ROLE pg_read_all_data;
