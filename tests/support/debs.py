"""The Debian packages, built as `make deb` builds them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "packaging" / "deb" / "build.py"


def build(out: Path, *options: str) -> dict[str, Path]:
    """Build packages; give each .deb by its package's name."""
    argv = [sys.executable, str(BUILD), "--fast", "--out", str(out), *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode and "apt install" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    return {file.name.split("_")[0]: file for file in out.glob("*.deb")}


@pytest.fixture(scope="session")
def debs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All packages, built from this tree."""
    return build(tmp_path_factory.mktemp("debs"))
