-- name: silence_add
INSERT INTO sonde.silences (subjects, objects, kinds, vantages, from_at, until_at, reason)
SELECT %(subjects)s, %(objects)s, %(kinds)s, %(vantages)s, greatest(coalesce(%(from_at)s, now()), now()),
  coalesce(%(until_at)s, greatest(coalesce(%(from_at)s, now()), now()) + %(for_s)s::float8 * interval '1 second'), %(reason)s
RETURNING id, from_at, until_at;

-- name: maintenance_add
INSERT INTO sonde.maintenance_windows (servers, targets, vantages, from_at, until_at, weekly, reason)
SELECT %(servers)s, %(targets)s, %(vantages)s, coalesce(%(from_at)s, now()),
  coalesce(%(until_at)s, coalesce(%(from_at)s, now()) + %(for_s)s::float8 * interval '1 second'), %(weekly)s, %(reason)s
RETURNING id, from_at, until_at;

-- name: silence_matches
-- How much of the inventory a maintenance window speaks of, so that a slip of the pen is seen.
SELECT
  (SELECT count(*) FROM servers s LEFT JOIN sonde.server_keys k ON k.server_id = s.id
   WHERE s.is_active AND (%(servers)s::text[] IS NULL AND %(targets)s::text[] IS NULL
     OR sonde.chosen(coalesce(k.key, s.hostname, host(s.ip_address)), %(servers)s))) AS servers,
  (SELECT count(*) FROM sonde.targets t WHERE t.is_active
     AND (%(servers)s::text[] IS NULL AND %(targets)s::text[] IS NULL OR sonde.chosen(t.key, %(targets)s))) AS targets,
  (SELECT count(*) FROM probe_locations p
   WHERE p.is_active AND (%(vantages)s::text[] IS NULL OR sonde.chosen(p.code, %(vantages)s))) AS vantages;

-- name: silence_list
-- Silences have ids of their own, maintenance windows too: "s3", "m4".
SELECT 's' || id AS id, 'silence' AS what, NULL AS key, subjects, objects, kinds, vantages, NULL::text[] AS servers,
  NULL::text[] AS targets, from_at, until_at, false AS weekly, reason, until_at <= now() AS over
FROM sonde.silences WHERE %(everything)s OR until_at > now()
UNION ALL
SELECT 'm' || id, 'maintenance', key, NULL, NULL, NULL, vantages, servers, targets, from_at,
  CASE WHEN weekly THEN until_at ELSE least(until_at, ended_at) END, weekly, reason,
  ended_at IS NOT NULL OR (NOT weekly AND until_at <= now())
FROM sonde.maintenance_windows WHERE %(everything)s OR (ended_at IS NULL AND (weekly OR until_at > now()))
ORDER BY from_at, 1;

-- name: silence_end
-- One that is on ends now; one that was still to come never begins.
WITH gone AS (
  DELETE FROM sonde.silences WHERE id = %(id)s AND from_at > now() RETURNING id
), ended AS (
  UPDATE sonde.silences SET until_at = greatest(now(), from_at + interval '1 microsecond')
  WHERE id = %(id)s AND from_at <= now() AND until_at > now() RETURNING id
)
SELECT id FROM gone UNION ALL SELECT id FROM ended;

-- name: maintenance_end
-- It ends now: what has passed of it stays out of uptime.
UPDATE sonde.maintenance_windows SET ended_at = now()
WHERE id = %(id)s AND key IS NULL AND ended_at IS NULL AND (weekly OR until_at > now()) RETURNING id;

-- name: maintenance_void
-- As if it had never been: what was measured in it counts again.
DELETE FROM sonde.maintenance_windows WHERE id = %(id)s AND key IS NULL RETURNING id;

-- name: maintenance_key
SELECT key FROM sonde.maintenance_windows WHERE id = %(id)s AND key IS NOT NULL;
