"""`apply` of plans with unlock checks: platforms, canaries, assignments, and what a dry run shows."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.programs import run

from sonde_collector.inventory.apply import Applied, apply
from sonde_collector.inventory.fleet_file import load_fleet
from sonde_collector.inventory.sources.read import read_sources
from sonde_proto.v1 import control_pb2

pytestmark = pytest.mark.postgres
FLEET = """
[[vantage]]
code = "ams1"
city = "Amsterdam"
country = "NL"

[[provider]]
key = "acme"
name = "Acme VPN"

[[provider.account]]
key = "acme-wg"
sessions = 5

[[provider.source]]
path = "wg"
account = "acme-wg"
pattern = "{country}-{city}-*"

[[plan]]
key = "streaming"
checks = ["connection", "unlock"]
servers = "*"
every = "6h"

[plan.connection]
exit_url = "http://ip.test/"

[plan.unlock]
platforms = ["netflix", "our-tv"]
canary = CANARY
"""
PROFILE = (
    "[Interface]\nPrivateKey = YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nAddress = 10.2.0.{n}/32\n\n"
    "[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nAllowedIPs = 0.0.0.0/0\n"
    "Endpoint = 198.51.100.{n}:51820\n"
)
KNOWN_GOOD = (
    "SELECT k.key, c.platforms FROM sonde.canary_servers c"
    " JOIN sonde.server_keys k USING (server_id) ORDER BY 1"
)


class Files:
    """A fleet file with two profiles, and the database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.conn = psycopg.connect(url, autocommit=True)
        self.file = folder / "fleet.toml"
        (folder / "wg").mkdir()
        for n, city in enumerate(("london", "leeds"), 1):
            (folder / "wg" / f"gb-{city}-{n}.conf").write_text(PROFILE.format(n=n))

    def apply(self, canary: str) -> Applied:
        """Apply the file with a canary."""
        self.file.write_text(FLEET.replace("CANARY", canary))
        fleet = load_fleet(self.file)
        return apply(self.conn, fleet, read_sources(fleet))

    def tasks(self) -> list[control_pb2.Task]:
        """Give the stored tasks of the vantage."""
        row = self.conn.execute("SELECT body FROM sonde.assignments").fetchone()
        assert row is not None
        return list(control_pb2.Assignment.FromString(row[0]).tasks)


@pytest.fixture
def files(database_url: str, tmp_path: Path) -> Iterator[Files]:
    """Give the files and a fresh database."""
    made = Files(database_url, tmp_path)
    with made.conn:
        yield made


def test_platforms_canaries_and_tasks_follow_the_plan(files: Files) -> None:
    """Platforms are added once and keep their names; canaries come, change and go; no write is idle."""
    files.conn.execute("INSERT INTO streaming_platforms (slug, name) VALUES ('netflix', 'Our name for it')")
    first = files.apply('["*-leeds-*"]')
    assert [(one.sign, one.kind, one.key) for one in first.changes][-2:] == [
        ("+", "platform", "our-tv"),
        ("+", "canary", "acme-gb-leeds-2"),
    ]
    names = files.conn.execute("SELECT slug, name FROM streaming_platforms ORDER BY 1").fetchall()
    assert names == [("netflix", "Our name for it"), ("our-tv", "our-tv")]
    assert files.conn.execute(KNOWN_GOOD).fetchall() == [("acme-gb-leeds-2", ["netflix", "our-tv"])]
    assert [task.WhichOneof("spec") for task in files.tasks()] == ["connection", "connection"]
    assert files.apply('["*-leeds-*"]').changes == []
    files.apply('["*"]')
    assert [row[0] for row in files.conn.execute(KNOWN_GOOD)] == ["acme-gb-leeds-2", "acme-gb-london-1"]
    files.apply('"direct"')
    assert files.conn.execute(KNOWN_GOOD).fetchall() == []
    direct = [task for task in files.tasks() if task.WhichOneof("spec") == "unlock"]
    assert [(task.key, task.target) for task in direct] == [("streaming/unlock", "")]


def test_a_dry_run_shows_the_cost_and_the_doubts(files: Files) -> None:
    """Traffic is reckoned, and a slug for which no rule is shipped is a note, not a mistake."""
    files.apply('"direct"')
    config = files.folder / "collector.toml"
    config.write_text(f'state_dir = "state"\n[database]\nurl = "{files.url}"\n')
    done = run("sonde-collector", "apply", str(files.file), "--dry-run", "--json", "--config", str(config))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert any('no rule for "our-tv" is shipped' in note for note in told["notices"])
    # Two rules, four times a day, 200 kB a time: once directly, twice through each of two tunnels.
    assert 8.0e6 < told["vantages"]["ams1"]["bytes_per_day"] < 8.2e6
