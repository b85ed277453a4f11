"""`backup` and `restore` of an embedded database, as an operator uses them."""

import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.embedded_fleet import OwnServer

from sonde_collector.db.embedded import Embedded

pytestmark = pytest.mark.postgres

FLEET = (Path(__file__).parents[2] / "collector/fleet.template.toml").read_text()
KILLED_ROUNDS = 6
ROWS = """
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

    def count(self, table: str) -> int:
        """Rows of a table in the database in use."""
        return int(self.well("sql", f"SELECT count(*) FROM {table}"))


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Keeper]:
    """A collector with schema, inventory and a thousand rows; a user of its server, so that it stays up."""
    made = Keeper(tmp_path)
    (tmp_path / "fleet.toml").write_text(FLEET)
    try:
        with Embedded(tmp_path / "state"):
            made.well("migrate")
            made.well("apply", str(tmp_path / "fleet.toml"))
            with psycopg.connect(made.server.url) as conn:
                conn.execute(
                    "SELECT sonde.attach_partition('sonde.vantage_health', 'health_all', '2000-01-01', "
                    "'2100-01-01')"
                )
                conn.execute(ROWS)
            yield made
    finally:
        OwnServer(tmp_path / "state").stop()


def _settings(keep: Keeper) -> list[tuple[object, ...]]:
    with psycopg.connect(keep.server.url) as conn:
        return [conn.execute(f"SHOW {name}").fetchone() or () for name in ("timezone", "search_path")]


def test_a_backup_brings_everything_back(keep: Keeper) -> None:
    """Rows, inventory, id and settings are as they were; what came later is gone; the backup is known."""
    identity = keep.well("sql", "SELECT id FROM sonde.database")
    before = _settings(keep)
    made = json.loads(keep.well("backup", "saved", "--json"))
    assert made["rows"]["sonde.health_all"] == 1000
    assert not list(keep.folder.glob("*.partial"))
    with psycopg.connect(keep.server.url) as conn:
        conn.execute("TRUNCATE sonde.vantage_health")
        conn.execute("DELETE FROM sonde.plans")
        conn.execute("CREATE TABLE later (n int)")
    said = keep.well("restore", "saved", "--yes")
    assert "restored" in said
    assert "next: apply the newest fleet file" in said
    assert keep.count("sonde.vantage_health") == 1000
    assert keep.count("sonde.plans") > 0
    assert keep.well("sql", "SELECT to_regclass('later') IS NULL") == "t\n"
    assert keep.well("sql", "SELECT id FROM sonde.database") == identity
    assert _settings(keep) == before
    assert keep.well("sql", "SELECT kind FROM sonde.events") == "database_restored\n"
    assert keep.well("sql", "SELECT count(*) FROM pg_database WHERE datname LIKE 'sonde%'") == "1\n"
    assert keep.well("sql", "SELECT bytes FROM sonde.backups") == f"{made['bytes']}\n"
    assert keep.well("migrate") == "the schema is up to date\n"


def test_what_can_not_be_restored_is_refused_and_changes_nothing(keep: Keeper) -> None:
    """A database in use or not empty, a damaged backup, one of a newer schema or server: one line each."""
    keep.well("backup", "saved")
    again = keep("backup", "saved")
    assert (again.returncode, "exists, and a backup never overwrites" in again.stderr) == (1, True)
    assert "make it first" in keep("backup", "nowhere/saved").stderr
    assert "is whole and can be restored" in keep.well("restore", "saved", "--dry-run")
    assert "the database in use is not empty" in keep("restore", "saved").stderr
    assert "holds no manifest.json" in keep("restore", "state", "--yes").stderr
    with psycopg.connect(keep.server.url, application_name="a report"):
        assert "in use by a report: stop the collector" in keep("restore", "saved", "--yes").stderr

    def spoiled(name: str, old: str, new: str) -> str:
        shutil.copytree(keep.folder / "saved", keep.folder / name)
        manifest = keep.folder / name / "manifest.json"
        manifest.write_text(manifest.read_text().replace(old, new, 1))
        return keep("restore", name, "--yes").stderr

    assert "goes to the same major version or a newer one" in spoiled(
        "newer", '"postgres": "18', '"postgres": "99'
    )
    assert "its schema is newer than this program's (9999_later)" in spoiled(
        "later", '"migrations": {', '"migrations": {"9999_later": "x", '
    )
    assert "made by other texts" in spoiled("other", '"0001_base": "', '"0001_base": "f')
    assert "holds 1000 rows and should hold 11000" in spoiled(
        "counted", '"sonde.health_all": 1000', '"sonde.health_all": 11000'
    )
    shutil.copytree(keep.folder / "saved", keep.folder / "torn")
    with (keep.folder / "torn" / "database.dump").open("r+b") as file:
        file.seek(500)
        file.write(b"torn")
    assert "database.dump is damaged" in keep("restore", "torn", "--dry-run").stderr
    (keep.folder / "torn" / "database.dump").unlink()
    assert "the backup is not whole" in keep("restore", "torn", "--yes").stderr
    assert keep.count("sonde.vantage_health") == 1000
    assert keep.well("sql", "SELECT count(*) FROM pg_database WHERE datname LIKE 'sonde%'") == "1\n"


def test_a_killed_restore_leaves_the_old_or_the_new(keep: Keeper) -> None:
    """SIGKILL at any moment of a restore: all of the one or all of the other, and the next restore ends it."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    keep.well("backup", "saved")
    for number in range(KILLED_ROUNDS):
        with psycopg.connect(keep.server.url) as conn:
            conn.execute("DELETE FROM sonde.vantage_health WHERE seq > 500")
        process = subprocess.Popen(keep.argv("restore", "saved", "--yes"), cwd=keep.folder)
        try:
            process.wait(rng.uniform(0.5, 5.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert keep.count("sonde.vantage_health") in {500, 1000}, f"round {number}"
        assert keep.count("sonde.plans") > 0, f"round {number}"
    keep.well("restore", "saved", "--yes")
    assert keep.count("sonde.vantage_health") == 1000
    assert keep.well("sql", "SELECT count(*) FROM pg_database WHERE datname LIKE 'sonde%'") == "1\n"


def test_a_killed_backup_leaves_none(keep: Keeper) -> None:
    """SIGKILL amid a backup: the directory is not there, and the next one of that name is made."""
    process = subprocess.Popen(keep.argv("backup", "saved"), cwd=keep.folder)
    try:
        while not (keep.folder / "saved.partial").exists() and process.poll() is None:
            pass
    finally:
        process.kill()
        process.wait()
    assert not (keep.folder / "saved").exists()
    keep.well("backup", "saved")
    keep.well("restore", "saved", "--dry-run")
