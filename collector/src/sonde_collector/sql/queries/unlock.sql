-- name: unlock_platform
SELECT id FROM streaming_platforms WHERE slug = %(slug)s;

-- name: unlock_void
-- Alone for a moment: no check is between being judged and being committed. So every later step sees all checks of before,
-- and every later check sees this row.
SELECT pg_advisory_xact_lock(hashtext('sonde'), hashtext('voided rules'));

-- name: unlock_voided
INSERT INTO sonde.voided_rules (platform_id, rule_version, reason) VALUES (%(platform)s, %(version)s, %(reason)s)
ON CONFLICT (platform_id, rule_version) DO UPDATE SET reason = excluded.reason;

-- name: unlock_unvoided
DELETE FROM sonde.voided_rules WHERE platform_id = %(platform)s AND rule_version = %(version)s;

-- name: unlock_partitions
SELECT child::text FROM sonde.partition_ranges WHERE parent = 'public.streaming_checks'::regclass ORDER BY lo DESC;

-- name: unlock_mend
SELECT sonde.mend_unlocked(%(child)s::regclass, %(platform)s::smallint, %(version)s, %(most)s);

-- name: unlock_voided_list
SELECT p.slug AS platform, v.rule_version AS version, v.voided_at, v.reason
FROM sonde.voided_rules v JOIN streaming_platforms p ON p.id = v.platform_id
ORDER BY v.voided_at DESC, p.slug, v.rule_version;
