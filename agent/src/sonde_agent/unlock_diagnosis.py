"""What this host lacks for unlock checks, and how to mend it. Loads little of what they need."""

import importlib.util
import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sonde_agent.checks.unlock.packs import NoPack, open_pack
from sonde_agent.config import AgentConfig, Unlock
from sonde_agent.findings import Finding

_OLD_DAYS = 60
"""Platforms change without notice: facts of two months ago are worth a look."""
_OTHERS = stat.S_IRWXO | stat.S_IWGRP
_DAY_S = 86_400
_EXTRA = "pip install 'sonde-agent[unlock]'"


def tls_here() -> str:
    """Give whose TLS unlock checks can show: "browser" or "plain"; "" = there are no unlock checks here."""
    if any(importlib.util.find_spec(name) is None for name in ("sonde_unlock", "re2")):
        return ""
    return "plain" if importlib.util.find_spec("curl_cffi") is None else "browser"


def examine(config: AgentConfig) -> Iterator[Finding]:
    """Look at what unlock checks need; nothing is said on a host that never asked for them."""
    unlock = config.unlock
    if not (config.policy.rule_keys or unlock.pack.exists()):
        return
    yield carrier()
    if tls_here():
        yield pack(unlock, config.policy.rule_keys)
    if unlock.ca_file is not None:
        yield authorities(unlock.ca_file)
    if unlock.secrets.is_dir():
        yield secrets(unlock.secrets)


def carrier() -> Finding:
    """Give whether requests can be carried, and with whose TLS."""
    name, tls = "unlock extra", tls_here()
    if not tls:
        return Finding(name, "lacking", "unlock checks can't run here", _EXTRA)
    if tls == "plain":
        return Finding(name, "note", "no curl_cffi: platforms that want a browser are inconclusive", _EXTRA)
    return Finding(name, "ok", "requests can greet as a browser does")


def pack(unlock: Unlock, keys: tuple[str, ...]) -> Finding:
    """Give whether there are rules that this host believes, and how old they are."""
    name = "unlock pack"
    try:
        opened = open_pack(unlock.pack, keys)
    except NoPack as none:
        return Finding(name, "lacking", str(none), "put a pack there, and its key into policy.rule_keys")
    newest = max((rule.checked_on for rule in opened.rules.values()), default="")
    words = (
        f"{opened.version}: {len(opened.rules)} rules, last checked on {newest}, by {opened.signed_by[:20]}…"
    )
    try:
        days = (time.time() - datetime.fromisoformat(newest).replace(tzinfo=UTC).timestamp()) / _DAY_S
    except ValueError:
        days = 0.0
    if days > _OLD_DAYS:
        return Finding(name, "note", f"{words}: {days:.0f} days ago", "get a newer pack")
    return Finding(name, "ok", words)


def authorities(file: Path) -> Finding:
    """Give whether the certificate authorities besides the system's can be read."""
    if os.access(file, os.R_OK):
        return Finding("unlock.ca_file", "ok", str(file))
    return Finding("unlock.ca_file", "lacking", f"{file} can't be read by this user", "mend its path or mode")


def secrets(folder: Path) -> Finding:
    """Give whether others may read the secrets, or this user may not."""
    name = "unlock secrets"
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file())
    except OSError as error:
        return Finding(
            name, "lacking", f"{folder}: {error.strerror or error}", "let the agent's user read it"
        )
    open_to_all = [file.name for file in files if file.stat().st_mode & _OTHERS]
    closed = [file.name for file in files if not os.access(file, os.R_OK)]
    if open_to_all:
        return Finding(name, "lacking", f"others may read or write {open_to_all[0]}", f"chmod 600 {folder}/*")
    if closed:
        return Finding(name, "lacking", f"this user may not read {closed[0]}", "chown it to the agent's user")
    return Finding(name, "ok", f"{len(files)} files, closed to others")
