"""The helper's own copy of what this host allows: the parts of agent.toml that concern tunnels, read once.

The agent may be taken over and the collector may ask for anything; the helper believes this file alone. So it
must be one that nobody but root can have written.
"""

import datetime as dt
import json
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from sonde_agent.config import Credential, PolicyRules, Tunnels, Unlock
from sonde_agent.limits import Limits
from sonde_agent.tunnel.capacity import tunnels_here
from sonde_proto import toml_config
from sonde_proto.toml_config import ConfigError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
BY_HAND = "file"
"""The name of the credential of a profile that root named on a command line."""
_ANYWHERE = toml_config.parse(
    {
        "allow": ["0.0.0.0/0", "::/0"],
        "files": ["/"],
        "engines": ["http", "iperf3", "ndt7", "speedtest"],
    },
    PolicyRules,
)


@frozen
class Rules:
    """What boxes may be made of.

    Attributes:
        credential: the accounts, by name.
        policy: what may be measured, directly and inside.
        tunnels: backends that are forced.
        limits: of which `tunnels` says how many may be open at once.
        unlock: where unlock rules are. The checks in a box read the files themselves, as the agent's user.
        unsigned: packs need no signature; only by hand.
    """

    credential: dict[str, Credential] = field(factory=dict)
    policy: PolicyRules = field(factory=PolicyRules)
    tunnels: Tunnels = field(factory=Tunnels)
    limits: Limits = field(factory=Limits)
    unlock: Unlock = field(factory=Unlock)
    unsigned: bool = False

    @property
    def most(self) -> int:
        """How many tunnels may be open at once."""
        return tunnels_here(self.limits.tunnels)

    def policy_document(self) -> dict[str, Any]:
        """Give the policy for the process inside a box, to be sent as JSON; see `policy_of`."""
        policy = self.policy
        return {
            "checks": list(policy.checks),
            "deny": [str(network) for network in policy.deny],
            "allow": [str(network) for network in policy.allow],
            "deny_targets": list(policy.deny_targets),
            "block": [
                {
                    "target": block.target,
                    "reason": block.reason,
                    **({"until": block.until.isoformat()} if block.until else {}),
                }
                for block in policy.block
            ],
            "ports": list(policy.ports),
            "files": [str(file) for file in policy.files],
            "engines": list(policy.engines),
            "rule_keys": list(policy.rule_keys),
        }


def policy_of(document: Mapping[str, Any]) -> PolicyRules:
    """Give the policy that `Rules.policy_document` told."""
    blocks = [
        {**block, "until": dt.datetime.fromisoformat(block["until"])} if "until" in block else block
        for block in document["block"]
    ]
    return toml_config.parse({**document, "block": blocks}, PolicyRules)


_TABLES = ("credential", "policy", "tunnels", "limits", "unlock")


def load(path: Path) -> Rules:
    """Read the tables that concern tunnels; a mistake elsewhere in the file is the agent's to tell.

    Raises:
        ConfigError: the file can't be read or used, or somebody other than root may write it.
    """
    _require_roots_own(path)
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError([f"can't be read: {error.strerror or error}"], path) from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise ConfigError([f"is not TOML: {error}"], path) from None
    ours = {key: value for key, value in document.items() if key in _TABLES}
    try:
        return toml_config.parse(ours, Rules, path.absolute().parent)
    except ConfigError as error:
        raise ConfigError(error.messages, path) from None


def by_hand(profile: Path, username_file: Path | None, password_file: Path | None, unlock: str = "") -> Rules:
    """Give the rules for one profile that root named by hand: who can type that may send any packet.

    Args:
        profile: its file.
        username_file: of its account.
        password_file: of its account.
        unlock: what unlock checks inside need, as `unlock_terms` gives it; "" = none are run.
    """
    credential: Mapping[str, object] = {
        BY_HAND: {
            "profiles": str(profile.absolute().parent),
            **({"username_file": str(username_file.absolute())} if username_file else {}),
            **({"password_file": str(password_file.absolute())} if password_file else {}),
        }
    }
    rules = toml_config.parse({"credential": credential}, Rules)
    terms = unlock_rules(json.loads(unlock)) if unlock else rules
    return evolve(
        rules,
        policy=evolve(_ANYWHERE, rule_keys=terms.policy.rule_keys),
        unlock=terms.unlock,
        unsigned=terms.unsigned,
    )


def unlock_terms(rules: Rules) -> str:
    """Give what unlock checks need of `rules`, as JSON: for a box, and for a helper of our own."""
    unlock = rules.unlock
    document = {
        "pack": str(unlock.pack),
        "secrets": str(unlock.secrets),
        "trusted_resolver": unlock.trusted_resolver,
        "trusted_resolver_name": unlock.trusted_resolver_name,
        **({"ca_file": str(unlock.ca_file)} if unlock.ca_file else {}),
    }
    keys = {"rule_keys": list(rules.policy.rule_keys)}
    return json.dumps({"unlock": document, "policy": keys, "unsigned": rules.unsigned})


def unlock_rules(terms: Mapping[str, Any]) -> Rules:
    """Give rules that hold what `unlock_terms` told, and defaults."""
    return toml_config.parse(terms, Rules)


def _require_roots_own(path: Path) -> None:
    """Whoever may write the file, or put another in its place, would decide what the helper allows."""
    mistakes = []
    for place in (real := path.resolve(), *real.parents):
        try:
            status = place.stat()
        except OSError as error:
            raise ConfigError([f"can't be read: {error.strerror or error}"], path) from None
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid != 0:
            mistakes.append(f"the tunnel helper reads it as root, so {place} must belong to root: chown root")
        elif status.st_mode & _OTHERS_WRITE and not sticky:
            mistakes.append(f"the tunnel helper reads it as root, so only root may write {place}: chmod go-w")
    if mistakes:
        raise ConfigError(mistakes, path)
