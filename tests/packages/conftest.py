"""A machine that the packages are installed on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.lab import network_of
from support.machine import Machine, missing

from sonde_lab.lab import Lab


@pytest.fixture(scope="session")
def vantage(lab: Lab) -> Iterator[Path]:
    """The network namespace of the lab's vantage ams."""
    with network_of(lab, "ams") as netns:
        yield netns


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
