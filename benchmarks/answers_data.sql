-- What benchmarks/answers_data.py makes: 2000 servers, 50 vantages, 3 protocols, 40 countries, 20 providers, 10 platforms.

-- name: countries
INSERT INTO countries (iso_code, name)
SELECT CASE i WHEN 1 THEN 'DE' ELSE chr(65 + i / 26) || chr(65 + mod(i, 26)) END, 'Country ' || i FROM generate_series(1, 40) i;

-- name: cities
INSERT INTO cities (country_id, name) SELECT id, 'City of ' || name FROM countries;

-- name: providers
INSERT INTO providers (name, slug) SELECT 'Provider ' || i, 'p' || i FROM generate_series(1, 20) i;

-- name: vantages
INSERT INTO probe_locations (code, city_id) SELECT 'v' || i, 1 + mod(i, 40) FROM generate_series(1, 50) i;

-- name: servers
-- One in fifty has gone from the fleet.
INSERT INTO servers (provider_id, city_id, hostname, is_active)
SELECT 1 + mod(i, 20), 1 + mod(i, 40), 's' || i, mod(i, 50) <> 0 FROM generate_series(1, 2000) i;

-- name: keys
INSERT INTO sonde.server_keys (key, server_id) SELECT hostname, id FROM servers;

-- name: protocols
INSERT INTO server_protocols (server_id, protocol_id) SELECT s.id, p FROM servers s, generate_series(1, 3) p;

-- name: platforms
INSERT INTO streaming_platforms (slug, name) SELECT 'tv' || i, 'TV ' || i FROM generate_series(1, 10) i;

-- name: raw
-- Run n of a day: servers in turn, as agents go round them. One in four loads the line, the others have no speed; one server
-- in twenty was measured last ten days ago. Primes spread what is measured.
INSERT INTO performance_logs
  (server_id, probe_id, measured_at, ping_ms, jitter_ms, packet_loss_pct, download_mbps, upload_mbps, connection_success,
   connection_time_ms, stream_id, seq, protocol_id, family, direct_ping_ms)
SELECT server, 1 + mod(n / 2000, 50), at, 20 + mod(server, 80) + mod(n * 7, 31), mod(n, 50) / 10.0, mod(n, 40) / 20.0,
       CASE WHEN mod(n / 7 + n, 4) = 0 THEN 50 + mod(server * 13, 700) + mod(n * 11, 97) END,
       CASE WHEN mod(n / 7 + n, 4) = 0 THEN 20 + mod(server * 7, 90) + mod(n * 5, 37) END,
       mod(n * 31 + server * 17, 997) > mod(server, 60), 40 + mod(n, 60), 0, %(first)s + n, 1 + mod(n / 100000, 3), 4,
       15 + mod(server, 80)
FROM (SELECT n, (1 + mod(n, 2000))::int AS server, %(day)s::timestamptz + n * (interval '1 day' / %(rows)s::bigint) AS at
      FROM generate_series(0, %(rows)s::bigint - 1) n) run
WHERE at <= now() AND NOT (mod(server, 20) = 7 AND at > now() - interval '10 days');

-- name: streaming
INSERT INTO streaming_checks (server_id, platform_id, checked_at, is_unlocked, seq)
SELECT server, platform, now() - n * interval '6 hours', mod(server + platform + n, 3) > 0, n
FROM generate_series(1, 2000) server, generate_series(1, 10) platform, generate_series(0, 31) n;

-- name: day
INSERT INTO sonde.performance_daily
  (day, server_id, probe_id, sample_count, avg_ping, min_ping, max_ping, avg_download, max_download, avg_upload, uptime_pct,
   median_ping, p95_ping, p99_ping, avg_jitter, avg_loss, ping_count, download_count, upload_count, connection_count,
   connection_ok)
SELECT %(day)s, figures.*
FROM sonde.performance_figures(%(day)s, %(day)s::timestamptz + interval '1 day', ARRAY(SELECT id FROM probe_locations)) figures;

-- name: old_days
-- Of twenty servers at each vantage: of all it would be 70 million rows.
INSERT INTO sonde.performance_daily
  (day, server_id, probe_id, sample_count, avg_ping, median_ping, p95_ping, avg_download, avg_upload, uptime_pct, ping_count,
   download_count, upload_count, connection_count, connection_ok)
SELECT sonde.today() - n * interval '1 day', server, probe, 33, 20 + mod(n, 50), 20 + mod(n, 49), 60 + mod(n, 50),
       100 + mod(n, 400), 50 + mod(n, 40), 97, 33, 8, 8, 33, 32
FROM generate_series(31, 730) n, generate_series(1, 20) server, generate_series(1, 50) probe;

-- name: marks
-- Latest values come with the hours: the last two days of all, and the last one of those that are measured no more.
INSERT INTO sonde.dirty_marks (series, hour, probe_id)
SELECT 'performance', hour, p.id
FROM probe_locations p, (
  SELECT generate_series(sonde.today() - interval '1 day', now(), interval '1 hour')
  UNION ALL
  SELECT generate_series(sonde.today() - interval '11 days', sonde.today() - interval '10 days', interval '1 hour')
) AS t(hour);

-- name: rollup
CALL rollup_performance_logs();

-- name: old_server_days
-- The others' old days as those of server 1.
INSERT INTO sonde.server_days
SELECT server, kept.day, kept.vantages, kept.sample_count, kept.download_count, kept.avg_download, kept.median_download,
       kept.upload_count, kept.avg_upload, kept.median_upload, kept.ping_count, kept.avg_ping, kept.median_ping, kept.p95_ping,
       kept.connection_count, kept.connection_ok, kept.uptime_pct, kept.uptime_samples, kept.download_cells,
       kept.download_total, kept.ping_cells, kept.ping_total, kept.uptime_cells, kept.uptime_total
FROM sonde.server_days kept, generate_series(21, 2000) server
WHERE kept.server_id = 1 AND kept.day < sonde.today() - interval '30 days';

-- name: write
-- What agents send, with its marks.
WITH marks AS (
  INSERT INTO sonde.dirty_marks
  SELECT 'performance', date_trunc('hour', now(), 'UTC'), probe FROM generate_series(1, 50) probe
)
INSERT INTO performance_logs
  (server_id, probe_id, measured_at, ping_ms, download_mbps, connection_success, protocol_id, family, stream_id, seq)
SELECT 1 + mod(%(turn)s * 7919 + n * 31, 2000), 1 + mod(n, 50), clock_timestamp(), 20 + mod(n, 90),
       CASE WHEN mod(n, 4) = 0 THEN 50 + mod(n, 700) END, true, 1, 4, 1, %(turn)s::bigint * 100000 + n
FROM generate_series(1, %(rows)s::int) n;
