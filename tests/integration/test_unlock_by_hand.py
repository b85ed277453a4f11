"""`sonde-agent check unlock`, as a person types it, where every platform is on this machine."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.programs import BIN

from sonde_unlock import pack
from sonde_unlock.reading import read_rule

pytestmark = pytest.mark.root

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "golden" / "unlock"
SECRET = "an-operators-own-session"


@dataclass
class World:
    """A folder with cassettes, a pack, its key and an agent.toml."""

    folder: Path
    key: str

    def check(self, *words: str, config: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `sonde-agent check unlock WORDS` inside."""
        command = [BIN / "sonde-agent", "check", "unlock", *words]
        if config:
            command += ["--config", self.folder / "agent.toml"]
        world = [sys.executable, "-m", "support.unlock_world", self.folder / "cassettes", *command]
        return subprocess.run(world, cwd=TESTS, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two platforms, a pack with their rules, and an agent that believes its key."""
    (tmp_path / "cassettes").mkdir()
    shutil.copy(GOLDEN / "cassettes.yaml", tmp_path / "cassettes" / "hbo-max.yaml")
    rules = [read_rule((GOLDEN / f"{slug}.yaml").read_text(), slug) for slug in ("hbo-max", "netflix")]
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    body = pack.build(rules, "7", "2026-11-21")
    (tmp_path / "rules.pack").write_bytes(pack.sign(body, key))
    (tmp_path / "unsigned.pack").write_bytes(body)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "agent.toml").write_text(
        f'collector = "nonsense, but not this command\'s business"\n'
        f'[policy]\nrule_keys = ["{pack.public_key(key)}"]\n'
        f'[unlock]\npack = "rules.pack"\nsecrets = "secrets"\nca_file = "cassettes/ca.pem"\n'
        f'trusted_resolver = ""\n'
    )
    return World(tmp_path, pack.public_key(key))


def test_the_report_says_verdict_why_and_what_it_can_not_show(world: World) -> None:
    """Four steps with a token between them, each in place: available, with the step that decided."""
    done = world.check("hbo-max")
    assert done.returncode == 0, done.stderr
    assert "unmatched" not in done.stderr
    for words in ("✓ available", "US", "why", "evidence", "can't show", "TLS as chrome", "via"):
        assert words in done.stdout, done.stdout


def test_json_holds_the_row(world: World) -> None:
    """For programs: fields as in results.proto, the evidence as an object."""
    done = world.check("hbo-max", "--json")
    [told] = json.loads(done.stdout)
    row = told["unlock"]
    assert (row["platform"], row["verdict"], row["fidelity"]) == ("hbo-max", "available", "browser_tls")
    assert row["evidence"]["decided"]["host"]


def test_trace_and_recording_hold_every_exchange_and_no_secret(world: World) -> None:
    """The trace names no token; the recording is its owner's, and the operator's secret is in neither."""
    (world.folder / "secrets" / "hbo-max.playback_st").write_text(SECRET)
    file = world.folder / "exchanges.json"
    done = world.check("hbo-max", "--trace", "--record", str(file))
    recorded: list[dict[str, Any]] = json.loads(file.read_text())["exchanges"]
    steps = [one["request"]["step"] for one in recorded]
    assert {"token", "boot", "me"} <= set(steps)
    assert file.stat().st_mode & 0o077 == 0
    assert SECRET not in file.read_text() + done.stderr + done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("hbo-max")]
    assert len(lines) == len(recorded)
    assert "sonde-token" not in done.stderr
    assert all("ms; 127.0.0.80" in line for line in lines)


def test_what_says_nothing_of_the_exit_fails(world: World) -> None:
    """A platform that nobody plays here answers nonsense: no verdict on the exit, exit code 1."""
    done = world.check("netflix")
    assert done.returncode == 1
    assert "? " in done.stdout


def test_a_family_without_addresses_is_told(world: World) -> None:
    """The names here have no IPv6 address: that is a word on the platform, and no failure."""
    done = world.check("hbo-max", "--family", "6", "--json")
    row = json.loads(done.stdout)[0]["unlock"]
    assert (row["family"], row["verdict"]) == (6, "unsupported_family")
    assert done.returncode == 0


def test_options_outrank_the_file(world: World) -> None:
    """Pack, key and authorities by hand, without any agent.toml; an unsigned pack only when told to."""
    given = ["--ca-file", str(world.folder / "cassettes" / "ca.pem"), "--trusted-resolver", ""]
    (world.folder / "cassettes" / "ca.pem").touch()
    signed = ["--pack", str(world.folder / "rules.pack"), "--rule-key", world.key]
    assert world.check("hbo-max", *given, *signed, config=False).returncode == 0
    unsigned = ["--pack", str(world.folder / "unsigned.pack")]
    assert world.check("hbo-max", *given, *unsigned, "--unsigned", config=False).returncode == 0
    refused = world.check("hbo-max", *given, *unsigned, "--rule-key", world.key, config=False)
    assert refused.returncode == 2
    assert "no signed pack" in refused.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nope"], "pack 7 has no rule nope; it has hbo-max, netflix"),
        ([], "give the slugs of rules, or --all"),
        (["hbo-max", "--all"], "give slugs or --all, not both"),
        (["hbo-max", "--rule-key", "x"], "--rule-key[0]: must be"),
        (["hbo-max", "--trusted-resolver", "name"], "--trusted-resolver: must be an address"),
        (["hbo-max", "--record", "/nowhere/x"], "--record /nowhere/x: its folder can't be written to"),
        (["hbo-max", "--pack", "/nowhere"], "--pack /nowhere: no file that can be read"),
    ],
)
def test_wrong_usage_is_one_line(world: World, words: list[str], complaint: str) -> None:
    """It says what is wrong; exit code 2, nothing asked."""
    done = world.check(*words)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
