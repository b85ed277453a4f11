-- name: inventory_lock
-- Applies come one after another: what one compares, no other may change before it has written.
SELECT pg_advisory_xact_lock(hashtextextended('sonde.apply', 0));

-- name: inventory_read_only
SET TRANSACTION READ ONLY;

-- name: inventory_read
-- Everything that apply compares with, in one snapshot. A provider is ours once one of its servers has a key.
SELECT json_build_object(
  'countries', (SELECT coalesce(json_object_agg(iso_code, id), '{}') FROM countries),
  'cities', (
    SELECT coalesce(json_agg(json_build_object('id', c.id, 'name', c.name, 'country', co.iso_code)), '[]')
    FROM cities c JOIN countries co ON co.id = c.country_id
  ),
  'protocols', (SELECT coalesce(json_object_agg(name, id), '{}') FROM protocols),
  'platforms', (SELECT coalesce(json_agg(slug ORDER BY slug), '[]') FROM streaming_platforms),
  'canaries', (
    SELECT coalesce(json_agg(json_build_object('server', k.key, 'platforms', c.platforms) ORDER BY k.key), '[]')
    FROM sonde.canary_servers c JOIN sonde.server_keys k ON k.server_id = c.server_id
  ),
  'vantages', (
    SELECT coalesce(json_agg(json_build_object(
      'id', p.id, 'code', p.code, 'city', c.name, 'country', co.iso_code, 'provider', p.provider,
      'is_active', coalesce(p.is_active, false), 'managed', v.probe_id IS NOT NULL,
      'monthly_gb', v.monthly_gb::float8, 'weight', v.weight, 'digest', encode(sha256(a.body), 'hex')) ORDER BY p.code), '[]')
    FROM probe_locations p
    LEFT JOIN cities c ON c.id = p.city_id
    LEFT JOIN countries co ON co.id = c.country_id
    LEFT JOIN sonde.vantages v ON v.probe_id = p.id
    LEFT JOIN sonde.assignments a ON a.probe_id = p.id
  ),
  'providers', (
    SELECT coalesce(json_agg(json_build_object(
      'id', p.id, 'key', p.slug, 'name', p.name, 'website_url', p.website_url,
      'is_active', coalesce(p.is_active, false),
      'managed', EXISTS (
        SELECT FROM servers s JOIN sonde.server_keys k ON k.server_id = s.id WHERE s.provider_id = p.id)
      ) ORDER BY p.slug), '[]')
    FROM providers p
  ),
  'servers', (
    SELECT coalesce(json_agg(json_build_object(
      'id', s.id, 'key', k.key, 'provider', p.slug, 'city', c.name, 'country', co.iso_code,
      'hostname', s.hostname, 'ip_address', host(s.ip_address), 'is_active', coalesce(s.is_active, false),
      'protocols', coalesce(sp.names, '[]')) ORDER BY k.key, s.id), '[]')
    FROM servers s
    JOIN providers p ON p.id = s.provider_id
    JOIN cities c ON c.id = s.city_id
    JOIN countries co ON co.id = c.country_id
    LEFT JOIN sonde.server_keys k ON k.server_id = s.id
    LEFT JOIN (
      SELECT x.server_id, json_agg(r.name ORDER BY r.name) AS names
      FROM server_protocols x JOIN protocols r ON r.id = x.protocol_id GROUP BY x.server_id
    ) sp ON sp.server_id = s.id
  ),
  'accounts', (
    SELECT coalesce(json_agg(json_build_object(
      'key', a.credential, 'provider', p.slug, 'sessions', a.sessions, 'logins_per_minute', a.logins_per_minute,
      'same_key_twice', a.same_key_twice, 'linger_s', a.linger_s, 'is_active', a.is_active) ORDER BY a.credential), '[]')
    FROM sonde.accounts a JOIN providers p ON p.id = a.provider_id
  ),
  'profiles', (
    SELECT coalesce(json_agg(json_build_object(
      'server_id', w.server_id, 'protocol_id', w.protocol_id, 'server', k.key, 'protocol', r.name,
      'credential', w.credential, 'profile', w.profile, 'host', w.host, 'port', w.port, 'public_key', w.public_key,
      'certificate', w.certificate, 'placed', w.placed, 'is_active', w.is_active) ORDER BY k.key, r.name), '[]')
    FROM sonde.server_profiles w
    JOIN sonde.server_keys k ON k.server_id = w.server_id
    JOIN protocols r ON r.id = w.protocol_id
  ),
  'targets', (
    SELECT coalesce(json_agg(json_build_object('key', key, 'spec', spec, 'is_active', is_active) ORDER BY key), '[]')
    FROM sonde.targets
  ),
  'plans', (
    SELECT coalesce(json_agg(json_build_object('key', key, 'spec', spec, 'is_active', is_active) ORDER BY key), '[]')
    FROM sonde.plans
  ),
  'notify', (
    SELECT coalesce(json_agg(json_build_object('key', key, 'spec', spec, 'is_active', is_active) ORDER BY key), '[]')
    FROM sonde.notify_channels
  ),
  'maintenance', (
    SELECT coalesce(json_agg(json_build_object('key', key, 'spec', spec, 'is_active', ended_at IS NULL) ORDER BY key), '[]')
    FROM sonde.maintenance_windows WHERE key IS NOT NULL
  ),
  'origin_groups', (
    SELECT coalesce(json_agg(json_build_object('key', key, 'spec', spec, 'is_active', is_active) ORDER BY key), '[]')
    FROM sonde.origin_groups
  ),
  'health', (
    SELECT coalesce(json_agg(json_build_object('key', key, 'spec', spec, 'is_active', is_active) ORDER BY key), '[]')
    FROM sonde.health_settings
  )
);

-- name: inventory_add_country
INSERT INTO countries (iso_code, name) VALUES (%s, %s) RETURNING id;

-- name: inventory_add_city
INSERT INTO cities (country_id, name) VALUES (%s, %s) RETURNING id;

-- name: inventory_add_vantage
INSERT INTO probe_locations (code, city_id, provider, is_active)
VALUES (%(code)s, %(city_id)s, %(provider)s, true) RETURNING id;

-- name: inventory_change_vantage
UPDATE probe_locations SET city_id = %(city_id)s, provider = coalesce(%(provider)s, provider), is_active = true
WHERE id = %(id)s;

-- name: inventory_manage_vantage
INSERT INTO sonde.vantages (probe_id, monthly_gb, weight) VALUES (%(id)s, %(monthly_gb)s, %(weight)s)
ON CONFLICT (probe_id) DO UPDATE SET monthly_gb = excluded.monthly_gb, weight = excluded.weight;

-- name: inventory_deactivate_vantage
UPDATE probe_locations SET is_active = false WHERE id = %(id)s;

-- name: inventory_add_provider
INSERT INTO providers (slug, name, website_url) VALUES (%(key)s, %(name)s, %(website_url)s) RETURNING id;

-- name: inventory_change_provider
UPDATE providers
SET name = %(name)s, website_url = coalesce(%(website_url)s, website_url), is_active = true, updated_at = now()
WHERE id = %(id)s;

-- name: inventory_deactivate_provider
UPDATE providers SET is_active = false, updated_at = now() WHERE id = %(id)s;

-- name: inventory_free_hostname
-- Two servers that swap names would meet the unique key half way.
UPDATE servers SET hostname = 'renaming-' || id WHERE id = ANY(%s);

-- name: inventory_add_servers
-- All new servers and their keys in one statement; the ids are drawn first, so that each key finds its own.
WITH wanted AS MATERIALIZED (
  SELECT nextval(pg_get_serial_sequence('servers', 'id')) AS id, r.*
  FROM jsonb_to_recordset(%s) AS r(key TEXT, provider_id SMALLINT, city_id INT, hostname TEXT, ip_address INET)
), added AS (
  INSERT INTO servers (id, provider_id, city_id, hostname, ip_address)
  SELECT id, provider_id, city_id, hostname, ip_address FROM wanted
), keyed AS (
  INSERT INTO sonde.server_keys (key, server_id) SELECT key, id FROM wanted
)
SELECT key, id FROM wanted;

-- name: inventory_change_server
UPDATE servers
SET provider_id = %(provider_id)s, city_id = %(city_id)s, hostname = %(hostname)s, ip_address = %(ip_address)s,
    is_active = true, updated_at = now()
WHERE id = %(id)s;

-- name: inventory_key_server
INSERT INTO sonde.server_keys (key, server_id) VALUES (%(key)s, %(id)s);

-- name: inventory_deactivate_server
UPDATE servers SET is_active = false, updated_at = now() WHERE id = %(id)s;

-- name: inventory_add_protocols
INSERT INTO server_protocols (server_id, protocol_id, port)
SELECT r.id, p.id, p.default_port
FROM jsonb_to_recordset(%s) AS r(id INT, name TEXT) JOIN protocols p ON p.name = r.name;

-- name: inventory_drop_protocols
DELETE FROM server_protocols USING jsonb_to_recordset(%s) AS r(id INT, name TEXT) JOIN protocols p ON p.name = r.name
WHERE server_id = r.id AND protocol_id = p.id;

-- name: inventory_add_account
INSERT INTO sonde.accounts (credential, provider_id, sessions, logins_per_minute, same_key_twice, linger_s)
VALUES (%(key)s, %(provider_id)s, %(sessions)s, %(logins_per_minute)s, %(same_key_twice)s, %(linger_s)s);

-- name: inventory_change_account
UPDATE sonde.accounts
SET provider_id = %(provider_id)s, sessions = %(sessions)s, logins_per_minute = %(logins_per_minute)s,
    same_key_twice = %(same_key_twice)s, linger_s = %(linger_s)s, is_active = true, updated_at = now()
WHERE credential = %(key)s;

-- name: inventory_deactivate_account
UPDATE sonde.accounts SET is_active = false, updated_at = now() WHERE credential = %(key)s;

-- name: inventory_add_profiles
INSERT INTO sonde.server_profiles (
  server_id, protocol_id, credential, profile, host, port, public_key, certificate, placed)
SELECT r.server_id, r.protocol_id, r.credential, r.profile, r.host, r.port, r.public_key, r.certificate, r.placed
FROM jsonb_to_recordset(%s) AS r(
  server_id INT, protocol_id SMALLINT, credential TEXT, profile TEXT, host TEXT, port INT, public_key TEXT,
  certificate TEXT, placed BOOLEAN);

-- name: inventory_change_profiles
-- Another address or key begins another epoch.
UPDATE sonde.server_profiles w
SET credential = r.credential, profile = r.profile, host = r.host, port = r.port, public_key = r.public_key,
    certificate = r.certificate, placed = r.placed, is_active = true, updated_at = now(),
    epoch = w.epoch + r.begins::int, since = CASE WHEN r.begins THEN now() ELSE w.since END
FROM jsonb_to_recordset(%s) AS r(
  server_id INT, protocol_id SMALLINT, credential TEXT, profile TEXT, host TEXT, port INT, public_key TEXT,
  certificate TEXT, placed BOOLEAN, begins BOOLEAN)
WHERE w.server_id = r.server_id AND w.protocol_id = r.protocol_id;

-- name: inventory_deactivate_profiles
UPDATE sonde.server_profiles w SET is_active = false, updated_at = now()
FROM jsonb_to_recordset(%s) AS r(server_id INT, protocol_id SMALLINT)
WHERE w.server_id = r.server_id AND w.protocol_id = r.protocol_id;

-- name: inventory_add_epochs
INSERT INTO sonde.server_epochs (server_id, protocol_id, what, before, after)
SELECT r.server_id, r.protocol_id, r.what, r.before, r.after
FROM jsonb_to_recordset(%s) AS r(server_id INT, protocol_id SMALLINT, what TEXT, before TEXT, after TEXT);

-- name: inventory_ports
-- What a profile says of a server's port is truer than the protocol's usual one.
UPDATE server_protocols x SET port = w.port
FROM sonde.server_profiles w
WHERE w.server_id = x.server_id AND w.protocol_id = x.protocol_id AND w.is_active
  AND w.port IS NOT NULL AND w.port IS DISTINCT FROM x.port;

-- name: inventory_add_target
INSERT INTO sonde.targets (key, spec) VALUES (%(key)s, %(spec)s);

-- name: inventory_change_target
UPDATE sonde.targets SET spec = %(spec)s, is_active = true, updated_at = now() WHERE key = %(key)s;

-- name: inventory_deactivate_target
UPDATE sonde.targets SET is_active = false, updated_at = now() WHERE key = %(key)s;

-- name: inventory_add_platform
INSERT INTO streaming_platforms (slug, name) VALUES (%(slug)s, %(name)s);

-- name: inventory_add_canary
INSERT INTO sonde.canary_servers (server_id, platforms) VALUES (%(server_id)s, %(platforms)s);

-- name: inventory_change_canary
UPDATE sonde.canary_servers SET platforms = %(platforms)s WHERE server_id = %(server_id)s;

-- name: inventory_deactivate_canary
DELETE FROM sonde.canary_servers WHERE server_id = %(server_id)s;

-- name: inventory_add_plan
INSERT INTO sonde.plans (key, spec) VALUES (%(key)s, %(spec)s);

-- name: inventory_change_plan
UPDATE sonde.plans SET spec = %(spec)s, is_active = true, updated_at = now() WHERE key = %(key)s;

-- name: inventory_deactivate_plan
UPDATE sonde.plans SET is_active = false, updated_at = now() WHERE key = %(key)s;

-- name: inventory_add_origin_group
INSERT INTO sonde.origin_groups (key, spec) VALUES (%(key)s, %(spec)s);

-- name: inventory_change_origin_group
UPDATE sonde.origin_groups SET spec = %(spec)s, is_active = true WHERE key = %(key)s;

-- name: inventory_deactivate_origin_group
UPDATE sonde.origin_groups SET is_active = false WHERE key = %(key)s;

-- name: inventory_add_health
INSERT INTO sonde.health_settings (key, spec) VALUES (%(key)s, %(spec)s)
ON CONFLICT (key) DO UPDATE SET spec = excluded.spec, is_active = true;

-- name: inventory_change_health
UPDATE sonde.health_settings SET spec = %(spec)s WHERE key = %(key)s;

-- name: inventory_deactivate_health
UPDATE sonde.health_settings SET is_active = false WHERE key = %(key)s;

-- name: inventory_assign
-- The revision grows with each change. sonde.assignments has no sequence that a conflict could draw from.
INSERT INTO sonde.assignments (probe_id, revision, body) VALUES (%(id)s, 1, %(body)s)
ON CONFLICT (probe_id) DO UPDATE
SET revision = assignments.revision + 1, body = excluded.body, updated_at = now();

-- name: inventory_notify
SELECT pg_notify('sonde_assignments', '');

-- name: inventory_add_notify
INSERT INTO sonde.notify_channels (key, spec) VALUES (%(key)s, %(spec)s);

-- name: inventory_change_notify
UPDATE sonde.notify_channels SET spec = %(spec)s, is_active = true, updated_at = now() WHERE key = %(key)s;

-- name: inventory_deactivate_notify
-- What waits for it is given up: a channel that comes back must not tell what is long over.
WITH gone AS (
  UPDATE sonde.deliveries SET state = 'failed', done_at = now(), last_error = 'the channel left the fleet file'
  WHERE channel = %(key)s AND state = 'waiting'
), forgotten AS (
  DELETE FROM sonde.told WHERE channel = %(key)s
)
UPDATE sonde.notify_channels SET is_active = false, updated_at = now() WHERE key = %(key)s;

-- name: inventory_add_maintenance
INSERT INTO sonde.maintenance_windows (key, spec, servers, targets, vantages, from_at, until_at, weekly, reason)
SELECT %(key)s, given.spec, w.servers, w.targets, w.vantages, w.start, w.until, coalesce(w.weekly, false), coalesce(w.reason, 'maintenance')
FROM (SELECT %(spec)s::jsonb AS spec) AS given,
  jsonb_to_record(given.spec) AS w(
    servers TEXT[], targets TEXT[], vantages TEXT[], start TIMESTAMPTZ, until TIMESTAMPTZ, weekly BOOLEAN, reason TEXT);

-- name: inventory_change_maintenance
UPDATE sonde.maintenance_windows AS kept
SET spec = given.spec, servers = w.servers, targets = w.targets, vantages = w.vantages, from_at = w.start,
    until_at = w.until, weekly = coalesce(w.weekly, false), reason = coalesce(w.reason, 'maintenance'), ended_at = NULL
FROM (SELECT %(spec)s::jsonb AS spec) AS given,
  jsonb_to_record(given.spec) AS w(
    servers TEXT[], targets TEXT[], vantages TEXT[], start TIMESTAMPTZ, until TIMESTAMPTZ, weekly BOOLEAN, reason TEXT)
WHERE kept.key = %(key)s;

-- name: inventory_deactivate_maintenance
-- It ends; what has passed of it stays out of uptime.
UPDATE sonde.maintenance_windows SET ended_at = now() WHERE key = %(key)s;
