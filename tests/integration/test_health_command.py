"""`sonde-collector health` and the fleet file's tables about it, as a user meets them."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from support.fleet import collector_toml
from support.health import World
from support.ingest import connection
from support.programs import free_port, run

pytestmark = pytest.mark.postgres

Command = Callable[..., subprocess.CompletedProcess[str]]
ACME = ("acme/a1", "acme/a2", "acme/a3")
FLEET = """
[health]
unhealthy_threshold = 4
cert_days = [20, 10]

[[vantage]]
code = "ams1"
city = "Amsterdam"
country = "NL"

[[provider]]
key = "acme"
name = "Acme"
[provider.health]
hold_servers = 5
vantages_needed = "all"

[[server]]
key = "a1"
provider = "acme"
city = "Amsterdam"
country = "NL"
hostname = "a1.test"
[server.health]
vantages_needed = 2
degraded_ms = 300

[[target]]
key = "main"
kind = "http"
url = "https://main.test/"
[target.health]
stale_after = "5m"
cert_days = [3]

[[target]]
key = "spare"
kind = "http"
url = "https://spare.test/"

[[origin_group]]
key = "site"
members = ["main", "spare"]
failover_timeout = "2s"
"""


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database."""
    with connection(database_url) as conn:
        yield conn


@pytest.fixture
def command(database_url: str, tmp_path: Path) -> Command:
    """Runs `sonde-collector` on the database."""
    config = tmp_path / "collector.toml"
    config.write_text(collector_toml(database_url, free_port()))

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return run("sonde-collector", "--config", str(config), *words)

    return call


def test_states_are_listed_shown_and_judged(conn: psycopg.Connection, command: Command) -> None:
    """The worst first, what each vantage says, the changes; a held provider is named until it is judged."""
    done = command("health")
    assert (done.returncode, done.stdout) == (
        0,
        "nothing is judged yet: `sonde-collector serve` does it once results come in\n",
    )
    world = World(conn, servers=(*ACME, "other/o1", "other/o2"), targets=("site",))
    world.turn(rounds=3)
    world.turn(["o1"], rounds=2)
    world.turn(["a1", "a2", "a3", "o1"], rounds=2)
    first, *lines = command("health").stdout.splitlines()
    assert first.startswith("provider acme: all servers failed at once since ")
    assert first.endswith("(3); say why: sonde-collector health judge acme down|ours")
    assert lines[1].split()[:3] == ["server", "o1", "UNHEALTHY"]
    assert ["server", "a1", "HEALTHY", "(held)"] in [line.split()[:4] for line in lines]
    assert command("health", "ls", "--state", "degraded").stdout.splitlines()[1:] == ["none"]
    listed = json.loads(command("health", "ls", "--json", "--object", "target").stdout)
    assert [(one["key"], one["state"]) for one in listed["states"]] == [("site", "HEALTHY")]
    assert listed["holds"][0]["provider"] == "acme"

    shown = command("health", "show", "o1").stdout
    assert shown.startswith("server o1: UNHEALTHY for ")
    assert "ams1     failing  WireGuard failing" in shown
    assert "HEALTHY → UNHEALTHY" in shown
    (one,) = json.loads(command("health", "show", "o1", "--json").stdout)
    assert [change["to_state"] for change in one["history"]] == ["UNHEALTHY", "HEALTHY"]

    done = command("health", "judge", "acme", "ours")
    assert done.stdout == (
        "provider acme shut us out: what failed does not count; "
        "its servers keep their states until they answer again\n"
    )
    assert json.loads(command("health", "judge", "acme", "down", "--json").stdout) == {
        "provider": "acme", "verdict": "down", "results": 18, "ended": False,
    }  # fmt: skip
    assert command("health").stdout.splitlines()[0].endswith("; judged: down")


def test_mistakes_are_told(command: Command) -> None:
    """An unknown key or provider is one line and exit 1, bad words are bad usage, help has examples."""
    done = command("health", "show", "nothing")
    said = 'sonde-collector: "nothing" is no server, target or origin group that is judged: '
    assert (done.returncode, done.stderr) == (1, f"{said}`sonde-collector health ls` lists them\n")
    done = command("health", "judge", "nobody", "down")
    assert (done.returncode, done.stderr) == (1, 'sonde-collector: "nobody" is no provider of the fleet\n')
    assert command("health", "judge", "acme", "perhaps").returncode == 2
    assert command("health", "ls", "--state", "FINE").returncode == 2
    assert "sonde-collector health judge acme ours" in command("health", "--help").stdout


def test_the_fleet_file_is_applied(conn: psycopg.Connection, command: Command, tmp_path: Path) -> None:
    """Each table is kept as written, a second apply changes nothing, and what is gone counts no more."""
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(FLEET)
    assert (
        "+ health provider/acme: hold_servers 5, vantages_needed all"
        in command("apply", str(fleet), "--dry-run").stdout
    )
    assert command("apply", str(fleet)).returncode == 0
    kept = dict(conn.execute("SELECT key, spec FROM sonde.health_settings WHERE is_active").fetchall())
    assert kept == {
        "fleet": {"unhealthy_threshold": 4, "cert_days": [20, 10]},
        "provider/acme": {"hold_servers": 5, "vantages_needed": "all"},
        "server/a1": {"vantages_needed": 2, "degraded_ms": 300},
    }
    spec = conn.execute("SELECT spec->'health' FROM sonde.targets WHERE key = 'main'").fetchone()
    assert spec == ({"stale_after": 300.0, "cert_days": [3]},)
    groups = conn.execute("SELECT key, spec FROM sonde.origin_groups").fetchall()
    assert groups == [("site", {"members": ["main", "spare"], "failover_timeout": 2.0})]
    assert "nothing" in command("apply", str(fleet)).stdout
    without = FLEET[: FLEET.index("[[origin_group]]")].replace(
        "[health]\nunhealthy_threshold = 4\ncert_days = [20, 10]\n", ""
    )
    fleet.write_text(without)
    assert command("apply", str(fleet)).returncode == 0
    assert conn.execute("SELECT is_active FROM sonde.origin_groups").fetchall() == [(False,)]
    assert conn.execute("SELECT is_active FROM sonde.health_settings WHERE key = 'fleet'").fetchone() == (
        False,
    )
    fleet.write_text(FLEET)
    assert command("apply", str(fleet)).returncode == 0
    assert conn.execute("SELECT is_active FROM sonde.origin_groups").fetchall() == [(True,)]
    assert conn.execute("SELECT is_active FROM sonde.health_settings WHERE key = 'fleet'").fetchone() == (
        True,
    )


def test_every_mistake_of_a_fleet_file(command: Command, tmp_path: Path) -> None:
    """One line for each mistake, with its path."""
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        FLEET.replace("unhealthy_threshold = 4", "unhealthy_threshold = 0\nhold_share = 2")
        .replace('vantages_needed = "all"', 'vantages_needed = "most"\ncert_days = [1]')
        .replace("vantages_needed = 2", "vantages_needed = 1.5")
        .replace('stale_after = "5m"', "stale_after = 5")
        .replace('members = ["main", "spare"]', 'members = ["main", "spaer", "main"]\nfailover_codes = [42]')
    )
    done = command("apply", str(fleet))
    assert done.returncode == 2
    lines = [
        line.removeprefix(f"sonde-collector: {fleet}: ").partition(";")[0]
        for line in done.stderr.splitlines()
    ]
    assert sorted(lines) == [
        "health.hold_share: must be between 0.5 and 1, not 2",
        "health.unhealthy_threshold: must be between 1 and 10, not 0",
        "origin_group[0].failover_codes[0]: must be between 100 and 599, not 42",
        'origin_group[0].members: names "main" twice',
        "provider[0].health.cert_days: is not a known key",
        'provider[0].health.vantages_needed: must be one of "all", not "most"',
        "server[0].health.vantages_needed: must be between 0.01 and 0.99, not 1.5",
        'target[0].health.stale_after: must be a duration such as "10s", not 5',
    ]


def test_a_member_that_is_no_target(command: Command, tmp_path: Path) -> None:
    """A group names targets, and at least two."""
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(FLEET.replace('"main", "spare"', '"main", "spaer"'))
    done = command("apply", str(fleet))
    said = 'origin_group[0].members[1]: "spaer" is no [[target]] key; did you mean "spare"?'
    assert done.stderr == f"sonde-collector: {fleet}: {said}\n"
    fleet.write_text(FLEET.replace('"main", "spare"', '"main"'))
    assert (
        "origin_group[0].members: must name two targets or more, not 1" in command("apply", str(fleet)).stderr
    )
