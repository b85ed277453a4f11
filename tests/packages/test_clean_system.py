"""The packages on a Debian that has nothing else: made anew, without compiler, pip or archive."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from support.machine import Machine

pytestmark = [
    pytest.mark.root,
    pytest.mark.soak,
    pytest.mark.xdist_group("packages"),
    pytest.mark.timeout(900),
]

HAS = "systemd,systemd-sysv,dbus,python3"


def test_they_install_on_a_clean_system(vantage: Path, debs: dict[str, Path], tmp_path: Path) -> None:
    """Apt takes all three, from these files alone; both programs run, and the collector as a service."""
    if shutil.which("mmdebstrap") is None:
        pytest.skip("needs mmdebstrap")
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    system = tmp_path / "system.tar"
    make = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={HAS}", release, system]
    subprocess.run(make, check=True, timeout=600)
    folder = tmp_path / "machine"
    folder.mkdir()
    with Machine(folder, debs["sonde-agent"].parent, vantage, system) as machine:
        for tool in ("gcc", "pip3"):
            assert machine.run("which", tool).returncode
        machine.said(
            "sh", "-c", "apt-get install --yes --no-install-recommends /packages/*.deb", within_s=300
        )
        assert "2 received" in machine.said("sonde-agent", "check", "ping", "127.0.0.1", "--count", "2")
        example = "/usr/share/doc/sonde-collector/examples/collector.toml"
        machine.write("/etc/sonde/collector.toml", (machine.root / example.lstrip("/")).read_text())
        machine.start("sonde-collector")
        unlock = "import re2, curl_cffi, sonde_unlock"
        machine.said("/usr/lib/sonde-agent/bin/python", "-I", "-c", unlock)
