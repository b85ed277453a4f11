"""An hour that one vantage made heavy is counted now and then; the others' hours do not wait for it."""

import datetime as dt
import threading
from collections.abc import Iterator

import psycopg
import pytest
from support.builders import inventory

from sonde_collector.db import partitions
from sonde_collector.db.pool import Database
from sonde_collector.maintain import rollup

pytestmark = pytest.mark.postgres
HOUR = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=2)
HEAVY = 260_000
_TABLES = {
    "performance": "performance_logs (server_id, ping_ms, connection_success,",
    "endpoint": "sonde.endpoint_checks (target_id, total_ms, ok, kind,",
}
_VALUES = {
    "performance": "(SELECT min(id) FROM servers), i %% 100, true",
    "endpoint": "(SELECT min(id) FROM sonde.targets), i %% 100, true, 'http'",
}
_COUNTS = {
    "performance": "SELECT sum(sample_count) FROM performance_logs_hourly WHERE hour = %s AND probe_id = %s",
    "endpoint": "SELECT sum(checks) FROM sonde.endpoint_hour WHERE bucket = %s AND probe_id = %s",
}


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A database with a vantage that floods, and one that does not."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=("flood", "honest"))
        for table in ("performance_logs", "sonde.endpoint_checks"):
            partitions.ensure(conn, table, HOUR, HOUR + dt.timedelta(hours=3))
        yield conn


def _probe(conn: psycopg.Connection, code: str) -> int:
    row = conn.execute("SELECT id FROM probe_locations WHERE code = %s", (code,)).fetchone()
    assert row is not None
    return int(row[0])


def _write(conn: psycopg.Connection, series: str, probe: int, first: int, count: int = 1) -> None:
    """Commits results and their mark, as a write does."""
    with conn.transaction():
        conn.execute(
            f"INSERT INTO {_TABLES[series]} probe_id, measured_at, stream_id, seq)"
            f" SELECT {_VALUES[series]}, %s, %s + i * interval '1 ms', 1, i"
            " FROM generate_series(%s::int, %s::int) i",
            (probe, HOUR, first, first + count - 1),
        )
        conn.execute(
            "INSERT INTO sonde.dirty_marks (series, hour, probe_id) VALUES (%s, %s, %s)",
            (series, HOUR, probe),
        )


def _counted(conn: psycopg.Connection, series: str, probe: int) -> int:
    row = conn.execute(_COUNTS[series], (HOUR, probe)).fetchone()
    return int(row[0] or 0) if row else 0


@pytest.mark.parametrize("series", ["performance", "endpoint"])
def test_a_heavy_hour_waits_and_is_exact_when_its_time_comes(conn: psycopg.Connection, series: str) -> None:
    """Put off, its mark stays while another vantage's is honoured; then all of it is counted once."""
    flood, honest = _probe(conn, "flood"), _probe(conn, "honest")
    step = f"SELECT sonde.rollup_{series}_hours()"
    put_off = "SELECT sonde.put_off_heavy_hours(%s, 100)"
    _write(conn, series, flood, 1, 101)
    _write(conn, series, honest, 1, 100)
    conn.execute(step)
    assert conn.execute(put_off, (series,)).fetchone() == (0,), "nothing of it is dirty"
    _write(conn, series, flood, 102)
    _write(conn, series, honest, 101)
    assert conn.execute(put_off, (series,)).fetchone() == (1,)
    conn.execute(step)
    assert (_counted(conn, series, flood), _counted(conn, series, honest)) == (101, 101)
    assert conn.execute(step).fetchone() == (0,), "what waits is nothing to be done now"
    conn.execute("UPDATE sonde.heavy_hours SET not_before = now()")
    conn.execute(step)
    assert (_counted(conn, series, flood), _counted(conn, series, honest)) == (102, 101)
    assert conn.execute("SELECT count(*) FROM sonde.heavy_hours").fetchone() == (0,)


def test_a_vantage_that_keeps_a_heavy_hour_dirty_is_found(
    conn: psycopg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One result after another into an hour of 260 000: soon it is counted no more, and others still are."""
    monkeypatch.setattr(rollup, "_LONG_S", 0.05)  # however fast this machine is
    flood, honest = _probe(conn, "flood"), _probe(conn, "honest")
    _write(conn, "performance", flood, 1, HEAVY)
    stop = threading.Event()

    def trickle() -> None:
        seq = HEAVY
        with psycopg.connect(database_url, autocommit=True) as own:
            while not stop.wait(0.01):
                seq += 1
                _write(own, "performance", flood, seq)

    writer = threading.Thread(target=trickle)
    writer.start()
    kept = rollup.Rollup(Database(database_url), rollup.SOON, lambda _: None)
    try:
        turns = 0
        while conn.execute("SELECT count(*) FROM sonde.heavy_hours").fetchone() == (0,):
            kept._due = dict.fromkeys(kept._due, 0.0)
            kept.turn()
            turns += 1
            assert turns < 20
        before = _counted(conn, "performance", flood)
        assert before >= HEAVY
        _write(conn, "performance", honest, 1)
        kept._due = dict.fromkeys(kept._due, 0.0)
        kept.turn()
        assert _counted(conn, "performance", honest) == 1
        assert _counted(conn, "performance", flood) == before
    finally:
        stop.set()
        writer.join()
        kept.close()
