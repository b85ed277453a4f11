"""What `backup` and `restore` advise for a server of one's own works, with the programs of that server."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.postgres import Server
from support.programs import BIN, run

pytestmark = pytest.mark.postgres

FLEET = Path(__file__).parents[2] / "collector/fleet.template.toml"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL whose pg_dump and psql are on this host."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), reverse=True)
    places = [path.parent for path in found if (path.parent / "postgres").exists()]
    if not places:
        pytest.skip("no PostgreSQL server beside pg_dump under /usr/lib/postgresql (Debian: postgresql)")
    made = Server(binaries=places[0])
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _recipe(text: str) -> list[str]:
    """The commands of an advice: its indented lines without what is said after them."""
    return [line.strip().split("    ")[0] for line in text.splitlines() if line.startswith("  ")]


def test_the_advised_commands_bring_a_database_back(server: Server, tmp_path: Path) -> None:
    """Each line of both recipes, run in a shell, gives a second database equal to the first, fit for use."""
    url = server.create("sonde_first")
    config, fleet = tmp_path / "collector.toml", tmp_path / "fleet.toml"
    config.write_text(f'state_dir = "state"\n[database]\nurl = "{url}"\n')
    shutil.copyfile(FLEET, fleet)
    environment = {
        "PATH": f"{BIN}:{server.binaries}:{os.environ['PATH']}",
        "SONDE_COLLECTOR_CONFIG": str(config),
        "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres",
    }  # fmt: skip

    def shell(line: str) -> None:
        done = subprocess.run(
            ["bash", "-ec", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"

    for line in ("sonde-collector migrate", "sonde-collector apply fleet.toml"):
        shell(line)
    said = {
        name: run("sonde-collector", name, "anywhere", "--config", str(config))
        for name in ("backup", "restore")
    }
    assert [done.returncode for done in said.values()] == [1, 1]
    assert all("a PostgreSQL server of its own" in done.stderr for done in said.values())
    for line in _recipe(said["backup"].stderr):
        shell(line)
    *beside, last = _recipe(said["restore"].stderr)
    for line in beside:
        shell(line)
    config.write_text(f'state_dir = "state"\n[database]\nurl = "{server.url("sonde_new")}"\n')
    shell(last)
    with psycopg.connect(url) as old, psycopg.connect(server.url("sonde_new")) as new:
        for table in ("sonde.database", "servers", "sonde.plans", "sonde.migrations"):
            statement = f"SELECT * FROM {table} ORDER BY 1".encode()
            assert new.execute(statement).fetchall() == old.execute(statement).fetchall()
        revisions = [
            conn.execute("SELECT max(revision) FROM sonde.assignments").fetchone() for conn in (old, new)
        ]
        assert revisions[0] is not None
        assert revisions[1] is not None
        assert revisions[1][0] > revisions[0][0]
        assert new.execute("SELECT kind FROM sonde.events").fetchall() == [("database_restored",)]
