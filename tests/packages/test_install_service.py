"""A host without our package: pip, then `sonde-agent install-service`, under systemd."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.debs import ROOT
from support.machine import Machine, missing
from support.programs import eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.quiet,
    pytest.mark.xdist_group("packages"),
    pytest.mark.timeout(400),
]

WHEELS = ROOT / "var" / "deb"
AGENT = 'collector = "127.0.0.1:7443"\nvantage = "here"\n'
INSTALL = ("/opt/sonde/bin/sonde-agent", "install-service")


@pytest.fixture(scope="module")
def host(vantage: Path, debs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the agent in /opt/sonde, by pip, of the wheels that the packages were made of."""
    if os.geteuid():
        pytest.skip("needs root")
    if lacking := missing():
        pytest.skip(f"needs {', '.join(lacking)}")
    folder = debs["sonde-agent"].parent
    with Machine(tmp_path_factory.mktemp("host"), folder, vantage) as machine:
        machine.said("/usr/bin/python3", "-m", "venv", "/opt/sonde")
        for wheel in WHEELS.rglob("*.whl"):  # where this tree lies the machine may have a mount of its own
            shutil.copy(wheel, machine.root / "packages" / wheel.name)
        pip = ("/opt/sonde/bin/python", "-m", "pip", "-qq", "--isolated", "install", "--no-index")
        machine.said(*pip, "--find-links=/packages", "sonde-agent", within_s=120)
        yield machine


def test_install_service_makes_a_service_that_runs(host: Machine) -> None:
    """Units, user and sysctl are there; the second run changes nothing; agent and helper start."""
    first = host.said(*INSTALL)
    assert first.count("wrote ") == 5
    assert "all of it is there already" in host.said(*INSTALL)
    host.write("/etc/sonde/agent.toml", AGENT)
    host.start("sonde-agent", "sonde-tunnel-helper")
    for unit in ("sonde-agent.service", "sonde-tunnel-helper.service"):
        state = host.properties(unit, "ActiveState", "MainPID")
        assert state["ActiveState"] == "active"
        assert "/opt/sonde/bin/python" in host.said("cat", f"/proc/{state['MainPID']}/cmdline")
    assert "2 sent · 2 received" in host.said(
        "/opt/sonde/bin/sonde-agent", "check", "ping", "127.0.0.1", "--count", "2", user="sonde-agent"
    )
    eventually(lambda: "started" in host.journal("sonde-agent"), 20, lambda: host.journal("sonde-agent"))


def test_uninstall_takes_the_units_and_keeps_the_results(host: Machine) -> None:
    """What ran is stopped; configuration, spool and user stay, as it says; a second time there is nothing."""
    told = host.said(*INSTALL, "--uninstall")
    assert told.count("removed ") == 5
    assert host.run("systemctl", "is-active", "sonde-agent", "sonde-tunnel-helper.socket").stdout.split() == [
        "inactive",
        "inactive",
    ]
    assert (host.root / "var/lib/sonde-agent/spool.sqlite").exists()
    assert (host.root / "etc/sonde/agent.toml").exists()
    assert "nothing to remove" in host.said(*INSTALL, "--uninstall")


def test_a_file_of_somebody_else_is_left_alone(host: Machine) -> None:
    """A unit of the same name that we did not write: one line, and nothing is written or removed."""
    host.write("/etc/systemd/system/sonde-agent.service", "[Service]\nExecStart=/bin/true\n")
    for options in ((), ("--uninstall",)):
        done = host.run(*INSTALL, *options)
        assert done.returncode == 1
        assert "/etc/systemd/system/sonde-agent.service is not ours" in done.stderr
    assert "/bin/true" in host.said("cat", "/etc/systemd/system/sonde-agent.service")
    assert not (host.root / "etc/systemd/system/sonde-tunnel-helper.socket").exists()
    host.said("rm", "/etc/systemd/system/sonde-agent.service")


def test_an_environment_that_others_may_write_is_refused(host: Machine) -> None:
    """The helper would run it as root: each folder is named."""
    host.said("chmod", "g+w", "/opt/sonde/bin")
    done = host.run(*INSTALL)
    assert done.returncode == 1
    assert "only root may write /opt/sonde/bin" in done.stderr
    assert not (host.root / "etc/systemd/system/sonde-agent.service").exists()
    host.said("chmod", "g-w", "/opt/sonde/bin")
