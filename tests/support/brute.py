"""Rollups and latest values against the raw rows, counted anew by statements of their own."""

import psycopg

from sonde_collector.db.queries import query
from sonde_collector.maintain.rollup import PATIENT, SOON

_PERFORMANCE = """
SELECT count(*) FROM (
  (SELECT server_id, probe_id, date_trunc('{width}', measured_at, 'UTC'), count(*), min(ping_ms),
          max(ping_ms), count(ping_ms)
   FROM performance_logs GROUP BY 1, 2, 3
   EXCEPT
   SELECT server_id, probe_id, {bucket}, sample_count, min_ping, max_ping, ping_count FROM {table})
  UNION ALL
  (SELECT server_id, probe_id, {bucket}, sample_count, min_ping, max_ping, ping_count FROM {table}
   EXCEPT
   SELECT server_id, probe_id, date_trunc('{width}', measured_at, 'UTC'), count(*), min(ping_ms),
          max(ping_ms), count(ping_ms)
   FROM performance_logs GROUP BY 1, 2, 3)
) AS different
"""
_ENDPOINT = """
SELECT count(*) FROM (
  (SELECT target_id, probe_id, date_trunc('{width}', measured_at, 'UTC'), count(*), count(*) FILTER (WHERE ok)
   FROM sonde.endpoint_checks GROUP BY 1, 2, 3
   EXCEPT
   SELECT target_id, probe_id, bucket, checks, ok FROM {table})
  UNION ALL
  (SELECT target_id, probe_id, bucket, checks, ok FROM {table}
   EXCEPT
   SELECT target_id, probe_id, date_trunc('{width}', measured_at, 'UTC'), count(*), count(*) FILTER (WHERE ok)
   FROM sonde.endpoint_checks GROUP BY 1, 2, 3)
) AS different
"""
_LATEST = """
SELECT count(*) FROM (
  (SELECT server_id, probe_id, max(measured_at) FROM performance_logs GROUP BY 1, 2
   EXCEPT SELECT server_id, probe_id, max(measured_at) FROM sonde.latest GROUP BY 1, 2)
  UNION ALL
  (SELECT server_id, probe_id, max(measured_at) FROM sonde.latest GROUP BY 1, 2
   EXCEPT SELECT server_id, probe_id, max(measured_at) FROM performance_logs GROUP BY 1, 2)
) AS different
"""
_STATEMENTS = {
    "performance_logs_hourly": _PERFORMANCE.format(
        width="hour", bucket="hour", table="performance_logs_hourly"
    ),
    "performance_daily": _PERFORMANCE.format(width="day", bucket="day", table="sonde.performance_daily"),
    "endpoint_minute": _ENDPOINT.format(width="minute", table="sonde.endpoint_minute"),
    "endpoint_hour": _ENDPOINT.format(width="hour", table="sonde.endpoint_hour"),
    "endpoint_day": _ENDPOINT.format(width="day", table="sonde.endpoint_day"),
    "latest": _LATEST,
}


def rollups_equal_raw(url: str) -> None:
    """Has all that is dirty rolled up, without the collector's pauses; then holds it against the raw rows."""
    with psycopg.connect(url, autocommit=True) as conn:
        for step in (*SOON, *PATIENT):
            while conn.execute(query("rollup_step"), {"step": step.name}).fetchone() != (0,):
                pass
        for name, statement in _STATEMENTS.items():
            found = conn.execute(statement.encode()).fetchone()
            assert found is not None
            assert found[0] == 0, f"{name} differs from the raw rows in {found[0]} rows"
