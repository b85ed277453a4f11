"""What `pki init --write` makes of collector.toml."""

import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from sonde_collector.config import load_config
from sonde_collector.pki.authority import PkiError
from sonde_collector.pki.folder import Folder
from sonde_collector.pki.settings import as_text, settings, written_into

FOLDER = Folder(Path("/pki"))
PATH = Path("collector.toml")
TEMPLATE = resources.files("sonde_collector").joinpath("collector.template.toml").read_text()


def _init(config: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "sonde_collector.cli", "pki", "init", "--config", str(config)]
    argv += ["--name", "c.example", "--write", "--dir", str(config.parent / "pki")]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("text", ["", TEMPLATE, "# mine\n[http]\nlisten = '127.0.0.1:1'\n[grpc]\n[enroll]"])
def test_they_come_into_any_file(text: str) -> None:
    """Into the template, an empty file, one of somebody's own; all else stays; again changes nothing."""
    written = written_into(text, FOLDER, PATH)
    before, after = tomllib.loads(text), tomllib.loads(written)
    for table, values in settings(FOLDER).items():
        assert after[table] == before.get(table, {}) | values
    assert {key: value for key, value in after.items() if key not in settings(FOLDER)} == {
        key: value for key, value in before.items() if key not in settings(FOLDER)
    }
    assert written_into(written, FOLDER, PATH) == written
    assert tomllib.loads(as_text(FOLDER)) == settings(FOLDER)


def test_addresses_that_somebody_has_set_stay() -> None:
    """Only the defaults, which this host alone reaches, are opened."""
    written = tomllib.loads(written_into('[grpc]\nlisten = ["192.0.2.1:9000"]', FOLDER, PATH))
    assert written["grpc"]["listen"] == ["192.0.2.1:9000"]
    assert written["enroll"]["listen"] == "0.0.0.0:7444"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[grpc]\ntls_cert = "/mine.pem"', 'grpc.tls_cert is "/mine.pem" and not "/pki/collector.pem"'),
        ('grpc.listen = ["127.0.0.1:7443"]', "by hand"),
        ("[grpc", "by hand"),
    ],
)
def test_what_is_there_is_never_overwritten(text: str, why: str) -> None:
    """Other files, or a form that can't be changed: one message that says what to do."""
    with pytest.raises(PkiError, match=why):
        written_into(text, FOLDER, PATH)


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
