"""Voided versions of rules: nothing that reads sees what they judged, whenever it came."""

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.builders import inventory
from support.old_rows import archive, days_ago, folder, keep, rows_of
from support.unlocks import Check, insert, platforms

from sonde_collector.archive import ledger, restore
from sonde_collector.db import partitions
from sonde_collector.unlock.voiding import UnknownPlatform, unvoid, void, voided

pytestmark = pytest.mark.postgres
UNLOCKED = "SELECT count(*) FROM streaming_checks WHERE is_unlocked"
READ = "SELECT count(*) FROM sonde.unlock_checks"


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with two servers, two vantages, three platforms."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=("ams1", "lon1"), servers=("s1", "s2"))
        platforms(conn)
        partitions.keep_ahead(conn, every="day", ahead=1)
        yield conn


def count(conn: psycopg.Connection, statement: str) -> int:
    """The one number that a statement gives."""
    row = conn.execute(statement.encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_a_voided_version_leaves_and_comes_back(conn: psycopg.Connection) -> None:
    """Voiding takes exactly the version's checks of that platform from what is read; unvoiding mends it."""
    insert(
        conn,
        [
            Check(),
            Check(verdict="blocked"),
            Check(version="2"),
            Check(platform=2),
            Check(server=2),
            Check(verdict=None, failure="auth"),
            Check(quality=4),
        ],
    )
    assert (count(conn, UNLOCKED), count(conn, READ)) == (4, 5)
    assert void(conn, "netflix", "1", "a marker was wrong") == 2
    assert (count(conn, UNLOCKED), count(conn, READ)) == (2, 2)
    assert void(conn, "netflix", "1", "a marker was wrong indeed") == 0
    assert [(one["platform"], one["version"], one["reason"]) for one in voided(conn)] == [
        ("netflix", "1", "a marker was wrong indeed")
    ]
    assert unvoid(conn, "netflix", "1") == 2
    assert (count(conn, UNLOCKED), count(conn, READ)) == (4, 5)
    assert voided(conn) == []


@pytest.mark.parametrize("role", ["origin", "replica"])
def test_late_checks_of_a_voided_version_stay_out(conn: psycopg.Connection, role: str) -> None:
    """A check that comes late is kept and never unlocks, also where keys go unchecked."""
    void(conn, "netflix", "1", "stale")
    conn.execute(f"SET session_replication_role = {role}".encode())
    insert(conn, [Check(), Check(version="2")])
    assert (count(conn, UNLOCKED), count(conn, READ)) == (1, 1)
    assert count(conn, "SELECT count(*) FROM streaming_checks") == 2


def test_an_update_can_not_bring_it_back(conn: psycopg.Connection) -> None:
    """Setting is_unlocked by hand changes nothing; rows of other programs, without a verdict, are theirs."""
    insert(conn, [Check()])
    void(conn, "netflix", "1", "stale")
    conn.execute(
        "INSERT INTO streaming_checks (server_id, platform_id, is_unlocked)"
        " VALUES (1, 1, true), (1, 2, false)"
    )
    conn.execute("UPDATE streaming_checks SET is_unlocked = true")
    rows = conn.execute("SELECT verdict, is_unlocked FROM streaming_checks ORDER BY 1, 2").fetchall()
    assert rows == [("available", False), (None, True), (None, True)]


def test_voiding_while_checks_stream_in(conn: psycopg.Connection, database_url: str) -> None:
    """However writers and a voiding meet, no check of the version says unlocked afterwards."""
    stop, written = threading.Event(), []

    def stream(number: int) -> None:
        with psycopg.connect(database_url) as writer:
            seq = 0
            while not stop.is_set():
                for _ in range(20):
                    seq += 1
                    writer.execute(
                        "INSERT INTO streaming_checks (server_id, platform_id, verdict, rule_version,"
                        " stream_id, seq) VALUES (1, 1, 'available', '1', %s, %s)",
                        (number, seq),
                    )
                writer.commit()
                written.append(seq)

    threads = [threading.Thread(target=stream, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    try:
        while len(written) < 30:
            stop.wait(0.01)
        void(conn, "netflix", "1", "stale")
        before = len(written)
        while len(written) < before + 30:
            stop.wait(0.01)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert count(conn, "SELECT count(*) FROM streaming_checks") >= 20 * len(written)
    assert count(conn, UNLOCKED) == 0


def test_many_checks_are_mended_in_steps(conn: psycopg.Connection) -> None:
    """More checks than a step takes, in several partitions, are all mended."""
    conn.execute(
        "INSERT INTO streaming_checks"
        " (server_id, platform_id, verdict, rule_version, checked_at, stream_id, seq)"
        " SELECT 1, 1, 'available', '1', now() + (n % 2) * interval '1 day', 1, n"
        " FROM generate_series(1, 9001) n"
    )
    assert void(conn, "netflix", "1", "stale") == 9001
    assert count(conn, UNLOCKED) == 0
    assert unvoid(conn, "netflix", "1") == 9001
    assert count(conn, UNLOCKED) == 9001


def test_what_comes_back_from_an_archive_is_judged_now(conn: psycopg.Connection, tmp_path: Path) -> None:
    """A partition that was away while its version was voided comes back unread; canaries come back."""
    long_ago = 80 * 86_400
    for table in ("streaming_checks", "sonde.canary_checks"):
        partitions.ensure(conn, table, days_ago(80), days_ago(80), "day")
    insert(conn, [Check(ago_s=long_ago), Check(ago_s=long_ago, platform=2), Check(None, ago_s=long_ago)])
    canaries = rows_of(conn, "sonde.canary_checks")
    place = folder(tmp_path / "archive")
    archive(conn, place, keep(40))
    assert count(conn, READ) == count(conn, "SELECT count(*) FROM sonde.canary_checks") == 0
    assert void(conn, "netflix", "1", "stale") == 0
    for record in ledger.records(conn):
        restore.restore(conn, place, record)
    assert (count(conn, UNLOCKED), count(conn, READ)) == (1, 1)
    assert count(conn, "SELECT count(*) FROM streaming_checks") == 2
    assert rows_of(conn, "sonde.canary_checks") == canaries
    assert unvoid(conn, "netflix", "1") == 1


@pytest.mark.parametrize("slug", ["nettflix", "a\0b"])
def test_an_unknown_platform(conn: psycopg.Connection, slug: str) -> None:
    """A slug that no plan named is told."""
    with pytest.raises(UnknownPlatform, match="there is no platform"):
        void(conn, slug, "1", "stale")
