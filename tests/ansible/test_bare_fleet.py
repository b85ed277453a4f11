"""The playbooks on hosts that have nothing: a fleet, a broken version, the way back, a good one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.bare_hosts import BareHosts, bare_hosts, lacking
from support.broken_agent import broken
from support.controller import Controller
from support.debs import build
from support.programs import eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.soak,
    pytest.mark.xdist_group("packages"),
    pytest.mark.timeout(1800),
]

FIRST, SECOND = "collector.example.com", "ams1.example.com"
HOSTS = {FIRST: "10", SECOND: "11"}
VANTAGES = {FIRST: "fra1", SECOND: "ams1"}
FLEET = """
[[vantage]]
code = "fra1"
city = "Frankfurt"
country = "DE"
[[vantage]]
code = "ams1"
city = "Amsterdam"
country = "NL"
[[target]]
key = "site"
kind = "http"
url = "https://www.example.com/"
[[plan]]
key = "endpoints"
checks = ["endpoint"]
targets = "*"
every = "2s"
timeout = "1s"
"""


class Fleet:
    """Two bare hosts, and the operator's place with the inventory of both."""

    def __init__(self, bare: BareHosts, controller: Controller) -> None:
        self.first, self.second = (bare.hosts[name] for name in HOSTS)
        self._controller = controller

    def play(self, playbook: str, *options: str, **variables: Any) -> tuple[bool, str, dict[str, int]]:
        """Run a playbook: whether it reached its end, all it said, how much it changed on each host."""
        played = self._controller.play(playbook, *options, within_s=600, **variables)
        return played.well, played.text, played.changed

    def rows(self, vantage: str) -> int:
        """How many results of a vantage are in the database."""
        query = (
            "SELECT count(*) FROM sonde.endpoint_checks JOIN probe_locations ON id = probe_id "
            f"WHERE ok AND code = '{vantage}'"
        )
        return int(self.first.said("sonde-collector", "sql", query))

    def grows(self, vantage: str) -> None:
        """Wait until more of a vantage arrives."""
        before = self.rows(vantage)
        eventually(
            lambda: self.rows(vantage) > before + 1, 60, lambda: self.first.said("sonde-collector", "agents")
        )

    def versions(self) -> list[str]:
        """Of the agents' packages, the first ring's first."""
        asked = ("dpkg-query", "-W", "-f", "${Version}", "sonde-agent")
        return [machine.said(*asked).rpartition("u")[2] for machine in (self.first, self.second)]


@pytest.fixture(scope="module")
def fleet(debs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The hosts, bare; nothing is played yet."""
    if os.geteuid():
        pytest.skip("needs root")
    if without := lacking():
        pytest.skip(f"needs {', '.join(without)}")
    place = Path(tempfile.mkdtemp(prefix="sonde-"))
    try:
        with bare_hosts(tmp_path_factory.mktemp("hosts"), HOSTS) as bare:
            controller = Controller(place, bare.netns)
            for machine in bare.hosts.values():
                controller.let_in(machine)
            (place / "fleet.toml").write_text(FLEET)
            addresses = {name: {"ansible_host": address} for name, address in bare.addresses.items()}
            collector = {
                "sonde_collector_package": str(debs["sonde-collector"]),
                "sonde_collector_fleet": str(place / "fleet.toml"),
            }
            agents = {
                name: addresses[name]
                | {
                    "sonde_agent_package": str(debs["sonde-agent"]),
                    "sonde_agent_vantage": VANTAGES[name],
                    "sonde_agent_collector": FIRST,
                    "sonde_agent_ring": ring,
                }
                for ring, name in enumerate(HOSTS)
            }
            controller.inventory(
                {"sonde_collectors": {FIRST: addresses[FIRST] | collector}, "sonde_agents": agents}
            )
            yield Fleet(bare, controller)
            controller.leave()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_two_bare_hosts_become_a_fleet(fleet: Fleet) -> None:
    """One playbook: the collector takes what both agents measure. A second run changes nothing."""
    well, said, changed = fleet.play("site")
    assert well, said
    assert all(changed[name] > 0 for name in HOSTS)
    for vantage in VANTAGES.values():
        fleet.grows(vantage)
    well, said, changed = fleet.play("site")
    assert well, said
    assert changed == dict.fromkeys(HOSTS, 0), said


def test_a_broken_version_stops_at_the_first_ring(fleet: Fleet, tmp_path: Path) -> None:
    """It starts and sends nothing: the gate sees it, the next ring is untouched, a rollback loses nothing."""
    agent = ("sonde-agent.service", "MainPID", "ActiveEnterTimestamp")
    before, rows = fleet.second.properties(*agent), fleet.rows("fra1")
    bad = broken(build(tmp_path, "--only", "sonde-agent", "--revision", "2")["sonde-agent"])
    well, said, changed = fleet.play("update", sonde_agent_package=str(bad), sonde_gate_timeout_s=30)
    assert not well
    assert (
        "The update, in ring 0, stops: collector.example.com (vantage fra1): it sends no results" in said
    ), said
    assert fleet.versions() == ["2", "1"]
    assert changed.get(SECOND, 0) == 0
    assert fleet.second.properties(*agent) == before
    fleet.grows("ams1")

    well, said, _ = fleet.play("rollback", "--limit", FIRST)
    assert well, said
    assert fleet.versions() == ["1", "1"]
    fleet.grows("fra1")
    # What the broken one measured and kept has come too.
    assert fleet.rows("fra1") > rows + 10
    assert fleet.first.said("sonde-collector", "sql", "SELECT count(*) FROM sonde.gaps") == "0\n"


def test_a_good_version_reaches_all_rings(fleet: Fleet, tmp_path: Path) -> None:
    """The same playbook with a version that works ends with it on both hosts, and both deliver."""
    good = build(tmp_path, "--only", "sonde-agent", "--revision", "3")["sonde-agent"]
    well, said, _ = fleet.play("update", sonde_agent_package=str(good))
    assert well, said
    assert fleet.versions() == ["3", "3"]
    for vantage in VANTAGES.values():
        fleet.grows(vantage)
