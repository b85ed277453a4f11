"""The demo's configuration files."""

import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde_agent.config import load as load_agent
from sonde_collector.config import load_config as load_collector
from sonde_collector.inventory.fleet_file import load_fleet
from sonde_lab.demo import direct, files


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's: 107 bytes in all."""
    with tempfile.TemporaryDirectory(prefix="sonde-") as name:
        yield Path(name)


def test_the_programs_take_the_files(short_path: Path) -> None:
    """Collector and agents read what the demo writes, also where the folder's name holds quotes."""
    folder = short_path / 'a "quoted" \\ folder'
    folder.mkdir()
    places = files.Places(folder, f"unix:{folder}/collector.sock", "127.0.0.1:7480", {"nyc1": ""})
    places.collector_toml.write_text(files.collector(places))
    places.agent_toml("nyc1").write_text(files.agent(places, "nyc1", direct.AGENT))
    places.fleet_toml.write_text(direct.fleet(folder, edge_port=8443, ping=True, ipv6=True))
    assert load_collector(places.collector_toml).state_dir == folder / "collector"
    assert load_agent(places.agent_toml("nyc1")).vantage == "nyc1"
    assert {server.key for server in load_fleet(places.fleet_toml).server} >= {"lab-de-1", "lab-se-v6"}


@pytest.mark.parametrize(
    ("ping", "ipv6", "plans"),
    [
        (True, True, ["endpoints", "ping-ipv4", "ping-ipv6"]),
        (True, False, ["endpoints", "ping-ipv4"]),
        (False, True, ["endpoints"]),
    ],
)
def test_what_the_host_lacks_is_not_planned(tmp_path: Path, ping: bool, ipv6: bool, plans: list[str]) -> None:  # noqa: FBT001 (a parameter set)
    """Ping without a right to ping, and IPv6 without ::1, are left out of the plans."""
    fleet = tomllib.loads(direct.fleet(tmp_path, edge_port=8443, ping=ping, ipv6=ipv6))
    assert [each["key"] for each in fleet["plan"]] == plans
