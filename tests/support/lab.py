"""One lab for each worker that runs tests with it: a virtual internet with VPN servers."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import eventually

from sonde_lab.lab import Lab, missing_programs


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab with two vantages and everything that misbehaves; it ends with this process."""
    if os.geteuid():
        pytest.skip("needs root")
    missing = missing_programs()
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="sonde-lab-"))  # short: paths of sockets end at 107 bytes
    try:
        with Lab.up(folder) as up:
            yield up
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def network_of(lab: Lab, vantage: str) -> Iterator[Path]:
    """Give the file of the network namespace that a vantage is in."""
    keeper = lab.popen(vantage, ["sleep", "infinity"])
    netns = Path(f"/proc/{keeper.pid}/ns/net")
    try:
        eventually(lambda: netns.readlink() != Path("/proc/self/ns/net").readlink(), 10, "it stays here")
        yield netns
    finally:
        keeper.kill()
        keeper.wait()
