"""The demo's configuration files."""

import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sonde_agent.config import load as load_agent
from sonde_collector.config import load_config as load_collector
from sonde_collector.inventory.fleet_file import load_fleet
from sonde_lab import demo_files


def plan(folder: Path, *, ping: bool = True, ipv6: bool = True) -> demo_files.Plan:
    """Return a plan as the demo makes it."""
    return demo_files.Plan(
        folder=folder,
        grpc=f"unix:{folder}/collector.sock",
        http="127.0.0.1:7480",
        metrics=("", "127.0.0.1:7482"),
        edge_port=8443,
        ping=ping,
        ipv6=ipv6,
    )


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's: 107 bytes in all."""
    with tempfile.TemporaryDirectory(prefix="sonde-") as name:
        yield Path(name)


def test_the_programs_take_the_files(short_path: Path) -> None:
    """Collector and agents read what the demo writes, also where the folder's name holds quotes."""
    folder = short_path / 'a "quoted" \\ folder'
    folder.mkdir()
    written = plan(folder)
    demo_files.write(written)
    assert load_collector(written.collector_toml).state_dir == folder / "collector"
    assert load_agent(written.agent_toml("nyc1")).vantage == "nyc1"
    assert {server.key for server in load_fleet(written.fleet_toml).server} >= {"lab-de-1", "lab-se-v6"}


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
    fleet = tomllib.loads(demo_files.fleet(plan(tmp_path, ping=ping, ipv6=ipv6)))
    assert [each["key"] for each in fleet["plan"]] == plans
