"""Partitions leave as files that hold the same, are read with what stayed, and come back as they were."""

import json
import os
import random
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.old_rows import (
    RAW,
    archive,
    asking,
    days_ago,
    fill,
    folder,
    furnish,
    keep,
    roll_up,
    rows_of,
    states,
)
from support.postgres import Server

from sonde_collector.archive import desk, file, ledger, restore, steps
from sonde_collector.archive.storage import Storage
from sonde_collector.config import Archive, CollectorConfig, Database
from sonde_collector.db import partitions
from sonde_collector.maintain.retention import delete_old, is_due

pytestmark = pytest.mark.postgres
ROLLUPS = (
    "performance_logs_hourly", "sonde.performance_daily", "sonde.server_latest", "sonde.latest",
    "sonde.endpoint_minute", "sonde.endpoint_hour", "sonde.endpoint_day", "sonde.endpoint_month",
)  # fmt: skip
QUERIES = (
    "SELECT count(*), min(measured_at), max(measured_at), sum(seq), sum(download_mbps) FROM performance_logs",
    "SELECT server_id, probe_id, sum(packet_loss_pct) FROM performance_logs GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT hostname, count(*) FROM performance_logs JOIN servers ON id = server_id GROUP BY 1 ORDER BY 1",
    "SELECT answers, count(*) FROM sonde.endpoint_checks GROUP BY 1 ORDER BY 1 NULLS FIRST",
    "SELECT sum(body_bytes % 1000), max(cert_not_after) FROM sonde.endpoint_checks WHERE status = 200",
    "SELECT evidence::text, is_unlocked FROM streaming_checks ORDER BY checked_at, server_id, platform_id",
    "SELECT count(*), max(held_because) FROM sonde.performance_held",
    "SELECT cpu_pct FROM sonde.vantage_health ORDER BY measured_at",
)


@pytest.fixture(scope="module")
def filled(postgres_server: Server) -> Iterator[str]:
    """A database with rows of five days: three old ones, the day before yesterday's and today's."""
    name, chance = "archive_template", random.Random(7)
    url = postgres_server.create(name, "sonde_template")
    with psycopg.connect(url, autocommit=True) as conn:
        furnish(conn)
        for day in (80, 79, 78, 2, 0):
            fill(conn, days_ago(day), 300, chance)
        roll_up(conn)
    yield name
    postgres_server.drop(name)


@pytest.fixture
def url(postgres_server: Server, filled: str) -> Iterator[str]:
    """A copy of it."""
    name = f"archive_{secrets.token_hex(4)}"
    yield postgres_server.create(name, filled)
    postgres_server.drop(name)


@pytest.fixture
def conn(url: str) -> Iterator[psycopg.Connection]:
    """A connection to the copy."""
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def place(tmp_path: Path) -> Storage:
    """An archive in a folder."""
    return folder(tmp_path / "archive")


def everything(conn: psycopg.Connection, tables: tuple[str, ...] = ROLLUPS) -> dict[str, list[object]]:
    """All rows of some tables."""
    return {table: rows_of(conn, table) for table in tables}


def test_hot_and_cold_together_are_what_was_hot(conn: psycopg.Connection, url: str, place: Storage) -> None:
    """Each query answers the same before, while and after partitions leave, and charts do not change."""
    before = [conn.execute(query).fetchall() for query in QUERIES]
    charts = everything(conn)
    told: list[tuple[str, str]] = []

    def compare(name: str, state: str) -> None:
        told.append((name, state))
        if name.startswith(("performance_logs_2", "endpoint_checks")) and len(told) < 7:
            with asking(url, place) as ask:
                assert [ask(query) for query in QUERIES[:4]] == before[:4], told[-1]

    done = archive(conn, place, keep(40), tell=compare)
    assert len(done.done) == 3 * (len(RAW) + 1)
    assert set(states(conn).values()) == {"archived"}
    left = conn.execute("SELECT count(*) FROM performance_logs").fetchone()
    assert left == (600,)
    with asking(url, place) as ask:
        assert [ask(query) for query in QUERIES] == before
    assert everything(conn) == charts
    assert not conn.execute("SELECT FROM sonde.dirty_marks").fetchall()


def test_what_a_filter_can_not_want_is_not_read(conn: psycopg.Connection, url: str, place: Storage) -> None:
    """A query of the last days reads no file: they may even be away."""
    archive(conn, place, keep(40))
    with asking(url, folder(Path("/nonexistent"))) as ask:
        since = f"measured_at >= timestamptz '{days_ago(4).isoformat()}'"
        assert ask(f"SELECT count(*) FROM performance_logs WHERE {since}") == [(600,)]
        with pytest.raises(Exception, match="nonexistent"):
            ask("SELECT count(*) FROM performance_logs")


def test_a_restored_partition_is_exactly_what_left_and_stays(
    conn: psycopg.Connection, place: Storage
) -> None:
    """Every table's rows come back bit for bit; the next turn leaves them; told so, it takes them again."""
    tables = (*RAW, "sonde.batches")
    before = {table: rows_of(conn, table) for table in tables}
    archive(conn, place, keep(40))
    for record in ledger.records(conn):
        restore.restore(conn, place, record)
    assert {table: rows_of(conn, table) for table in tables} == before
    ranges = conn.execute(
        "SELECT count(*) FROM sonde.partition_ranges WHERE parent = 'performance_logs'::regclass"
    )
    assert ranges.fetchone() == (5,)
    assert not archive(conn, place, keep(40)).done
    again = next(iter(sorted(states(conn))))
    assert archive(conn, place, keep(40), again=[again]).done == [again]


def test_what_is_archived_again_replaces_its_file(conn: psycopg.Connection, url: str, place: Storage) -> None:
    """A partition came back and changed: it leaves anew, and the file of that name holds the change."""
    archive(conn, place, keep(40))
    record = next(one for one in ledger.records(conn) if one.parent == "public.performance_logs")
    restore.restore(conn, place, record)
    conn.execute("DELETE FROM performance_logs WHERE measured_at < %s AND server_id = 1", (record.hi,))
    archive(conn, place, keep(40), again=[record.name])
    again = next(one for one in ledger.records(conn) if one.name == record.name)
    assert again.file == record.file
    assert again.rows is not None
    assert record.rows is not None
    assert 0 < again.rows < record.rows
    facts = {"rows": again.rows, "bytes": again.bytes, "sha256": again.sha256, "digest": again.digest}
    file.compare(place, str(again.file), restore.columns_of(conn, again), facts)
    with asking(url, place) as ask:
        between = f"measured_at >= '{record.lo.isoformat()}' AND measured_at < '{record.hi.isoformat()}'"
        assert ask(f"SELECT count(*), min(server_id) FROM performance_logs WHERE {between}") == [
            (again.rows, 2)
        ]


def test_a_restore_that_finds_its_place_taken_changes_nothing(
    conn: psycopg.Connection, place: Storage
) -> None:
    """One message, no table left behind."""
    archive(conn, place, keep(40))
    record = ledger.records(conn)[0]
    conn.execute(f'CREATE TABLE {record.child[0]}."{record.name}" ()')
    with pytest.raises(restore.NotRestored, match="already exists"):
        restore.restore(conn, place, record)
    assert states(conn)[record.name] == "archived"


REAL = st.floats(width=32, allow_nan=False, allow_infinity=False)
MBPS = st.decimals(0, "99999.99", places=2)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
ROW = st.tuples(
    st.none() | REAL, st.none() | MBPS, st.none() | st.booleans(), st.none() | TEXT,
    st.none() | st.integers(-(2**31), 2**31 - 1), st.none() | st.integers(-(2**15), 2**15 - 1),
    st.integers(0, 10**9),
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, max_size=30))
def test_any_values_come_back(database_url: str, place: Storage, rows: list[tuple[object, ...]]) -> None:
    """Whatever stands in a row, and also nothing at all: the file holds it, and it comes back bit for bit."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        if not conn.execute("SELECT FROM servers").fetchall():
            furnish(conn)
        partitions.ensure(conn, "performance_logs", *partitions.bounds("day", days_ago(40)), every="day")
        with conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO performance_logs (server_id, probe_id, measured_at, stream_id, seq, ping_ms, "
                "download_mbps, connection_success, failure, sent, ttl) VALUES (1, 1, %s::timestamptz + %s * "
                "interval '1 us', 1, %s, %s, %s, %s, %s, %s, %s)",
                [(days_ago(40), row[6], seq, *row[:6]) for seq, row in enumerate(rows)],
            )
        before = rows_of(conn, "performance_logs")
        done = archive(conn, place, keep(30))
        assert done.done
        assert not done.wrong
        assert rows_of(conn, "performance_logs") == []
        for record in ledger.records(conn):
            restore.restore(conn, place, record)
        assert rows_of(conn, "performance_logs") == before
        for (name,) in conn.execute("SELECT name FROM sonde.archives").fetchall():
            conn.execute(f"DROP TABLE {name}")
        conn.execute("DELETE FROM sonde.archives")


def damaged(path: Path, how: str) -> None:
    """Does something to a file."""
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["gone", "cut", "one bit"])
def test_verify_tells_a_damaged_file(conn: psycopg.Connection, url: str, place: Storage, how: str) -> None:
    """A file that is away, cut or changed by a bit is told; it is not restored."""
    archive(conn, place, keep(79))
    assert place.folder is not None
    config = CollectorConfig(state_dir=place.folder.parent, database=Database(url))
    found = desk.verifiable(conn, ())
    assert [desk.verify(config, conn, record) for record in found] == [None] * len(found)
    record = next(each for each in found if each.parent == "public.performance_logs")
    damaged(place.folder / str(record.file), how)
    assert str(record.file) in str(desk.verify(config, conn, record))
    with pytest.raises(file.Mismatch):
        restore.restore(conn, place, record)


def test_the_manifest_says_what_the_file_is(conn: psycopg.Connection, place: Storage) -> None:
    """A person with the folder alone can tell what each file holds."""
    archive(conn, place, keep(79))
    assert place.folder is not None
    (manifest,) = place.folder.glob("*/public.performance_logs/*.json")
    told = json.loads(manifest.read_text())
    record = next(each for each in ledger.records(conn) if each.parent == "public.performance_logs")
    assert told["rows"] == record.rows == 300
    assert told["sha256"] == record.sha256
    assert told["table"] == "public.performance_logs"
    assert ["ping_ms", "real"] in told["columns"]
    assert told["first_at"] < told["last_at"]


def test_a_place_without_a_way_in_loses_nothing(
    conn: psycopg.Connection, url: str, place: Storage, tmp_path: Path
) -> None:
    """Rows stay where they are, are read all the same, and leave once the place can be used."""
    before = [conn.execute(query).fetchall() for query in QUERIES]
    (tmp_path / "archive").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="archive"):
        archive(conn, place, keep(40))
    assert "detached" in states(conn).values()
    with asking(url, place) as ask:
        assert [ask(query) for query in QUERIES] == before
    (tmp_path / "archive").unlink()
    assert not archive(conn, place, keep(40)).waiting
    assert set(states(conn).values()) == {"archived"}
    with asking(url, place) as ask:
        assert [ask(query) for query in QUERIES] == before


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a tmpfs")
def test_a_full_disk_loses_nothing(conn: psycopg.Connection, url: str, place: Storage) -> None:
    """What did not fit stays in the database, leaves no draft, is read all the same, and leaves later."""
    before = [conn.execute(query).fetchall() for query in QUERIES]
    assert place.folder is not None
    place.folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "sonde-test", place.folder], check=True)
    try:
        with pytest.raises(OSError, match="No space left"):
            archive(conn, place, keep(40))
        assert {"archived", "detached"} <= set(states(conn).values())
        assert not list(place.folder.rglob(".*"))
        with asking(url, place) as ask:
            assert [ask(query) for query in QUERIES] == before
        subprocess.run(["mount", "-o", "remount,size=16m", place.folder], check=True)
        assert not archive(conn, place, keep(40)).waiting
        assert set(states(conn).values()) == {"archived"}
        with asking(url, place) as ask:
            assert [ask(query) for query in QUERIES] == before
    finally:
        subprocess.run(["umount", "--lazy", place.folder], check=True)


def test_keep_keeps_and_delete_leaves_no_copy(conn: psycopg.Connection, place: Storage) -> None:
    """What becomes of what is past its retention is what [archive] expired says."""
    assert not steps.turn(conn, lambda: place, keep(40), Archive(expired="keep")).done
    assert not states(conn)
    done = steps.turn(conn, lambda: place, keep(40), Archive(expired="delete"))
    assert set(states(conn).values()) == {"deleted"}
    assert len(done.done) == 21
    assert conn.execute("SELECT count(*) FROM performance_logs").fetchone() == (600,)
    assert place.folder is not None
    assert not place.folder.exists()


def test_hourly_rollups_leave_after_their_own_time(conn: psycopg.Connection, place: Storage) -> None:
    """A month of hourly rollups goes when all of it is past its retention, days stay for ever."""
    old = days_ago(400)
    fill(conn, old, 50, random.Random(1))
    roll_up(conn)
    days = rows_of(conn, "sonde.performance_daily")
    hours = rows_of(conn, "performance_logs_hourly")
    archive(conn, place, keep(40, minute=90, hourly=365))
    left = {record.parent for record in ledger.records(conn) if record.hi < days_ago(100)}
    assert {"public.performance_logs_hourly", "sonde.endpoint_hour", "sonde.endpoint_minute"} <= left
    assert rows_of(conn, "sonde.performance_daily") == days
    assert len(rows_of(conn, "performance_logs_hourly")) < len(hours)
    for record in ledger.records(conn):
        restore.restore(conn, place, record)
    assert rows_of(conn, "performance_logs_hourly") == hours


def test_old_records_and_days_are_deleted_when_told(conn: psycopg.Connection) -> None:
    """Events, gaps and rejects go past their retention; days only where one is set."""
    event = "INSERT INTO sonde.events (at, kind, subject, detail) VALUES (%s, 'a', 'b', 'c')"
    for age in (400, 1):
        conn.execute(event, (days_ago(age),))
    days = len(rows_of(conn, "sonde.performance_daily"))
    assert delete_old(conn, keep(40, records=365)) == 1
    assert len(rows_of(conn, "sonde.performance_daily")) == days
    assert delete_old(conn, keep(40, records=365, daily=5)) > 0
    assert 0 < len(rows_of(conn, "sonde.performance_daily")) < days


def test_a_collector_knows_when_something_is_due(conn: psycopg.Connection, place: Storage, url: str) -> None:
    """It starts the process that archives only then."""
    config = CollectorConfig(state_dir=Path("/nowhere"), database=Database(url), retention=keep(40))
    assert is_due(conn, config)
    archive(conn, place, keep(40))
    assert not is_due(conn, config)
