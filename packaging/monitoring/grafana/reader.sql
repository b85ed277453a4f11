-- A role that reads what the dashboards show, and can write nothing. Run it in Sonde's database, as its owner with
-- CREATEROLE or as a superuser, then give it a password (\password sonde_grafana in psql). It may be run again.
--   psql -v ON_ERROR_STOP=1 -f reader.sql "$(sonde-collector sql --dsn)"
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sonde_grafana') THEN
    CREATE ROLE sonde_grafana LOGIN;
  END IF;
END $$;
ALTER ROLE sonde_grafana CONNECTION LIMIT 10;
ALTER ROLE sonde_grafana SET default_transaction_read_only = on;
ALTER ROLE sonde_grafana SET statement_timeout = '30s';
ALTER ROLE sonde_grafana SET timezone = 'UTC';
GRANT USAGE ON SCHEMA public, sonde TO sonde_grafana;
-- A partitioned table's right covers its partitions, also those to come. Keys, tokens and certificates are not here.
GRANT SELECT ON
  countries, cities, providers, servers, server_protocols, protocols, streaming_platforms, probe_locations,
  performance_logs, performance_logs_hourly, streaming_checks, mv_server_latest_performance, mv_server_daily_stats,
  sonde.server_keys, sonde.vantages, sonde.targets, sonde.streams, sonde.agents, sonde.gaps, sonde.rejected_results,
  sonde.missed_runs, sonde.vantage_health, sonde.performance_daily, sonde.latest, sonde.server_latest, sonde.server_days,
  sonde.server_week, sonde.endpoint_checks, sonde.endpoint_minute, sonde.endpoint_hour, sonde.endpoint_day,
  sonde.endpoint_latest, sonde.health_states, sonde.events, sonde.unlock_checks, sonde.canary_results, sonde.voided_rules
TO sonde_grafana;
