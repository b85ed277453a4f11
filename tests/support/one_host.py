"""One host that is collector and vantage, and what its operator has written for the playbooks."""

import shutil
import subprocess
from pathlib import Path

from attrs import frozen
from support.controller import Controller
from support.machine import Machine

from sonde_lab.lab import Lab

FLEET = """
[[vantage]]
code = "nyc"
city = "New York"
country = "US"
[[provider]]
key = "lab"
name = "Lab"
[[provider.account]]
key = "lab-ovpn"
sessions = 5
[[provider.source]]
path = "profiles/lab-ovpn"
account = "lab-ovpn"
pattern = "{country}-{city}-*"
cities = { fra = "Frankfurt" }
[[target]]
key = "closed"
kind = "tcp"
host = "127.2.0.1"
port = 1
[[plan]]
key = "tunnels"
checks = ["connection", "ping"]
every = "20s"
servers = "*"
ping = { count = 3, spacing = "100ms", wait = "1s" }
connection = { handshake_timeout = "8s", exit_url = "http://203.0.113.1/ip" }
[[plan]]
key = "ports"
checks = ["endpoint"]
targets = "*"
every = "1s"
timeout = "1s"
"""
PROFILE = "de-fra-udp-001"


@frozen
class Site:
    """What the tests share.

    Attributes:
        machine: the host.
        controller: the operator's place.
        password: of the account, which no output may hold.
        broken: a newer package of the agent, whose service exits at its start.
    """

    machine: Machine
    controller: Controller
    password: str
    broken: Path

    def sql(self, query: str) -> list[list[str]]:
        """What the collector's database answers."""
        ask = ("sonde-collector", "--config", "/etc/sonde/collector.toml", "sql", query)
        told = self.machine.said(*ask, user="sonde-collector")
        return [line.split("\t") for line in told.splitlines()]

    def version(self) -> str:
        """Which package of the agent is installed."""
        return self.machine.said("dpkg-query", "--show", "--showformat=${Version}", "sonde-agent")


def configure(controller: Controller, lab: Lab, debs: dict[str, Path]) -> str:
    """Write inventory, fleet file, profiles and vault; give the account's password."""
    place = controller.folder
    (place / "fleet.toml").write_text(FLEET)
    profiles = place / "profiles" / "lab-ovpn"
    profiles.mkdir(parents=True)
    (source,) = (lab.profiles / "lab-ovpn").glob(f"{PROFILE}*")
    shutil.copy(source, profiles)
    secrets = lab.folder / "secrets"
    username, password = ((secrets / f"lab.{part}").read_text().strip() for part in ("username", "password"))
    vault = place / "group_vars" / "sonde_agents" / "vault.yml"
    vault.parent.mkdir(parents=True)
    vault.write_text(f'vault_username: "{username}"\nvault_password: "{password}"\n')
    controller.encrypt(vault, profiles / source.name)
    account = {
        "profiles": "{{ inventory_dir }}/profiles/lab-ovpn",
        "username": "{{ vault_username }}",
        "password": "{{ vault_password }}",
    }
    one = {
        "sonde_collector_package": str(debs["sonde-collector"]),
        "sonde_collector_names": ["collector.test"],
        "sonde_collector_free_mb": 500,  # its disk is memory
        "sonde_collector_fleet": "{{ inventory_dir }}/fleet.toml",
        "sonde_collector_fleet_folders": ["profiles/lab-ovpn"],
        "sonde_agent_package": str(debs["sonde-agent"]),
        "sonde_agent_vantage": "nyc",
        "sonde_agent_collector": "collector.test",
        "sonde_agent_config": {"policy": {"allow": ["127.0.0.0/8"]}, "limits": {"tunnels": 1}},
        "sonde_agent_credentials": {"lab-ovpn": account},
    }
    # Nothing answers at the second one's address: what an update does to it would fail.
    two = {"ansible_host": "127.9.9.9", "sonde_agent_ring": 1, "sonde_agent_vantage": "later"}
    controller.inventory({"sonde_collectors": {"one": one}, "sonde_agents": {"one": {}, "two": two}})
    return password


def broken_package(package: Path, folder: Path) -> Path:
    """Pack the agent anew as a later version, whose service says why it ends."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control, program = tree / "DEBIAN" / "control", tree / "usr" / "bin" / "sonde-agent"
    version = package.name.split("_")[1]
    later = version.replace("0.1.0", "0.1.1", 1)
    assert later != version
    control.write_text(control.read_text().replace(f"Version: {version}\n", f"Version: {later}\n"))
    start = '#!/bin/sh\nif [ "$1 $2" = "run --config" ]; then echo "deliberately broken" >&2; exit 1; fi\n'
    program.write_text(start + program.read_text().partition("\n")[2])
    file = folder / package.name.replace(version, later)
    pack = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, file]
    subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
    return file
