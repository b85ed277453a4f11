"""What doctor says of unlock checks, and what the collector is told that this host can."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.unlock_stage import rule

from sonde_agent import unlock_diagnosis
from sonde_agent.capabilities import capabilities
from sonde_agent.config import AgentConfig, PolicyRules, Unlock
from sonde_unlock import pack


@pytest.fixture
def config(tmp_path: Path) -> AgentConfig:
    """A host with a good pack and one secret."""
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    content = {"schema": pack.SCHEMA, "version": "7", "created": "2026-11-21", "rules": [rule(443)]}
    (tmp_path / "x.pack").write_bytes(pack.sign(json.dumps(content).encode(), key))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "acme.token").write_text("x")
    (tmp_path / "secrets" / "acme.token").chmod(0o600)
    return AgentConfig(
        collector="127.0.0.1:1",
        vantage="v",
        state_dir=tmp_path,
        policy=PolicyRules(rule_keys=(pack.public_key(key),)),
        unlock=Unlock(pack=tmp_path / "x.pack", secrets=tmp_path / "secrets", ca_file=tmp_path / "x.pack"),
    )


def found(config: AgentConfig) -> dict[str, tuple[str, str]]:
    """Give name -> state and detail."""
    return {one.name: (one.state, one.detail) for one in unlock_diagnosis.examine(config)}


def test_a_host_that_has_all_is_told_so(config: AgentConfig) -> None:
    """Extra, pack with its age and key, authorities, secrets."""
    told = found(config)
    assert list(told) == ["unlock extra", "unlock pack", "unlock.ca_file", "unlock secrets"]
    assert told["unlock extra"][0] == "ok"
    assert told["unlock pack"][0] in ("ok", "note")  # the rule's day grows old
    assert told["unlock pack"][1].startswith("7: 1 rules, last checked on 2026-11-21, by ed25519:")
    assert told["unlock secrets"] == ("ok", "1 files, closed to others")
    assert "unlock:browser-tls" in capabilities(config)


def test_what_can_not_be_believed_or_is_open_to_others_is_lacking(config: AgentConfig) -> None:
    """An altered pack, and a secret that others may read; a cure stands with each."""
    config.unlock.pack.write_bytes(config.unlock.pack.read_bytes().replace(b'"pack":"ey', b'"pack":"eZ'))
    (config.unlock.secrets / "acme.token").chmod(0o644)
    told = found(config)
    assert told["unlock pack"][0] == "lacking"
    assert "altered" in told["unlock pack"][1]
    assert told["unlock secrets"] == ("lacking", "others may read or write acme.token")
    assert all(one.mend for one in unlock_diagnosis.examine(config) if one.state == "lacking")


def test_a_host_that_never_asked_for_it_is_told_nothing(tmp_path: Path) -> None:
    """Without key and pack there is nothing to mend, and nothing that the collector may count on."""
    plain = AgentConfig(
        collector="127.0.0.1:1", vantage="v", state_dir=tmp_path, unlock=Unlock(pack=tmp_path / "none")
    )
    assert found(plain) == {}
    assert not any(name.startswith("unlock") for name in capabilities(plain))
