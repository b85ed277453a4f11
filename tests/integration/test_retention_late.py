"""What comes late: counted while its rows are there, set aside once they have left, never counted alone."""

import random
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from support.builders import Spool, arrive, endpoint, inventory, performance, stream_of
from support.ingest import expected, stored
from support.old_rows import NOW, archive, days_ago, folder, keep, roll_up, rows_of, states

from sonde_collector.db import partitions
from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import Database
from sonde_collector.ingest.metrics import IngestMetrics
from sonde_collector.ingest.prepared import prepare
from sonde_collector.ingest.settings import IngestSettings
from sonde_collector.ingest.writer import Writer
from sonde_proto.v1 import results_pb2

pytestmark = pytest.mark.postgres
DAY_US = 86_400_000_000
CHARTS = (
    "performance_logs_hourly", "sonde.performance_daily", "sonde.server_latest", "sonde.latest",
    "sonde.endpoint_minute", "sonde.endpoint_hour", "sonde.endpoint_day", "sonde.endpoint_month",
)  # fmt: skip


class Ingest:
    """A writer on a database: a batch in, and committed."""

    def __init__(self, url: str, retention_s: float) -> None:
        self._settings = IngestSettings(retention_s=retention_s, partition_every="day", writers=1)
        self._database = Database(url)
        self._writer = Writer(self._database, self._settings, IngestMetrics(CollectorRegistry()))

    def take(self, spool: Spool, results: list[results_pb2.Result], at_us: int) -> None:
        """Commits a batch that arrives at that time."""
        prepared = prepare([arrive(spool.batch(results), received_at_us=at_us)], self._settings)
        connection = HeldConnection(self._database)
        self._writer._write_once(connection, prepared)
        connection.close()


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with two vantages."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=("here", "away"), servers=("s1", "s2"))
        yield conn


def us(days: float) -> int:
    """That long before noon of today. [us since 1970]"""
    return int(days_ago(days).timestamp() * 1e6)


def day_of(day: int, chance: random.Random) -> list[results_pb2.Result]:
    """What a vantage measures in one day."""
    found = []
    for n in range(40):
        at = us(day) - DAY_US // 2 + n * DAY_US // 40 + chance.randrange(1_000_000)
        ms, good = chance.uniform(1, 99), chance.random() < 0.9
        if chance.random() < 0.5:
            server, mbps = chance.choice(("s1", "s2")), chance.uniform(1, 900)
            found.append(performance(server, at, ping_ms=ms, download_mbps=mbps, connection_success=good))
        else:
            found.append(endpoint("t1", at, total_ms=ms, ok=good, status=chance.choice((200, 404, 503))))
    return found


def charts(conn: psycopg.Connection, vantage: str) -> dict[str, list[object]]:
    """All that charts are drawn from, of one vantage, without its number."""
    return {
        table: conn.execute(
            f"SELECT to_jsonb(t) - 'probe_id' FROM {table} t JOIN probe_locations p ON p.id = t.probe_id "
            "WHERE p.code = %s ORDER BY (to_jsonb(t) - 'probe_id')::text",
            (vantage,),
        ).fetchall()
        for table in CHARTS
    }


def test_ten_days_offline_leave_no_trace(conn: psycopg.Connection, database_url: str, tmp_path: Path) -> None:
    """An agent returns after ten days: its charts equal those of one that never left, with retention on."""
    here, away, place = Spool("here"), Spool("away"), folder(tmp_path / "archive")
    for spool in (here, away):
        stream_of(conn, spool)
    ingest = Ingest(database_url, 11 * 86_400)
    kept: list[list[results_pb2.Result]] = []
    for day in range(16, 0, -1):
        results = day_of(day, random.Random(day))
        arrives = us(day) + DAY_US // 2
        ingest.take(here, results, arrives)
        if day > 10:
            ingest.take(away, results, arrives)
        else:
            kept.append(results)
        roll_up(conn)
        if day % 3 == 1:
            archive(conn, place, keep(11), now=days_ago(day - 0.5))
    assert charts(conn, "here") != charts(conn, "away")
    for results in kept:
        ingest.take(away, results, us(0))
        roll_up(conn)
    archive(conn, place, keep(11), now=NOW)
    assert "archived" in states(conn).values()
    assert charts(conn, "here") == charts(conn, "away")
    assert conn.execute("SELECT FROM sonde.rejected_results").fetchall() == []


def test_what_belongs_into_an_archived_partition_is_set_aside(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """Though young enough by a longer retention: too_old, no partition made again, figures as they were."""
    spool, place = Spool("here"), folder(tmp_path / "archive")
    stream_of(conn, spool)
    ingest = Ingest(database_url, 100 * 86_400)
    ingest.take(spool, day_of(80, random.Random(1)), us(79))
    roll_up(conn)
    before = charts(conn, "here")
    assert archive(conn, place, keep(40)).done
    late = performance("s1", us(80), ping_ms=250.0)
    ingest.take(spool, [late, endpoint("t1", us(80)), performance("s1", us(0) - DAY_US, failure=None)], us(0))
    reasons = conn.execute("SELECT kind, reason, detail FROM sonde.rejected_results ORDER BY seq").fetchall()
    assert [row[:2] for row in reasons] == [("performance", "too_old"), ("endpoint", "too_old")]
    assert "has left the database" in reasons[0][2]
    conn.execute("DELETE FROM sonde.dirty_marks WHERE hour > %s", (days_ago(4),))
    roll_up(conn)
    assert charts(conn, "here") == before
    lo, _ = partitions.bounds("day", days_ago(80))
    assert partitions.ensure(conn, "performance_logs", lo, lo, "day") == []
    seqs = conn.execute("SELECT count(*) FROM performance_logs").fetchone()
    assert seqs == (1,)


def test_marks_of_what_has_left_count_nothing_anew(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """A mark for an archived hour changes no figure and does not stay for ever."""
    spool, place = Spool("here"), folder(tmp_path / "archive")
    stream_of(conn, spool)
    Ingest(database_url, 100 * 86_400).take(spool, day_of(80, random.Random(1)), us(79))
    roll_up(conn)
    archive(conn, place, keep(40))
    before = charts(conn, "here")
    hour = days_ago(80).replace(minute=0)
    conn.execute(
        "INSERT INTO sonde.dirty_marks SELECT unnest(ARRAY['performance', 'endpoint', 'held']), %s, 1",
        (hour,),
    )
    days = "SELECT unnest(ARRAY['performance_day', 'endpoint_day']), date_trunc('day', %s), 1"
    conn.execute(f"INSERT INTO sonde.dirty_marks {days}", (hour,))
    roll_up(conn)
    assert charts(conn, "here") == before
    archive(conn, place, keep(40))
    assert rows_of(conn, "sonde.dirty_marks") == []


def test_a_partition_does_not_leave_before_it_is_counted(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """A turn honours what is dirty first: nothing rolled it up before, and the figures are whole."""
    spool, place = Spool("here"), folder(tmp_path / "archive")
    stream_of(conn, spool)
    results = day_of(80, random.Random(1))
    Ingest(database_url, 100 * 86_400).take(spool, results, us(79))
    assert archive(conn, place, keep(40)).done
    counted = conn.execute("SELECT sum(sample_count) FROM sonde.performance_daily").fetchone()
    assert counted == (sum(each.HasField("performance") for each in results),)
    assert expected(spool) != stored(conn)  # they are in the archive, and only there


def test_rows_that_slip_in_while_it_leaves_bring_it_back(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """A write that was under way when a partition began to leave is counted: it stays, and leaves later."""
    spool, place = Spool("here"), folder(tmp_path / "archive")
    stream_of(conn, spool)
    Ingest(database_url, 100 * 86_400).take(spool, day_of(80, random.Random(1)), us(79))
    roll_up(conn)
    before = conn.execute("SELECT count(*) FROM performance_logs").fetchone()
    slipped = []

    def write_late(name: str, state: str) -> None:
        if state == "leaving" and name.startswith("performance_logs_2") and not slipped:
            slipped.append(name)
            conn.execute(
                "INSERT INTO performance_logs (server_id, probe_id, measured_at, stream_id, seq, ping_ms) "
                "VALUES (1, 1, %s, 1, 10000, 5)",
                (days_ago(80),),
            )
            conn.execute(
                "INSERT INTO sonde.dirty_marks VALUES ('performance', date_trunc('hour', %s), 1)",
                (days_ago(80),),
            )

    first = archive(conn, place, keep(40), tell=write_late)
    assert slipped[0] in first.waiting
    assert conn.execute("SELECT count(*) FROM performance_logs").fetchone() == (before[0] + 1,)
    assert slipped[0] in archive(conn, place, keep(40)).done
    total = conn.execute("SELECT sum(sample_count) FROM performance_logs_hourly").fetchone()
    assert total == (before[0] + 1,)
