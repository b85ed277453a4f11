"""Archiving that is killed anywhere: nothing lost, nothing doubled, charts as if nothing had happened.

A failing round prints its seed; SONDE_FAULT_SEED=N replays that one.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.builders import Spool, performance, stream_of
from support.fleet import collector_toml
from support.ingest import expected, stored, write_once
from support.old_rows import RAW, asking, days_ago, fill, folder, furnish, roll_up, rows_of, states
from support.postgres import Server
from support.programs import Program, eventually, free_port, run

from sonde_collector.archive import ledger, restore
from sonde_collector.db.migrate import migrate

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

ROUNDS = 20
TABLES = (*RAW, "sonde.batches")
CHARTS = {
    "performance_logs_hourly": "hour", "sonde.performance_daily": "day", "sonde.endpoint_minute": "bucket",
    "sonde.endpoint_hour": "bucket", "sonde.endpoint_day": "bucket", "sonde.endpoint_month": "bucket",
}  # fmt: skip
PROGRESS = {"leaving": 1, "detached": 2, "written": 3, "archived": 4}
OLD = "< now() - interval '40 days'"


def old(conn: psycopg.Connection, tables: dict[str, str]) -> dict[str, list[object]]:
    """The old rows of some tables, by their time."""
    return {
        table: rows_of(conn, f"(SELECT * FROM {table} WHERE {time} {OLD})") for table, time in tables.items()
    }


def raw() -> dict[str, str]:
    """The tables that leave, with their times."""
    return RAW | {"sonde.batches": "received_at"}


class Truth:
    """A database with old rows that nothing rolled up yet, and what must come of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        url = server.create("truth")
        with psycopg.connect(url, autocommit=True) as conn:
            migrate(conn)
            furnish(conn)
            for day in (80, 1):
                fill(conn, days_ago(day), 200, random.Random(day))
            self.rows = old(conn, raw())
        with psycopg.connect(server.create("rolled", "truth"), autocommit=True) as conn:
            roll_up(conn)
            self.charts = old(conn, CHARTS)
        server.drop("rolled")


@pytest.fixture(scope="module")
def truth() -> Iterator[Truth]:
    """On a server that may be killed."""
    server = Server(durable=True)
    server.start()
    try:
        yield Truth(server)
    finally:
        server.stop()


class Round:
    """One database, one collector's configuration, and what is done to both."""

    def __init__(self, seed: int, truth: Truth, directory: Path) -> None:
        self.chance = random.Random(seed)
        self.server = truth.server
        self.name = f"round_{seed}"
        self.url = truth.server.create(self.name, "truth")
        directory.mkdir()
        self.directory = directory
        self.config = directory / "collector.toml"
        self.config.write_text(
            collector_toml(self.url, free_port()) + '[retention]\nraw = "40d"\n[partitions]\nevery = "day"\n'
        )
        self.spool = Spool()
        with psycopg.connect(self.url, autocommit=True) as conn:
            stream_of(conn, self.spool)

    def disturb(self) -> None:
        """Starts what archives, lets it come so far, kills it or what it stands on; ingest goes on."""
        command = ("serve",) if self.chance.random() < 0.25 else ("archive", "run")
        program = Program(
            "sonde-collector", *command, "--config", str(self.config), log=self.directory / "log"
        )
        # At 0 it has only begun to roll up what must be counted first.
        wanted = self.chance.choice((0, self.chance.randrange(7 * 4), self.chance.randrange(7 * 4)))
        delay = self.chance.uniform(0, 0.05)
        how = self.chance.choice(("process", "process", "backends", "server"))
        program.start()
        deadline = time.monotonic() + 60
        with psycopg.connect(self.url, autocommit=True) as conn:
            while program.running and time.monotonic() < deadline:
                write_once(conn, [self.spool.batch([performance("s1"), performance("s2")])])
                come = sum(PROGRESS[each] for each in states(conn).values())
                if come >= wanted and (self._at_work(conn) or come == 4 * len(TABLES)):
                    break
            time.sleep(delay)  # somewhere within the next step
            sys.stdout.write(f"{command}, {how} killed at {sorted(states(conn).values())}\n")
            if how == "backends":
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                    "AND backend_type = 'client backend'"
                )
                if command == ("serve",):
                    time.sleep(delay)
        if how == "server":
            self.server.kill9()
        if how != "backends" or command == ("serve",):
            program._end(signal.SIGKILL, 10)
        else:
            eventually(lambda: not program.running, 60, program.tail)
        assert "Traceback" not in program.tail(100_000), program.tail()
        if how == "server":
            self.server.start()

    def _at_work(self, conn: psycopg.Connection) -> bool:
        found = conn.execute(
            "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' "
            "AND objid::bigint = hashtext('retention')::bigint & 4294967295 AND datname = current_database()"
        )
        return bool(found.fetchall())

    def finish(self) -> None:
        """What the next turns do, undisturbed."""
        deadline = time.monotonic() + 90
        while True:
            done = run("sonde-collector", "archive", "run", "--config", str(self.config), within_s=90)
            assert done.returncode == 0, done.stdout + done.stderr
            with psycopg.connect(self.url, autocommit=True) as conn:
                found = states(conn)
            if len(found) == len(TABLES) and set(found.values()) == {"archived"}:
                return
            assert time.monotonic() < deadline, f"{found}\n{done.stdout}{done.stderr}"

    def audit(self, truth: Truth) -> None:
        """Rows, charts and files are what they would be without any fault."""
        place = folder(self.directory / "state" / "archive")
        assert place.folder is not None
        files = [path.name for path in place.folder.rglob("*") if path.is_file()]
        assert len([name for name in files if name.endswith(".parquet")]) == len(TABLES)
        assert len(files) == 2 * len(TABLES), f"something was left behind: {files}"
        with psycopg.connect(self.url, autocommit=True) as conn:
            roll_up(conn)
            assert old(conn, CHARTS) == truth.charts
            assert stored(conn) == expected(self.spool)
            with asking(self.url, place) as ask:
                count = ask(f"SELECT count(*) FROM performance_logs WHERE measured_at {OLD}")
            assert count == [(len(truth.rows["performance_logs"]),)]
            for record in ledger.records(conn):
                restore.restore(conn, place, record)
            assert old(conn, raw()) == truth.rows


def _seeds() -> list[int]:
    replay = os.environ.get("SONDE_FAULT_SEED")
    return [int(replay)] if replay else list(range(ROUNDS))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", _seeds())
def test_archiving_killed_anywhere_ends_as_if_it_had_not_been(
    seed: int, truth: Truth, tmp_path: Path
) -> None:
    """After kills of the program, its connections or the server, rows, charts and files are the same."""
    work = Round(seed, truth, tmp_path / "round")
    try:
        for _ in range(work.chance.choice((1, 1, 2))):
            work.disturb()
        work.finish()
        work.audit(truth)
    except BaseException as error:
        error.add_note(f"SONDE_FAULT_SEED={seed} replays this round; its files: {work.directory}")
        raise
    finally:
        if not truth.server.running:
            truth.server.start()
        truth.server.drop(work.name)
