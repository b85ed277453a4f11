"""What CONTRIBUTING.md has a newcomer type, and write, works as it stands there."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from sonde_agent.config import PolicyRules, Unlock
from sonde_collector.cli import main, parser
from sonde_proto import toml_config

TEXT = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text()
SECTION = re.split(r"^## ", TEXT.split("## A new platform in ten minutes\n")[1], flags=re.MULTILINE)[0]
BLOCKS = [
    (kind, block)
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", SECTION, flags=re.MULTILINE | re.DOTALL)
]
COMMANDS = [
    line.partition("#")[0].replace("sudo .venv/bin/", "").strip()
    for kind, block in BLOCKS
    for line in block.splitlines()
    if not kind and "sonde-collector rules" in line
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one(command: str) -> None:
    """Each line that is to be typed is understood by the program."""
    program, *words = shlex.split(command)
    assert program == "sonde-collector"
    assert parser().parse_args(words).run


def test_the_section_shows_what_it_speaks_of() -> None:
    """There are commands to type, a rule's part and an agent's part to write."""
    assert len(COMMANDS) >= 9
    assert [kind for kind, _ in BLOCKS if kind] == ["yaml", "toml"]


def test_the_rule_that_it_writes_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scaffold, with what stands in CONTRIBUTING put in, lints and passes with mutations."""
    (new,) = (shlex.split(line)[1:] for line in COMMANDS if " new " in line)
    assert main([*new, "--into", str(tmp_path)]) == 0
    (written,) = (block for kind, block in BLOCKS if kind == "yaml")
    parts = dict(re.findall(r"^(\w+):\n(.*?)(?=^\w|\Z)", written, flags=re.MULTILINE | re.DOTALL))
    assert set(parts) == {"provenance", "evidence", "verdicts"}
    rule, cassettes = tmp_path / "platforms/acme-tv.yaml", tmp_path / "cassettes/acme-tv.yaml"
    text = rule.read_text()
    for key, part in parts.items():
        put = f"{key}:\n{part}"
        text = re.sub(rf"^{key}:\n(?:[ #].*\n)+", lambda _, put=put: put, text, flags=re.MULTILINE)
    rule.write_text(text)
    (ready,) = re.findall(r"the few lines of the page around the marker: `([^`]+)`", SECTION)
    page = cassettes.read_text().replace("REPLACE_ME_AVAILABLE", ready)
    (notice,) = re.findall(r"body: '([a-z-]+)'", written)
    cassettes.write_text(page.replace("REPLACE_ME_NOT_IN_REGION", notice))
    assert main(["rules", "lint", str(rule)]) == 0, capsys.readouterr().out
    assert main(["rules", "test", str(rule), "--mutate"]) == 0, capsys.readouterr().out


def test_what_an_agent_is_given_is_read() -> None:
    """The tables for agent.toml hold keys that an agent knows."""
    (written,) = (block for kind, block in BLOCKS if kind == "toml")
    tables = tomllib.loads(written.replace("ed25519:…", "ed25519:" + "A" * 43 + "="))
    assert set(tables) == {"policy", "unlock"}
    assert "unlock" in toml_config.parse(tables["policy"], PolicyRules).checks
    assert toml_config.parse(tables["unlock"], Unlock).pack == Path("/etc/sonde/unlock.pack")
