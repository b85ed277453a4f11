"""Rows a day of assignments."""

import pytest

from sonde_collector.keeping.planned import rows_per_day
from sonde_collector.keeping.tiers import GROWING
from sonde_proto.v1 import control_pb2


def _task(target: str, interval_s: int, **spec: object) -> control_pb2.Task:
    return control_pb2.Task(key=target, target=target, interval_ms=interval_s * 1000, **spec)


def _ping(target: str, interval_s: int) -> control_pb2.Task:
    return _task(target, interval_s, ping=control_pb2.PingSpec())


def test_results_and_their_rollups() -> None:
    """Every run is a row; an hour has one rollup row a series, or as many as it has runs if fewer."""
    minutely = control_pb2.Assignment(tasks=[_ping("a", 60), _ping("b", 60)])
    rarely = control_pb2.Assignment(tasks=[_ping("a", 7200)])
    found = rows_per_day({"x": minutely, "y": rarely, "idle": control_pb2.Assignment()})
    assert found["public.performance_logs"] == 2 * 1440 + 12
    assert found["public.performance_logs_hourly"] == 2 * 24 + 12
    assert found["sonde.performance_daily"] == 3
    assert found["sonde.vantage_health"] == 2 * 1440
    assert found["sonde.endpoint_checks"] == found["sonde.endpoint_minute"] == 0


def test_two_protocols_of_one_server_are_one_series() -> None:
    """Rollups are by server and vantage, whatever the way there."""
    tunnels = [_task("a", 3600, connection=control_pb2.ConnectionSpec(protocol=name)) for name in ("p", "q")]
    found = rows_per_day({"x": control_pb2.Assignment(tasks=tunnels)})
    assert found["public.performance_logs"] == 48
    assert found["public.performance_logs_hourly"] == 24


def test_each_address_of_a_target_is_a_row_and_no_series() -> None:
    """Addresses multiply results; minutes and hours of a target are one row each."""
    edges = control_pb2.EndpointSpec(connect_to=["192.0.2.1", "192.0.2.2", "192.0.2.3"])
    every = control_pb2.EndpointSpec(every_address=True)
    tasks = [_task("a", 30, endpoint=edges), _task("b", 600, endpoint=every)]
    found = rows_per_day({"x": control_pb2.Assignment(tasks=tasks)})
    assert found["sonde.endpoint_checks"] == 3 * 2880 + 2 * 144
    assert found["sonde.endpoint_minute"] == 1440 + 144
    assert found["sonde.endpoint_hour"] == 48
    assert found["sonde.endpoint_month"] == pytest.approx(2 * 12 / 365.25)


def test_only_tables_that_grow_are_planned() -> None:
    """Every name that plans are reckoned for is one of the growing tables."""
    assert set(rows_per_day({})) <= {table.name for table in GROWING}
