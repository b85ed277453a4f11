"""The packages, built once, and a machine that they are installed on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.debs import build
from support.machine import Machine, missing
from support.programs import eventually

from sonde_lab.lab import Lab


@pytest.fixture(scope="session")
def debs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All packages, built from this tree."""
    return build(tmp_path_factory.mktemp("debs"))


@pytest.fixture(scope="session")
def vantage(lab: Lab) -> Iterator[Path]:
    """The network namespace of the lab's vantage ams."""
    keeper = lab.popen("ams", ["sleep", "infinity"])
    netns = Path(f"/proc/{keeper.pid}/ns/net")
    try:
        eventually(lambda: netns.readlink() != Path("/proc/self/ns/net").readlink(), 10, "it stays here")
        yield netns
    finally:
        keeper.kill()
        keeper.wait()


@pytest.fixture(scope="session")
def bare(vantage: Path, debs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that has the packages at hand and not installed."""
    if os.geteuid():
        pytest.skip("needs root")
    if lacking := missing():
        pytest.skip(f"needs {', '.join(lacking)}")
    folder = debs["sonde-agent"].parent
    with Machine(tmp_path_factory.mktemp("machine"), folder, vantage) as machine:
        machine.write("/etc/dpkg/dpkg.cfg.d/test", "force-unsafe-io\n")  # its disk is memory
        yield machine


@pytest.fixture(scope="module")
def machine(bare: Machine) -> Machine:
    """The machine with agent and collector installed by apt, which finds no archive in the lab."""
    apt = "apt-get -qq install --yes --no-install-recommends"
    bare.said("sh", "-c", f"{apt} /packages/sonde-agent_*.deb /packages/sonde-collector_*.deb", within_s=150)
    return bare
