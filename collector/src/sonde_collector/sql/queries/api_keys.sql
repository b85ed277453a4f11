-- name: api_keys_expire
-- A key that has expired gives up its name.
UPDATE sonde.api_keys SET revoked_at = now() WHERE name = %s AND revoked_at IS NULL AND expires_at <= now();

-- name: api_keys_add
-- Gives no row where the name is in use.
INSERT INTO sonde.api_keys (name, hash, rate_per_minute, expires_at)
VALUES (%(name)s, %(hash)s, %(rate)s, now() + %(expires_s)s::float8 * interval '1 second')
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING expires_at;

-- name: api_keys_list
SELECT name, rate_per_minute, created_at, expires_at, last_used_at, revoked_at,
  CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'active' END AS state
FROM sonde.api_keys
WHERE %(all)s OR revoked_at IS NULL
ORDER BY revoked_at IS NOT NULL, name, id;

-- name: api_keys_revoke
UPDATE sonde.api_keys SET revoked_at = now() WHERE name = %s AND revoked_at IS NULL;

-- name: api_keys_valid
-- All that open the door now. There are as many as there are readers: tens.
SELECT id, name, hash, rate_per_minute, extract(epoch FROM expires_at)::float8 AS expires_at
FROM sonde.api_keys WHERE revoked_at IS NULL AND (expires_at > now() OR expires_at IS NULL);

-- name: api_keys_used
-- Collectors write by turns: the newest use stays.
UPDATE sonde.api_keys AS kept SET last_used_at = used.at
FROM unnest(%(ids)s::int[], %(at)s::timestamptz[]) AS used(id, at)
WHERE kept.id = used.id AND (kept.last_used_at IS NULL OR kept.last_used_at < used.at);
