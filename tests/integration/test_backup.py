"""`backup` and `restore` of an embedded database, as an operator uses them."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.embedded_fleet import OwnServer

from sonde_collector.db.embedded import Embedded
from sonde_collector.db.errors import BackupError
from sonde_collector.db.migrate import migrate
from sonde_collector.inventory.apply import apply
from sonde_collector.inventory.fleet_file import load_fleet
from sonde_collector.keeping.restore import examine

pytestmark = pytest.mark.postgres

FLEET = Path(__file__).parents[2] / "collector/fleet.template.toml"
KILLED_ROUNDS = 4
ROWS = """
SELECT sonde.attach_partition('sonde.vantage_health', 'health_all', '2000-01-01', '2100-01-01');
INSERT INTO sonde.vantage_health (probe_id, measured_at, stream_id, seq, ready)
SELECT id, now() - n * interval '1 second', 1, n, true FROM probe_locations, generate_series(1, 1000) AS n
"""


class Keeper:
    """The commands of one collector with an embedded database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "collector.toml"
        self.config.write_text('state_dir = "state"\n[database]\nurl = "embedded:"\n')
        self.server = Embedded(folder / "state")

    def argv(self, *arguments: str) -> list[str]:
        """A command line."""
        return [sys.executable, "-m", "sonde_collector.cli", "--config", str(self.config), *arguments]

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command; it never shows a traceback, and a complaint is one line."""
        done = subprocess.run(
            self.argv(*arguments), capture_output=True, text=True, check=False, timeout=120, cwd=self.folder
        )
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert done.stderr.count("\n") == 1, done.stderr
        return done

    def well(self, *arguments: str) -> str:
        """Runs a command that must end well."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def do(self, *statements: str) -> None:
        """Changes the database in use."""
        with psycopg.connect(self.server.url) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    def ask(self, statement: str) -> Any:
        """One value of the database in use."""
        with psycopg.connect(self.server.url) as conn:
            row = conn.execute(statement.encode()).fetchone()
            assert row is not None
            return row[0]

    def health(self) -> int:
        """Rows of the table that the tests change."""
        return int(self.ask("SELECT count(*) FROM sonde.vantage_health"))

    def databases(self) -> int:
        """How many of ours the server has, restored or not."""
        return int(self.ask("SELECT count(*) FROM pg_database WHERE datname LIKE 'sonde%'"))

    def settings(self) -> list[Any]:
        """What a new connection gets."""
        return [self.ask("SHOW timezone"), self.ask("SHOW search_path")]


@pytest.fixture(scope="module")
def keep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    """A collector with schema, inventory and a thousand rows, which each test leaves as they were.

    We are a user of its server ourselves, so that it stays up.
    """
    made = Keeper(tmp_path_factory.mktemp("keep"))
    try:
        with Embedded(made.folder / "state"):
            with psycopg.connect(made.server.url, autocommit=True) as conn:
                migrate(conn)
                apply(conn, load_fleet(FLEET))
            made.do(ROWS)
            made.well("backup", "good")
            yield made
    finally:
        OwnServer(made.folder / "state").stop()


def test_a_backup_brings_everything_back(keep: Keeper) -> None:
    """Rows, inventory, id and settings are as they were; what came later is gone; the backup is known."""
    identity, settings = keep.ask("SELECT id FROM sonde.database"), keep.settings()
    made = json.loads(keep.well("backup", "saved", "--json"))
    assert made["rows"]["sonde.health_all"] == 1000
    assert not list(keep.folder.glob("*.partial"))
    keep.do("TRUNCATE sonde.vantage_health", "DELETE FROM sonde.plans", "CREATE TABLE later (n int)")
    said = keep.well("restore", "saved", "--yes")
    assert "next: apply the newest fleet file" in said
    assert keep.health() == 1000
    assert keep.ask("SELECT count(*) FROM sonde.plans") > 0
    assert keep.ask("SELECT to_regclass('later') IS NULL")
    assert keep.ask("SELECT id FROM sonde.database") == identity
    assert keep.settings() == settings
    assert keep.ask("SELECT max(kind) FROM sonde.events") == "database_restored"
    assert keep.ask("SELECT bytes FROM sonde.backups ORDER BY made_at DESC LIMIT 1") == made["bytes"]
    assert keep.databases() == 1


def test_a_new_host_takes_a_backup_without_a_question(keep: Keeper, tmp_path: Path) -> None:
    """A state directory that holds nothing is filled; rows, id and settings are those of the lost one."""
    host = Keeper(tmp_path)
    try:
        with Embedded(tmp_path / "state"):
            host.well("restore", str(keep.folder / "good"))
            assert host.health() == 1000
            assert host.ask("SELECT id FROM sonde.database") == keep.ask("SELECT id FROM sonde.database")
            assert host.settings() == keep.settings()
    finally:
        OwnServer(tmp_path / "state").stop()


def test_what_can_not_be_restored_is_refused_and_changes_nothing(keep: Keeper) -> None:
    """A database in use or not empty, a damaged backup, one of a newer schema or server: one line each."""
    again = keep("backup", "good")
    assert (again.returncode, "exists, and a backup never overwrites" in again.stderr) == (1, True)
    assert "is whole and can be restored" in keep.well("restore", "good", "--dry-run")
    assert "the database in use is not empty" in keep("restore", "good").stderr
    with psycopg.connect(keep.server.url, application_name="a report"):
        assert "in use by a report: stop the collector" in keep("restore", "good", "--yes").stderr

    def refused(name: str) -> str:
        with pytest.raises(BackupError) as caught:
            examine(keep.folder / name, lambda *_: None)
        return str(caught.value)

    def spoiled(name: str, old: str, new: str) -> str:
        shutil.copytree(keep.folder / "good", keep.folder / name)
        manifest = keep.folder / name / "manifest.json"
        manifest.write_text(manifest.read_text().replace(old, new, 1))
        return name

    assert "holds no manifest.json" in refused("state")
    newer = spoiled("newer", '"postgres": "18', '"postgres": "99')
    assert "goes to the same major version or a newer one" in refused(newer)
    later = spoiled("later", '"migrations": {', '"migrations": {"9999_later": "x", ')
    assert "its schema is newer than this program's (9999_later)" in refused(later)
    assert "made by other texts" in refused(spoiled("other", '"0001_base": "', '"0001_base": "f'))
    counted = spoiled("counted", '"sonde.health_all": 1000', '"sonde.health_all": 11000')
    assert "holds 1000 rows and should hold 11000" in keep("restore", counted, "--yes").stderr
    shutil.copytree(keep.folder / "good", keep.folder / "torn")
    with (keep.folder / "torn" / "database.dump").open("r+b") as file:
        file.seek(500)
        file.write(b"torn")
    assert "database.dump is damaged" in keep("restore", "torn", "--yes").stderr
    (keep.folder / "torn" / "database.dump").unlink()
    assert "the backup is not whole" in refused("torn")
    assert keep.health() == 1000
    assert keep.databases() == 1


def test_a_killed_restore_leaves_the_old_or_the_new(keep: Keeper) -> None:
    """SIGKILL at any moment of a restore: all of the one or all of the other, and the next one ends it."""
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    rng = random.Random(seed)
    begun = time.monotonic()
    keep.well("restore", "good", "--yes")
    took = time.monotonic() - begun
    for number in range(KILLED_ROUNDS):
        keep.do("DELETE FROM sonde.vantage_health WHERE seq > 500")
        process = subprocess.Popen(keep.argv("restore", "good", "--yes"), cwd=keep.folder)
        try:
            process.wait(rng.uniform(0.2, 1.0) * took)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert keep.health() in {500, 1000}, f"round {number}"
        assert keep.ask("SELECT count(*) FROM sonde.plans") > 0, f"round {number}"
    keep.well("restore", "good", "--yes")
    assert keep.health() == 1000
    assert keep.databases() == 1


def test_a_killed_backup_is_whole_or_not_there(keep: Keeper) -> None:
    """SIGKILL amid a backup: its directory is not there, and the next one of that name is made."""
    process = subprocess.Popen(keep.argv("backup", "killed"), cwd=keep.folder)
    try:
        while not (keep.folder / "killed.partial").exists() and process.poll() is None:
            pass
    finally:
        process.kill()
        process.wait()
    if not (keep.folder / "killed").exists():
        keep.well("backup", "killed")
    keep.well("restore", "killed", "--dry-run")
    assert not (keep.folder / "killed.partial").exists()
