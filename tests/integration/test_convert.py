"""Embedded data of an older PostgreSQL: refused in words, converted with nothing lost, also when killed."""

import copy
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import psycopg
import pytest
from support.books import events
from support.builders import Spool, endpoint, health, inventory, missed, performance, unlock
from support.ingest import expected, stored, write_once
from support.old_rows import roll_up
from support.programs import Program, eventually, free_port, run

from sonde_collector.db import programs
from sonde_collector.db.digests import digests
from sonde_collector.db.embedded import Embedded
from sonde_collector.db.errors import EmbeddedError
from sonde_collector.db.migrate import migrate
from sonde_collector.db.older import stop
from sonde_collector.db.partitions import keep_ahead
from sonde_collector.keeping import convert as converting
from sonde_proto.v1 import ingest_pb2

pytestmark = pytest.mark.postgres
KILLS = 5
WHEEL = programs.embedded_programs().parents[1] / "pginstall/bin"  # the wheel's other one
DEBIAN = Path("/usr/lib/postgresql/15/bin")


class Old:
    """A state directory as an older program left it, and the commands of the newer one."""

    def __init__(self, folder: Path, major: str, binaries: Path) -> None:
        self.folder, self.state, self.major, self.binaries = folder, folder / "state", major, binaries
        folder.mkdir()
        self.config = folder / "collector.toml"
        self.config.write_text(
            'state_dir = "state"\n[database]\nurl = "embedded:"\n'
            f'[grpc]\nlisten = ["127.0.0.1:{free_port()}"]\n'
            f'[http]\nlisten = "127.0.0.1:{free_port()}"\n'
        )
        self.spool = Spool()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(programs, "MAJOR", int(major))
            patch.setattr(programs, "embedded_programs", lambda: binaries)
            with Embedded(self.state) as server, psycopg.connect(server.url, autocommit=True) as conn:
                version = conn.info.server_version // 10_000
                assert version == int(major)
                self._fill(conn)
                self.holds = digests(conn)

    def _fill(self, conn: psycopg.Connection) -> None:
        migrate(conn)
        keep_ahead(conn, every="month", ahead=1)
        inventory(conn, platforms=("netflix",))
        conn.execute("CREATE ROLE reader LOGIN")
        conn.execute("GRANT pg_read_all_data TO reader")
        with conn.transaction():
            row = conn.execute(
                "INSERT INTO sonde.streams (probe_id, epoch) SELECT id, %s FROM probe_locations RETURNING id",
                (self.spool.epoch,),
            ).fetchone()
            assert row is not None
        for _ in range(20):
            results = [performance(ping_ms=0.1 * n) for n in range(50)]
            others = [endpoint(), health(), missed(), unlock(), performance("nowhere")]
            batch = self.spool.batch([*results, *others, ingest_pb2.GAP_REASON_TOO_OLD])
            write_once(conn, [batch])
        roll_up(conn)

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Runs a command; what it said. Never a traceback."""
        done = run("sonde-collector", *arguments, "--config", str(self.config), within_s=100)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    def convert(self, *arguments: str) -> tuple[int, str]:
        """Runs `convert` with the programs of its major."""
        return self("convert", "--from-bin", str(self.binaries), *arguments)

    @property
    def major_now(self) -> str:
        """Of the data in use."""
        return (self.state / "postgres/PG_VERSION").read_text().strip()

    def same_rows(self) -> None:
        """The data in use is the program's, and holds in every table what was there."""
        with Embedded(self.state) as server, psycopg.connect(server.url, autocommit=True) as conn:
            assert conn.info.server_version // 10_000 == programs.MAJOR
            assert digests(conn) == self.holds
            assert stored(conn) == expected(self.spool)
            assert conn.execute("SHOW timezone").fetchone() == ("UTC",)
            assert conn.execute("SELECT FROM pg_roles WHERE rolname = 'reader'").rowcount == 1


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory: pytest.TempPathFactory) -> Old:
    """One of PostgreSQL 16, not to be changed."""
    return Old(tmp_path_factory.mktemp("older") / "16", "16", WHEEL)


@pytest.fixture
def old(sixteen: Old, tmp_path: Path) -> Iterator[Old]:
    """A copy of it; whatever runs on it is ended."""
    made = copy.copy(sixteen)
    made.folder = tmp_path / "old"
    made.state, made.config = made.folder / "state", made.folder / "collector.toml"
    subprocess.run(["cp", "-a", str(sixteen.folder), str(made.folder)], check=True)
    yield made
    _end(made)


@pytest.fixture
def fifteen(tmp_path: Path) -> Iterator[Old]:
    """One of PostgreSQL 15."""
    made = Old(tmp_path / "old", "15", DEBIAN)
    yield made
    _end(made)


def _end(made: Old) -> None:
    for data in made.folder.glob("state/**/postmaster.pid"):
        stop(data.parent)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not DEBIAN.exists(), reason="needs PostgreSQL 15 (Debian 12: postgresql)")
def test_older_data_is_refused_then_converted_then_served(fifteen: Old) -> None:
    """Every command says what to do; then every table holds what it held, and the old data is there still."""
    old = fifteen
    for command in ("migrate", "serve"):
        code, said = old(command)
        assert code == 1
        assert f"holds data of PostgreSQL {old.major}, and this program brings {programs.MAJOR}" in said
        assert "`sonde-collector convert`" in said
        assert len(said.splitlines()) == 1
    code, said = old("convert", "--from-bin", str(programs.embedded_programs()))
    assert code == 1
    assert f"PostgreSQL {old.major}'s own programs are needed" in said
    assert f"`apt install postgresql-{old.major}`" in said
    code, said = old.convert("--dry-run", "--json")
    assert code == 0
    assert (json.loads(said)["major"], json.loads(said)["converted"]) == (int(old.major), False)
    assert old.major_now == old.major
    code, said = old("convert", "--remove-old")
    assert code == 1
    assert "convert it first" in said

    code, said = old.convert()
    assert code == 0, said
    assert f"converted from PostgreSQL {old.major} to {programs.MAJOR}" in said
    old.same_rows()
    kept = old.state / f"postgres-{old.major}"
    assert (kept / "PG_VERSION").read_text().strip() == old.major
    assert old.convert()[1].strip().endswith("nothing to convert")
    served = Program("sonde-collector", "serve", "--config", str(old.config), log=old.folder / "log")
    served.start()
    try:
        eventually(lambda: events(served, "serving"), 60, served.tail)
        code, said = old("convert", "--remove-old")
        assert code == 1
        assert "is in use" in said
        assert served.stop() == 0, served.tail()
    finally:
        served.kill()
    assert old("convert", "--remove-old")[0] == 0
    assert not kept.exists()
    assert sorted(path.name for path in old.state.glob("postgres*") if path.is_dir()) == ["postgres"]


@pytest.mark.timeout(300)
def test_killed_at_any_moment(old: Old) -> None:
    """After each SIGKILL the data is wholly the old one or the new one; the next run ends it."""
    seed = int(os.environ.get("SONDE_FAULT_SEED") or random.randrange(1 << 30))
    chance, took = random.Random(seed), 8.0
    sys.stdout.write(f"SONDE_FAULT_SEED={seed}\n")
    for _ in range(KILLS):
        converting_now = Program(
            "sonde-collector", "convert", "--from-bin", str(old.binaries), "--config", str(old.config),
            log=old.folder / "log",
        )  # fmt: skip
        started = time.monotonic()
        converting_now.start()
        while converting_now.running and time.monotonic() - started < chance.uniform(0.5, took):
            time.sleep(0.05)
        converting_now.kill()
        assert "Traceback" not in converting_now.tail(10_000)
        assert old.major_now in {old.major, str(programs.MAJOR)}
        if old.major_now == old.major:
            assert not (old.state / f"postgres-{old.major}").exists()
    code, said = old.convert()
    assert code == 0, said
    old.same_rows()
    assert not (old.state / "postgres.converting").exists()
    assert (old.state / f"postgres-{old.major}/PG_VERSION").exists()


def test_what_does_not_fit_changes_nothing(old: Old) -> None:
    """Without room, beside a user, with another database in it, or of a newer major, all stays as it is."""
    plan = converting.plan(old.state, old.binaries)
    with pytest.raises(EmbeddedError, match="make room first"):
        converting.convert(attrs.evolve(plan, free=plan.bytes), lambda *_: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "MAJOR", int(old.major))
        patch.setattr(programs, "embedded_programs", lambda: old.binaries)
        with Embedded(old.state) as server:
            code, said = old.convert()
            assert code == 1
            assert "is in use: stop the collector" in said
            with psycopg.connect(server.url, autocommit=True) as conn:
                conn.execute("CREATE DATABASE reports")
    code, said = old.convert()
    assert code == 1
    assert "it also holds the database reports" in said
    assert old.major_now == old.major
    assert sorted(path.name for path in old.state.glob("postgres*") if path.is_dir()) == ["postgres"]
    (old.state / "postgres/PG_VERSION").write_text("99\n")
    code, said = old.convert()
    assert code == 1
    assert "newer than this program's" in said
