-- name: partitions_lock
SELECT sonde.lock_partitions();

-- name: partitions_patience
-- Behind a lock of somebody's DDL we give up and come again rather than queue before the writers.
SELECT set_config('lock_timeout', %s, true);

-- name: partitions_ranges
-- All ranges as microseconds since 1970; an open end is the end of int64. Default partitions hold nothing we promise.
SELECT n.nspname || '.' || c.relname,
       CASE WHEN lo = '-infinity' THEN -9223372036854775808 ELSE (extract(epoch FROM lo) * 1000000)::bigint END,
       CASE WHEN hi = 'infinity' THEN 9223372036854775807 ELSE (extract(epoch FROM hi) * 1000000)::bigint END
FROM sonde.partition_ranges r JOIN pg_class c ON c.oid = r.parent JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT is_default
ORDER BY 1, 2;

-- name: partitions_attach
SELECT sonde.attach_partition(%s::regclass, %s, %s, %s);

-- name: partitions_gone
-- What has left, or is about to: no partition is made there again. As partitions_ranges.
SELECT parent, (extract(epoch FROM lo) * 1000000)::bigint, (extract(epoch FROM hi) * 1000000)::bigint
FROM sonde.archives WHERE state <> 'restored' ORDER BY 1, 2;
