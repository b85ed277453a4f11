"""The helper's own copy of the rules: which file it believes, and what it takes out of it."""

import json
import os
from pathlib import Path

import attrs
import pytest

from sonde_agent.config import PolicyRules
from sonde_agent.tunnel import helper_rules
from sonde_proto import toml_config
from sonde_proto.toml_config import ConfigError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can own what root alone may write")

FILE = """
vantage = "ams1"
collector = "nonsense, but not the helper's business"
[policy]
deny = ["203.0.113.0/24"]
ports = [443]
[limits]
tunnels = 3
[credential.acme]
profiles = "acme"
password_file = "secret"
"""


def write(folder: Path, text: str = FILE, mode: int = 0o644) -> Path:
    """A configuration in a folder of the user's own."""
    path = folder / "agent.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


@as_root
def test_the_tables_of_tunnels_are_read_and_the_rest_left_to_the_agent(tmp_path: Path) -> None:
    """The helper reads its own tables strictly; what else is wrong in the file does not stop it."""
    rules = helper_rules.load(write(tmp_path))
    assert rules.most == 3
    assert rules.credential["acme"].profiles == tmp_path / "acme"
    assert rules.credential["acme"].password_file == tmp_path / "secret"
    assert rules.credential["acme"].template is None


@as_root
def test_a_mistake_in_its_tables_is_told_by_its_key(tmp_path: Path) -> None:
    """A wrong key of the helper's own is named with its path."""
    with pytest.raises(ConfigError, match=r"credential\.acme\.profile: is not a known key"):
        helper_rules.load(write(tmp_path, '[credential.acme]\nprofile = "x"\n'))


@as_root
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    """Whoever may write the rules would rule the helper: it refuses to start, and says what to do."""
    with pytest.raises(ConfigError, match="chmod go-w"):
        helper_rules.load(write(tmp_path, mode=mode))


@as_root
def test_a_file_or_folder_of_another_user_is_not_believed(tmp_path: Path) -> None:
    """A file of the agent's own, or in a folder of the agent's, could be replaced by the agent."""
    path = write(tmp_path)
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="must belong to root"):
        helper_rules.load(path)
    os.chown(path, 0, 0)
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(ConfigError, match="must belong to root"):
        helper_rules.load(path)


def test_what_is_no_file_or_no_toml_is_told(tmp_path: Path) -> None:
    """A missing or broken file is one clear line, no traceback."""
    with pytest.raises(ConfigError, match=r"none\.toml: can't be read"):
        helper_rules.load(tmp_path / "none.toml")


@as_root
def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    """A line that is no TOML is named."""
    with pytest.raises(ConfigError, match=r"is not TOML: .*line 2"):
        helper_rules.load(write(tmp_path, "[policy]\n= 1\n"))


def test_the_policy_survives_its_way_into_a_box() -> None:
    """What the process inside is given is the same policy, key by key."""
    document = {
        "checks": ["ping"],
        "deny": ["203.0.113.0/24"],
        "allow": ["10.0.0.0/8", "fd00::/8"],
        "deny_targets": ["*.example"],
        "block": [
            {"target": "192.0.2.0/24", "reason": "asked to stop", "until": "2026-12-31T00:00:00+00:00"},
            {"target": "*.example.net", "reason": "not ours to measure"},
        ],
        "ports": [80],
        "files": ["/etc/sonde/files"],
        "engines": ["iperf3"],
        "rule_keys": ["ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],
    }
    policy = helper_rules.policy_of(json.loads(json.dumps(document)))
    assert helper_rules.Rules(policy=policy).policy_document() == document
    assert {*document} == {field.name for field in attrs.fields(PolicyRules)}


def test_by_hand_one_file_is_one_account_and_may_go_anywhere(tmp_path: Path) -> None:
    """Root who names a profile by hand gets rules with that folder alone, and no network denied."""
    rules = helper_rules.by_hand(tmp_path / "se.ovpn", tmp_path / "user", None)
    assert list(rules.credential) == [helper_rules.BY_HAND]
    assert rules.credential["file"].profiles == tmp_path
    assert rules.credential["file"].username_file == tmp_path / "user"
    assert rules.credential["file"].password_file is None


def test_what_unlock_checks_need_survives_its_way_into_a_box(tmp_path: Path) -> None:
    """Paths, resolver and keys reach the process inside as the helper's own file has them."""
    key = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    document = {
        "policy": {"rule_keys": [key]},
        "unlock": {"pack": "x.pack", "ca_file": "ca.pem", "trusted_resolver": "", "secrets": "/s"},
    }
    rules = toml_config.parse(document, helper_rules.Rules, tmp_path)
    inside = helper_rules.unlock_rules(json.loads(helper_rules.unlock_terms(rules)))
    assert inside.unlock == rules.unlock
    assert inside.policy.rule_keys == (key,)
    assert not inside.unsigned
    by_hand = helper_rules.by_hand(tmp_path / "se.conf", None, None, helper_rules.unlock_terms(rules))
    assert by_hand.unlock == rules.unlock
    assert by_hand.policy.rule_keys == (key,)
    assert by_hand.policy.allow
