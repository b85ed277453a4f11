"""Events of the fleet itself on a real database, and a whole collector that tells them."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.builders import inventory
from support.notices import channel
from support.programs import Program, eventually, free_port, run
from support.receivers import Answer, Webhook

from sonde_collector.config import Watch
from sonde_collector.db.pool import Database
from sonde_collector.maintain.fleet_events import FleetEvents

pytestmark = pytest.mark.postgres
WAIT_S = 60.0


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with two vantages."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=("ams1", "lon1"))
        yield conn


def _heard(conn: psycopg.Connection, code: str, *, ago_s: float = 0.0, **values: Any) -> None:
    filled = {"clock": 0.0, "rows": 0, "oldest_s": 0.0} | values
    conn.execute(
        "INSERT INTO sonde.agents"
        " (probe_id, instance, version, revision, started_at, last_seen, clock_offset_ms, ready, reason,"
        " spool_rows, spool_bytes, spool_oldest, last_error, capabilities, refused)"
        " SELECT id, '', '1', 1, now(), now() - %(ago)s * interval '1 s', %(clock)s, true, '', %(rows)s, 0,"
        " now() - %(oldest_s)s * interval '1 s', '', '{}', '[]' FROM probe_locations WHERE code = %(code)s"
        " ON CONFLICT (probe_id) DO UPDATE SET last_seen = excluded.last_seen,"
        " spool_rows = excluded.spool_rows, clock_offset_ms = excluded.clock_offset_ms,"
        " spool_oldest = excluded.spool_oldest",
        {"ago": ago_s, "code": code, **filled},
    )


def _events(conn: psycopg.Connection) -> list[tuple[str, bool]]:
    return [
        (str(row[0]), bool(row[1]))
        for row in conn.execute("SELECT topic, resolved FROM sonde.events ORDER BY id")
    ]


def _watch(url: str, tmp_path: Path, **values: Any) -> FleetEvents:
    settings = Watch(**({"disk_free": 0.0, "disk_days": 0.0} | values))
    watch = FleetEvents(Database(url), settings, tmp_path)
    watch._since -= 1e6  # as one that has listened for long
    return watch


def test_each_change_is_one_event(conn: psycopg.Connection, database_url: str, tmp_path: Path) -> None:
    """Silence, clock and spool begin and end once each, however often one looks."""
    watch = _watch(database_url, tmp_path)
    _heard(conn, "ams1", ago_s=301)
    _heard(conn, "lon1", clock=-1500.0, rows=5, oldest_s=4 * 86_400)
    watch.turn()
    assert watch.turn() == 0
    assert sorted(_events(conn)) == [
        ("agent_clock/lon1", False), ("agent_silent/ams1", False), ("agent_spool/lon1", False),
    ]  # fmt: skip
    _heard(conn, "ams1")
    _heard(conn, "lon1")
    watch.turn()
    assert watch.turn() == 0
    assert sorted(_events(conn)[3:]) == [
        ("agent_clock/lon1", True), ("agent_silent/ams1", True), ("agent_spool/lon1", True),
    ]  # fmt: skip
    watch.connection.close()


def test_a_certificate_that_is_not_renewed_is_told(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """Less than a week of a month left: one event; its successor ends it. Of more left nothing is said."""
    watch = _watch(database_url, tmp_path)

    def issue(serial: str, code: str, ends_in_days: float) -> None:
        conn.execute(
            "INSERT INTO sonde.certificates (serial, probe_id, issued_at, not_before, not_after, ca_sha256)"
            " SELECT %(serial)s, id, ends - interval '30 days', ends - interval '30 days', ends,"
            " sha256('') FROM probe_locations, (SELECT now() + %(days)s * interval '1 day' AS ends) AS one"
            " WHERE code = %(code)s",
            {"serial": serial, "days": ends_in_days, "code": code},
        )

    for code in ("ams1", "lon1"):
        _heard(conn, code)
    issue("a1", "ams1", 6.5)
    issue("b1", "lon1", 9)
    watch.turn()
    assert watch.turn() == 0
    assert _events(conn) == [("agent_certificate/ams1", False)]
    issue("a2", "ams1", 30)
    watch.turn()
    assert _events(conn)[1:] == [("agent_certificate/ams1", True)]
    watch.connection.close()


def test_who_was_deaf_says_nothing_of_silence(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """A collector that just started, or whose database was away, waits before it calls an agent silent."""
    watch = _watch(database_url, tmp_path)
    _heard(conn, "ams1", ago_s=400)
    watch.deaf()
    assert watch.turn() == 0
    watch._since -= 1e6
    assert watch.turn() == 1
    watch.connection.close()


def test_rejected_results_are_counted_by_vantage(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """A vantage of which many results were set aside lately is told; another is not."""
    watch = _watch(database_url, tmp_path, rejected=10)
    for code in ("ams1", "lon1"):
        _heard(conn, code)
        conn.execute(
            "INSERT INTO sonde.streams (probe_id, epoch)"
            " SELECT id, decode(md5(code), 'hex') FROM probe_locations WHERE code = %s",
            (code,),
        )
    conn.execute(
        "INSERT INTO sonde.rejected_results"
        " (stream_id, seq, kind, target, reason, detail, result, rejected_at)"
        " SELECT s.id, n, 'performance', 's1', 'too_old', '', '', now() - interval '1 minute'"
        " FROM sonde.streams s JOIN probe_locations p ON p.id = s.probe_id,"
        " generate_series(1, CASE p.code WHEN 'ams1' THEN 10 ELSE 9 END) n"
    )
    watch.turn()
    assert _events(conn) == [("results_rejected/ams1", False)]
    conn.execute("UPDATE sonde.rejected_results SET rejected_at = now() - interval '1 hour'")
    watch.turn()
    assert _events(conn)[1:] == [("results_rejected/ams1", True)]
    watch.connection.close()


def test_many_collectors_at_once_make_one_event(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """Four that look at the same moment write each change once, and a disk is told by its own host."""
    for code in ("ams1", "lon1"):
        _heard(conn, code, ago_s=1000)
    watches = [_watch(database_url, tmp_path, disk_free=1.0) for _ in range(4)]
    barrier = threading.Barrier(4)

    def look(watch: FleetEvents) -> None:
        barrier.wait()
        for _ in range(3):
            watch.turn()
        watch.connection.close()

    threads = [threading.Thread(target=look, args=(watch,)) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    topics = [topic for topic, _ in _events(conn)]
    assert len(topics) == len(set(topics)) == 3
    assert [topic for topic in topics if topic.startswith("disk_low/")]


def test_a_whole_collector_tells_and_beats(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """`serve` finds a silent agent and tells it; its heartbeat comes while it is ready, else rests."""
    with Webhook() as hook, Webhook(lambda *_: Answer(302, {"Location": "/elsewhere"})) as beat:
        (tmp_path / "beat.url").write_text(f"{beat.url}/ping/secret-id\n")
        config = tmp_path / "collector.toml"
        config.write_text(
            f'state_dir = "state"\n[database]\nurl = "{database_url}"\n'
            f'[grpc]\nlisten = ["127.0.0.1:{free_port()}"]\n[http]\nlisten = "127.0.0.1:{free_port()}"\n'
            '[watch]\nagent_silent = "1s"\ndisk_free = 0.0\ndisk_days = 0\n'
            '[heartbeat]\nurl_file = "beat.url"\nevery = "1s"\n'
        )
        channel(conn, "ops", url=hook.url)
        _heard(conn, "ams1", ago_s=3600)
        collector = Program("sonde-collector", "serve", "--config", str(config), log=tmp_path / "log")
        collector.start()
        try:
            eventually(lambda: hook.got and len(beat.got) >= 2, WAIT_S, collector.tail)
            said = json.loads(hook.got[0].body)
            assert (said["kind"], said["subject"], said["object"]) == ("agent_silent", "ams1", "vantage")
            assert {(one.method, one.path) for one in beat.got} == {("GET", "/ping/secret-id")}
            assert json.loads(run("sonde-collector", "--config", str(config), "notify", "--json").stdout)
            conn.execute("ALTER TABLE sonde.migrations RENAME TO hidden")
            eventually(lambda: "heartbeat_rests" in collector.tail(100_000), WAIT_S, collector.tail)
            beats = len(beat.got)
            conn.execute("ALTER TABLE sonde.hidden RENAME TO migrations")
            eventually(lambda: len(beat.got) > beats, WAIT_S, collector.tail)
            assert collector.stop() == 0
        finally:
            collector.kill()
    log = collector.tail(1_000_000)
    assert "secret-id" not in log
    assert "heartbeat_fails" in log
    assert "Traceback" not in log
