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
  'vantages', (
    SELECT coalesce(json_agg(json_build_object(
      'id', p.id, 'code', p.code, 'city', c.name, 'country', co.iso_code, 'provider', p.provider,
      'is_active', coalesce(p.is_active, false), 'managed', v.probe_id IS NOT NULL,
      'monthly_gb', v.monthly_gb::float8, 'digest', encode(sha256(a.body), 'hex')) ORDER BY p.code), '[]')
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
  'targets', (
    SELECT coalesce(json_agg(json_build_object('key', key, 'spec', spec, 'is_active', is_active) ORDER BY key), '[]')
    FROM sonde.targets
  ),
  'plans', (
    SELECT coalesce(json_agg(json_build_object('key', key, 'spec', spec, 'is_active', is_active) ORDER BY key), '[]')
    FROM sonde.plans
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
INSERT INTO sonde.vantages (probe_id, monthly_gb) VALUES (%(id)s, %(monthly_gb)s)
ON CONFLICT (probe_id) DO UPDATE SET monthly_gb = excluded.monthly_gb;

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

-- name: inventory_add_server
INSERT INTO servers (provider_id, city_id, hostname, ip_address)
VALUES (%(provider_id)s, %(city_id)s, %(hostname)s, %(ip_address)s) RETURNING id;

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
SELECT %(id)s, id, default_port FROM protocols WHERE name = ANY(%(names)s);

-- name: inventory_drop_protocols
DELETE FROM server_protocols USING protocols
WHERE server_id = %(id)s AND protocols.id = protocol_id AND protocols.name = ANY(%(names)s);

-- name: inventory_add_target
INSERT INTO sonde.targets (key, spec) VALUES (%(key)s, %(spec)s);

-- name: inventory_change_target
UPDATE sonde.targets SET spec = %(spec)s, is_active = true, updated_at = now() WHERE key = %(key)s;

-- name: inventory_deactivate_target
UPDATE sonde.targets SET is_active = false, updated_at = now() WHERE key = %(key)s;

-- name: inventory_add_plan
INSERT INTO sonde.plans (key, spec) VALUES (%(key)s, %(spec)s);

-- name: inventory_change_plan
UPDATE sonde.plans SET spec = %(spec)s, is_active = true, updated_at = now() WHERE key = %(key)s;

-- name: inventory_deactivate_plan
UPDATE sonde.plans SET is_active = false, updated_at = now() WHERE key = %(key)s;

-- name: inventory_assign
-- The revision grows with each change. sonde.assignments has no sequence that a conflict could draw from.
INSERT INTO sonde.assignments (probe_id, revision, body) VALUES (%(id)s, 1, %(body)s)
ON CONFLICT (probe_id) DO UPDATE
SET revision = assignments.revision + 1, body = excluded.body, updated_at = now();

-- name: inventory_notify
SELECT pg_notify('sonde_assignments', '');
