"""`api-key`: keys made, listed and removed as an operator does it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sonde_collector.access import tokens
from sonde_collector.cli import main

pytestmark = pytest.mark.postgres


class Cli:
    """The command on one database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.config = folder / "collector.toml"
        self.config.write_text(f'state_dir = "state"\n[database]\nurl = "{url}"\n')

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `api-key` with arguments; it never shows a traceback."""
        command = [
            sys.executable,
            "-m",
            "sonde_collector.cli",
            "api-key",
            *arguments,
            "--config",
            str(self.config),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Cli:
    """Give the command on a fresh database."""
    return Cli(database_url, tmp_path)


def test_a_key_from_its_making_to_its_end(cli: Cli) -> None:
    """A token is printed once, alone on standard output; the list never shows it; its name is free after."""
    made = cli("add", "website", "--rate", "60/min", "--expires", "90d")
    token = made.stdout.strip()
    assert made.returncode == 0
    assert tokens.bearer(f"Bearer {token}") == token
    assert "60 requests a minute" in made.stderr
    listed = cli("ls").stdout
    assert token not in listed
    assert "website  active  60/min" in listed
    again = cli("add", "website")
    assert again.returncode == 1
    assert '"website" is in use' in again.stderr
    assert cli("rm", "website").stdout == "website is refused from now on\n"
    gone = cli("rm", "website", "nobody")
    assert gone.returncode == 1
    assert gone.stderr.count("\n") == 2
    other = json.loads(cli("add", "website", "--json").stdout)
    assert other["token"] != token
    assert (other["rate_per_minute"], other["expires_at"]) == (600, None)
    assert [row["state"] for row in json.loads(cli("ls", "--all", "--json").stdout)] == ["active", "revoked"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("add",),
        ("add", ""),
        ("add", "-x"),
        ("add", "a b"),
        ("add", "x" * 51),
        ("add", "ok", "--rate", "0"),
        ("add", "ok", "--rate", "10/s"),
        ("add", "ok", "--rate", "2000000"),
        ("add", "ok", "--expires", "soon"),
        ("add", "ok", "--expires", "0s"),
        ("rm",),
    ],
)
def test_bad_usage_is_told(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """What can't be is told with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(["api-key", *arguments])
    assert ended.value.code == 2
    assert capsys.readouterr().err
