"""The helper's own copy of what this host allows: the parts of agent.toml that concern tunnels, read once.

The agent may be taken over and the collector may ask for anything; the helper believes this file alone. So it
must be one that nobody but root can have written.
"""

import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from sonde_agent.config import Credential, Limits, PolicyRules, Tunnels
from sonde_agent.tunnel.capacity import tunnels_here
from sonde_proto import toml_config
from sonde_proto.toml_config import ConfigError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
BY_HAND = "file"
"""The name of the credential of a profile that root named on a command line."""


@frozen
class Rules:
    """What boxes may be made of.

    Attributes:
        credential: the accounts, by name.
        policy: what may be measured, directly and inside.
        tunnels: backends that are forced.
        limits: of which `tunnels` says how many may be open at once.
    """

    credential: dict[str, Credential] = field(factory=dict)
    policy: PolicyRules = field(factory=PolicyRules)
    tunnels: Tunnels = field(factory=Tunnels)
    limits: Limits = field(factory=Limits)

    @property
    def most(self) -> int:
        """How many tunnels may be open at once."""
        return tunnels_here(self.limits.tunnels)

    def policy_document(self) -> dict[str, Sequence[str] | Sequence[int]]:
        """Give the policy as a file would hold it, for the process inside a box."""
        policy = self.policy
        return {
            "checks": list(policy.checks),
            "deny": [str(network) for network in policy.deny],
            "allow": [str(network) for network in policy.allow],
            "deny_targets": list(policy.deny_targets),
            "ports": list(policy.ports),
            "files": [str(file) for file in policy.files],
        }


_TABLES = ("credential", "policy", "tunnels", "limits")


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


def by_hand(profile: Path, username_file: Path | None, password_file: Path | None) -> Rules:
    """Give the rules for one profile that root named by hand: who can type that may send any packet."""
    credential: Mapping[str, object] = {
        BY_HAND: {
            "profiles": str(profile.absolute().parent),
            **({"username_file": str(username_file.absolute())} if username_file else {}),
            **({"password_file": str(password_file.absolute())} if password_file else {}),
        }
    }
    checks = ["ping", "endpoint", "connection", "throughput"]
    policy = {"checks": checks, "allow": ["0.0.0.0/0", "::/0"], "files": ["/"]}
    return toml_config.parse({"credential": credential, "policy": policy}, Rules)


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
