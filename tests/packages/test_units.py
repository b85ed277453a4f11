"""The units as systemd judges them, without starting any."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from sonde_agent.systemd import placed

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
MOST = {"sonde-agent.service": 1.6, "sonde-collector.service": 1.6, "sonde-tunnel-helper.service": 4.0}

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")


@pytest.mark.parametrize("unit", sorted(MOST))
def test_the_exposure_of_a_unit_is_low(unit: str) -> None:
    """`systemd-analyze security` gives 1.6 or less to agent and collector, 4 or less to the helper."""
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", SYSTEMD / unit]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout
    assert float(found[1]) <= MOST[unit], done.stdout


def test_every_service_here_is_judged() -> None:
    """No unit escapes the test above."""
    assert {file.name for file in SYSTEMD.glob("*.service")} == set(MOST)


def test_systemd_knows_every_directive(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say: a name that it does not know it passes over at a start."""
    for file in SYSTEMD.glob("*.s[eo]*"):
        if file.suffix in (".service", ".socket"):
            text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", file.read_text(), flags=re.MULTILINE)
            text = re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE)
            (tmp_path / file.name).write_text(text)
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *tmp_path.iterdir()]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_wheel_carries_the_units_that_the_package_has() -> None:
    """What install-service writes is made of the very files of systemd/, but for the program's place."""
    python = Path("/opt/sonde/bin/python")
    for place, text in placed.files(python).items():
        (source,) = [file for file in SYSTEMD.iterdir() if _same(file, place)]
        assert source.is_symlink()
        assert placed.rendered(source.read_text(), python) == text
        assert "/usr/bin/sonde-agent" not in text
    for unit in placed.UNITS:
        assert (SYSTEMD / unit).exists()


def _same(source: Path, place: Path) -> bool:
    """Whether a file of systemd/ is what goes to `place`: by its name, or by the folder that it is for."""
    return source.name in (place.name, f"sonde-agent.{place.parent.name.removesuffix('.d')}")
