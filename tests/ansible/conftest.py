"""A new host, reached by ssh from where its operator sits."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.controller import Controller, lacking
from support.lab import network_of
from support.machine import Machine, missing
from support.one_host import Site, broken_package, configure

from sonde_lab.lab import Lab


@pytest.fixture(scope="module")
def site(lab: Lab, debs: dict[str, Path]) -> Iterator[Site]:
    """A new host, and an inventory with it; secrets and profiles are encrypted by ansible-vault."""
    if os.geteuid():
        pytest.skip("needs root")
    if absent := [*missing(), *lacking()]:
        pytest.skip(f"needs {', '.join(absent)}")
    folder = Path(tempfile.mkdtemp(prefix="sonde-site-"))  # short: paths of sockets end at 107 bytes
    try:
        for name in ("machine", "controller", "broken"):
            (folder / name).mkdir()
        with (
            network_of(lab, "nyc") as netns,
            Machine(folder / "machine", debs["sonde-agent"].parent, netns) as machine,
        ):
            machine.write("/etc/hosts", "127.0.0.1 localhost collector.test\n")
            machine.write("/etc/dpkg/dpkg.cfg.d/test", "force-unsafe-io\n")  # its disk is memory
            controller = Controller(folder / "controller", netns)
            controller.let_in(machine)
            password = configure(controller, lab, debs)
            broken = broken_package(debs["sonde-agent"], folder / "broken")
            try:
                yield Site(machine, controller, password, broken)
            finally:
                controller.leave()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
