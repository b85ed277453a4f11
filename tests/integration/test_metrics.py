"""/metrics of a collector: what it says of itself, and what the database knows of the fleet."""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from support.builders import Spool, inventory, performance, stream_of
from support.ingest import Agent, collector, connection
from support.notices import event

from sonde_collector.config import CollectorConfig, Enroll, Grpc
from sonde_collector.config import Database as DatabaseConfig
from sonde_collector.db import partitions
from sonde_collector.db.pool import Database
from sonde_collector.maintain.turns import TASKS, Turns
from sonde_collector.pki.folder import Folder
from sonde_collector.read import fleet_figures
from sonde_collector.read.fleet_figures import FleetFigures
from sonde_collector.read.process_figures import ProcessFigures
from sonde_collector.read.status import covered_until
from sonde_proto.v1 import ingest_pb2

pytestmark = pytest.mark.postgres


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database."""
    with connection(database_url) as conn:
        yield conn


class Fleet:
    """The figures of one collector."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.figures = FleetFigures(self.database)
        self.registry = CollectorRegistry()
        self.registry.register(self.figures)

    def value(self, name: str, **labels: str) -> float | None:
        """A sample; None where there is none."""
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def fleet(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Figures that are read anew each time, and old at once."""
    monkeypatch.setattr(fleet_figures, "_KEPT_S", 0.0)
    monkeypatch.setattr(fleet_figures, "_OLD_S", 0.0)
    made = Fleet(database_url)
    yield made
    made.database.close()


def test_troubles_are_those_that_go_on(conn: psycopg.Connection, fleet: Fleet) -> None:
    """A topic counts from its first event to the one that ends it; known kinds are there from 0 on."""
    event(conn, "agent_silent", "ams1")
    event(conn, "agent_silent", "nyc1")
    event(conn, "agent_silent", "nyc1", resolved=True)
    event(conn, "provider_held", "acme")
    event(conn, "provider_judged", "acme", topic="provider_held/acme", resolved=True)
    event(conn, "something_new", "x")
    event(conn, "database_restored", "x", topic=None)
    fleet.figures.refresh()
    assert fleet.value("sonde_troubles", kind="agent_silent") == 1
    assert fleet.value("sonde_troubles", kind="provider_held") == 0
    assert fleet.value("sonde_troubles", kind="something_new") == 1
    assert fleet.value("sonde_troubles", kind="rule_stale") == 0
    assert fleet.value("sonde_troubles", kind="database_restored") is None
    event(conn, "agent_silent", "ams1", resolved=True)
    fleet.figures.refresh()
    assert fleet.value("sonde_troubles", kind="agent_silent") == 0


def test_figures_of_a_vantage(conn: psycopg.Connection, fleet: Fleet) -> None:
    """What its agent said last, and the end of its newest certificate; what is not known has no series."""
    inventory(conn, vantages=("ams1", "nyc1", "new"))
    conn.execute(
        "INSERT INTO sonde.agents (probe_id, instance, version, revision, started_at, last_seen,"
        " clock_offset_ms, ready, reason, spool_rows, spool_bytes, spool_oldest, last_error,"
        " capabilities, refused)"
        " SELECT id, '', '0.1.0', 1, now(), to_timestamp(1e9), CASE code WHEN 'ams1' THEN -250 END,"
        " code = 'ams1', '', 3, 4096, now() - interval '1 hour', '', '{}', '[]'"
        " FROM probe_locations WHERE code <> 'new'"
    )
    conn.execute(
        "INSERT INTO sonde.health_states (object, key, state, since, reason, checked_at)"
        " VALUES ('server', 's1', 'UNHEALTHY', now(), '', now())"
    )
    fleet.figures.refresh()
    assert fleet.value("sonde_vantage_last_seen_timestamp_seconds", vantage="ams1") == 1e9
    assert fleet.value("sonde_vantage_clock_offset_seconds", vantage="ams1") == -0.25
    assert fleet.value("sonde_vantage_clock_offset_seconds", vantage="nyc1") is None
    assert fleet.value("sonde_vantage_ready", vantage="nyc1") == 0
    assert fleet.value("sonde_vantage_lag_seconds", vantage="ams1") == pytest.approx(3600, abs=60)
    assert fleet.value("sonde_vantage_info", vantage="ams1", version="0.1.0") == 1
    assert fleet.value("sonde_vantage_ready", vantage="new") is None
    assert fleet.value("sonde_agents", state="never_seen") == 1
    assert fleet.value("sonde_health_objects", object="server", state="unhealthy") == 1
    assert fleet.value("sonde_health_objects", object="target", state="healthy") == 0
    assert fleet.value("sonde_backup_made_timestamp_seconds") is None


def test_a_database_that_is_away_has_no_figures(fleet: Fleet) -> None:
    """Old figures would look like fresh ones: there are none, and `sonde_database_up` says why."""
    fleet.figures.refresh()
    assert fleet.value("sonde_database_up") == 1
    assert fleet.value("sonde_agents", state="live") == 0
    fleet.database.close()
    fleet.figures.refresh()
    assert fleet.value("sonde_database_up") == 0
    assert fleet.value("sonde_agents", state="live") is None


def test_partitions_are_told_to_the_first_gap(conn: psycopg.Connection) -> None:
    """From now to where rows would find no partition; what lies behind a hole does not count."""
    now = dt.datetime(2026, 3, 10, tzinfo=dt.UTC)
    assert covered_until(conn, now)["public.performance_logs"] == now
    for month in (3, 4, 6):
        at = dt.datetime(2026, month, 5, tzinfo=dt.UTC)
        partitions.ensure(conn, "performance_logs", at, at)
    assert covered_until(conn, now)["public.performance_logs"] == dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
    later = dt.datetime(2026, 5, 10, tzinfo=dt.UTC)
    assert covered_until(conn, later)["public.performance_logs"] == later


async def test_lost_results_are_counted_by_reason(conn: psycopg.Connection, database_url: str) -> None:
    """A gap of an agent counts each result of it, once, however often the batch comes."""
    inventory(conn)
    spool = Spool()
    stream_of(conn, spool)
    full, old = ingest_pb2.GAP_REASON_SPOOL_FULL, ingest_pb2.GAP_REASON_TOO_OLD
    async with collector(database_url) as running:
        assert running.metric("sonde_ingest_gap_results_total", reason="spool_full") == 0
        batch = spool.batch([full, full, performance(), old])
        for _ in range(2):
            async with Agent(running.address, spool) as agent:
                await agent.hello()
                await agent.send(batch)
                await agent.acked(4)
        assert running.metric("sonde_ingest_gap_results_total", reason="spool_full") == 2
        assert running.metric("sonde_ingest_gap_results_total", reason="too_old") == 1
        assert running.metric("sonde_ingest_queue_limit_bytes") > 0


def test_a_collector_tells_of_its_own_host(tmp_path: Path) -> None:
    """Ready only once it was asked and all is well; the ends of its certificates; its disk."""
    folder = Folder(tmp_path / "pki")
    folder.init(["localhost"], None, "Sonde")
    config = CollectorConfig(
        state_dir=tmp_path / "not" / "there", database=DatabaseConfig("postgresql:///x"),
        grpc=Grpc(tls_cert=folder.cert, tls_key=folder.key, client_ca=folder.ca_cert),
        enroll=Enroll(ca_cert=folder.ca_cert, ca_key=folder.ca_key),
    )  # fmt: skip
    figures, registry = ProcessFigures(config), CollectorRegistry()
    registry.register(figures)
    assert registry.get_sample_value("sonde_collector_ready") == 0
    figures.checks = {"database": None, "writer": "stuck"}
    assert registry.get_sample_value("sonde_collector_ready") == 0
    assert registry.get_sample_value("sonde_collector_check_ok", {"check": "writer"}) == 0
    figures.checks = {"database": None, "writer": None}
    assert registry.get_sample_value("sonde_collector_ready") == 1
    name = "sonde_collector_certificate_expiry_timestamp_seconds"
    ends = {use: registry.get_sample_value(name, {"use": use}) for use in ("agents", "client_ca", "http")}
    assert ends["http"] is None
    assert ends["agents"] is not None
    assert ends["client_ca"] is not None
    assert time.time() < ends["agents"] < ends["client_ca"]
    free = registry.get_sample_value("sonde_collector_disk_free_bytes")
    size = registry.get_sample_value("sonde_collector_disk_size_bytes")
    assert free is not None
    assert size is not None
    assert 0 < free <= size


def test_maintenance_begins_at_the_start() -> None:
    """Each task and step has a moment from the start on, and a later one once it was done."""
    registry, before = CollectorRegistry(), time.time()
    turns = Turns(registry, ["hours"])
    name = "sonde_maintenance_done_timestamp_seconds"
    times = {task: registry.get_sample_value(name, {"task": task}) for task in TASKS}
    assert all(at is not None and at >= before for at in times.values())
    turns.of("health")()
    after = registry.get_sample_value(name, {"task": "health"})
    assert after is not None
    assert times["health"] is not None
    assert after >= times["health"]
    assert registry.get_sample_value("sonde_rollup_complete_timestamp_seconds", {"step": "hours"}) is not None
