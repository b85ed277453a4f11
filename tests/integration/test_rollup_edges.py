"""Rollups where values, partitions, neighbours or the end of the program are not as usual."""

import asyncio
import datetime as dt
import time
from collections.abc import Iterator

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from sonde_collector.db import partitions
from sonde_collector.db.pool import Database
from sonde_collector.maintain import rollup
from sonde_collector.maintain.judge import judge
from sonde_collector.maintain.turns import Turns

pytestmark = pytest.mark.postgres
NOW = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
STEPS = (*rollup.SOON, *rollup.PATIENT)
INVENTORY = """
INSERT INTO countries (id, iso_code, name) VALUES (1, 'DE', 'Germany');
INSERT INTO cities (id, country_id, name) VALUES (1, 1, 'Berlin');
INSERT INTO probe_locations (id, code) VALUES (1, 'a'), (2, 'b');
INSERT INTO providers (id, name, slug) VALUES (1, 'P', 'p');
INSERT INTO servers (id, provider_id, city_id, hostname) VALUES (1, 1, 1, 'h1'), (2, 1, 1, 'h2');
INSERT INTO sonde.targets (id, key, spec) VALUES (1, 't1', '{}');
"""


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with inventory."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(INVENTORY)
        yield conn


def ping(conn: psycopg.Connection, at: dt.datetime, seq: int, value: str, server: int = 1) -> None:
    """Write a row of performance_logs with its mark."""
    partitions.ensure(conn, "performance_logs", at, at)
    conn.execute(
        "WITH mark AS (INSERT INTO sonde.dirty_marks VALUES ('performance', date_trunc('hour', %(at)s), 1)) "
        "INSERT INTO performance_logs (server_id, probe_id, measured_at, stream_id, seq, ping_ms, jitter_ms) "
        "VALUES (%(server)s, 1, %(at)s, 1, %(seq)s, %(value)s::real, %(value)s::real)",
        {"at": at, "seq": seq, "value": value, "server": server},
    )


def check(conn: psycopg.Connection, at: dt.datetime, seq: int, value: str) -> None:
    """Write a row of endpoint_checks with its mark."""
    conn.execute(
        "WITH mark AS (INSERT INTO sonde.dirty_marks VALUES ('endpoint', date_trunc('hour', %(at)s), 1)) "
        "INSERT INTO sonde.endpoint_checks "
        "(target_id, probe_id, measured_at, stream_id, seq, kind, ok, total_ms, first_byte_ms) "
        "VALUES (1, 1, %(at)s, 1, %(seq)s, 'http', true, %(value)s::real, %(value)s::real)",
        {"at": at, "seq": seq, "value": value},
    )


def roll(conn: psycopg.Connection) -> None:
    """Roll up until nothing is dirty."""
    for step in STEPS:
        while conn.execute(f"SELECT sonde.rollup_{step.name}()").fetchone() != (0,):
            continue


@pytest.mark.parametrize(
    "values", [("1e-45", "0"), ("3.4028235e38", "3.4028235e38"), ("1e-45", "3.4028235e38")]
)
def test_no_accepted_value_stops_a_rollup(conn: psycopg.Connection, values: tuple[str, str]) -> None:
    """The smallest and largest numbers that ingestion lets in have means and percentiles like others."""
    partitions.ensure(conn, "sonde.endpoint_checks", NOW, NOW)
    for seq, value in enumerate(values):
        ping(conn, NOW, seq, value)
        check(conn, NOW, seq, value)
    roll(conn)
    found = conn.execute("SELECT sample_count, p50_ping >= 0, avg_jitter >= 0 FROM performance_logs_hourly")
    assert found.fetchall() == [(2, True, True)]
    for width in ("minute", "hour", "day", "month"):
        found = conn.execute(f"SELECT checks, p99_total_ms >= 0 FROM sonde.endpoint_{width}")
        assert found.fetchall() == [(2, True)]


def test_hours_of_an_adopted_table_with_weekly_partitions(conn: psycopg.Connection) -> None:
    """An hour beside a partition of another rhythm gets one of what is left of its month."""
    conn.execute(
        "CREATE TABLE old PARTITION OF performance_logs_hourly "
        "FOR VALUES FROM ('2025-03-10') TO ('2025-03-17')"
    )
    days = (5, 12, 17, 31)
    for seq, day in enumerate(days):
        ping(conn, dt.datetime(2025, 3, day, 7, tzinfo=dt.UTC), seq, "1")
    roll(conn)
    found = conn.execute(
        "SELECT extract(day FROM hour)::int, tableoid::regclass::text FROM performance_logs_hourly ORDER BY 1"
    ).fetchall()
    late = "performance_logs_hourly_2025_03_17t0000"
    assert found == [(5, "performance_logs_hourly_2025_03"), (12, "old"), (17, late), (31, late)]


def test_a_month_that_began_before_the_first_rows_has_percentiles(conn: psycopg.Connection) -> None:
    """With partitions by day a first month lacks most and is exact; one that lost a day keeps what it has."""
    first = dt.datetime(2025, 3, 20, 7, tzinfo=dt.UTC)
    partitions.ensure(conn, "sonde.endpoint_checks", first, first + dt.timedelta(days=1), every="day")
    check(conn, first, 1, "10")
    check(conn, first + dt.timedelta(days=1), 2, "20")
    roll(conn)
    month = "SELECT checks, p50_total_ms FROM sonde.endpoint_month"
    assert conn.execute(month).fetchall() == [(2, 15.0)]
    conn.execute("DROP TABLE sonde.endpoint_checks_2025_03_20")
    check(conn, first + dt.timedelta(days=1), 3, "30")
    roll(conn)
    assert conn.execute(month).fetchall() == [(3, 15.0)]


def test_what_comes_out_the_same_is_not_written_again(conn: psycopg.Connection) -> None:
    """A new row of one server leaves the hours, days and latest values of the others where they are."""
    partitions.ensure(conn, "sonde.endpoint_checks", NOW, NOW)
    ping(conn, NOW, 1, "5", server=1)
    check(conn, NOW, 1, "5")
    roll(conn)
    tables = (
        *("performance_logs_hourly", "sonde.performance_daily", "sonde.latest", "sonde.server_latest"),
        *(f"sonde.endpoint_{width}" for width in ("minute", "hour", "day", "month")),
    )
    where = " UNION ALL ".join(
        f"SELECT '{table}', min(ctid)::text, count(*) FROM {table}" for table in tables
    )
    before = conn.execute(where).fetchall()
    ping(conn, NOW, 2, "6", server=2)
    conn.execute("INSERT INTO sonde.dirty_marks VALUES ('endpoint', %s, 1)", (NOW,))
    roll(conn)
    after = conn.execute(where).fetchall()
    assert [row[:2] for row in after] == [row[:2] for row in before]
    assert [row[2] for row in after] == [2, 2, 2, 2, 1, 1, 1, 1]


def test_a_long_rollup_holds_up_no_other_series(conn: psycopg.Connection, database_url: str) -> None:
    """While a month is being counted, hours are counted and held results judged."""
    ping(conn, NOW, 1, "5")
    with psycopg.connect(database_url) as busy:
        busy.execute("SELECT sonde.take_marks('endpoint_month', 1), sonde.take_marks('performance_day', 1)")
        conn.execute("SET lock_timeout = '2s'")
        assert conn.execute("SELECT sonde.rollup_performance_hours()").fetchone() == (1,)
        assert judge(conn) == 0


async def test_a_stop_does_not_wait_for_a_rollup(conn: psycopg.Connection, database_url: str) -> None:
    """A collector that is told to stop ends the statements that its rollups are in."""
    ping(conn, NOW, 1, "5")
    database = Database(database_url)
    with psycopg.connect(database_url) as busy:
        busy.execute("SELECT sonde.take_marks('performance', 1), sonde.take_marks('performance_day', 1)")
        task = asyncio.create_task(rollup.keep_rollups(database, Turns(CollectorRegistry(), ())))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until = time.monotonic() + 20
        while conn.execute(waiting).fetchone() != (2,):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        assert conn.execute(waiting).fetchone() == (0,)
