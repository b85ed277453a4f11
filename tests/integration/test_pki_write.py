"""`pki init --write` as a person calls it."""

import subprocess
import sys
from pathlib import Path

from sonde_collector.config import load_config


def _init(config: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "sonde_collector.cli", "pki", "init", "--config", str(config)]
    argv += ["--name", "c.example", "--write", "--dir", str(config.parent / "pki")]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_makes_a_file_that_serves(tmp_path: Path) -> None:
    """Where there is none it is the template with these lines, and the collector reads it; twice is once."""
    config = tmp_path / "collector.toml"
    done = _init(config)
    assert done.returncode == 0, done.stderr
    assert "wrote" in done.stdout
    assert "agents connect to 0.0.0.0:7443, and enrol at 0.0.0.0:7444" in done.stdout
    text = config.read_text()
    assert text.count("#") > 20  # its comments are there
    assert load_config(config).grpc.tls_cert == tmp_path / "pki" / "collector.pem"
    assert _init(config).returncode == 0
    assert config.read_text() == text


def test_a_file_that_can_not_be_changed_makes_nothing(tmp_path: Path) -> None:
    """No key is made, no line is written, when the lines can't be put where they belong."""
    config = tmp_path / "collector.toml"
    config.write_text('state_dir = "state"\ngrpc = { listen = ["127.0.0.1:7443"] }\n')
    done = _init(config)
    assert done.returncode == 1
    assert "by hand" in done.stderr
    assert not (tmp_path / "pki").exists()


def test_a_file_that_is_no_text_makes_nothing(tmp_path: Path) -> None:
    """One line that says so."""
    config = tmp_path / "collector.toml"
    config.write_bytes(b"\xff\xfe")
    done = _init(config)
    assert "is no UTF-8 text" in done.stderr
    assert "mistake of ours" not in done.stderr
    assert done.returncode in (1, 2)
    assert not (tmp_path / "pki").exists()
