"""What this host lacks for tunnels, and how to mend it: the helper, each backend, each account."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from sonde_agent.config import AgentConfig, Credential
from sonde_agent.findings import Finding
from sonde_agent.tunnel.backends.names import OF_PROTOCOL
from sonde_agent.tunnel.client import TunnelError, Tunnels

_HELPER = "tunnel helper"
_NAMES_SHOWN = 3
_START = "as root: sonde-agent tunnel-helper --config agent.toml --socket PATH --user the agent's"


def examine(config: AgentConfig, config_path: Path | None) -> Iterator[Finding]:
    """Look at all that tunnels need; nothing where the agent has no account to open one with.

    Args:
        config: what agent.toml says.
        config_path: where it is, for a helper of our own as root.
    """
    if not config.credential:
        return
    yield from helper(Tunnels(config.tunnels.helper, config_path))
    for name, credential in sorted(config.credential.items()):
        yield account(name, credential)


def helper(tunnels: Tunnels) -> Iterator[Finding]:
    """Whether somebody opens tunnels for this user, and by which backends."""
    try:
        host = asyncio.run(tunnels.host())
    except TunnelError as error:
        yield Finding(_HELPER, "lacking", error.detail, _START)
        return
    finally:
        tunnels.close()
    yield Finding(_HELPER, "ok", f"answers; {host.tunnels} tunnels at once")
    lacks = {backend.name: backend.lacks for backend in host.backends}
    for protocol, names in OF_PROTOCOL.items():
        usable = [name for name in names if not lacks.get(name, "unknown to the helper")]
        if usable:
            yield Finding(protocol, "ok", f"by {usable[0]}")
        else:
            mend = "; ".join(f"{name}: {lacks.get(name)}" for name in names)
            yield Finding(protocol, "note", "nothing here speaks it", mend)


def account(name: str, credential: Credential) -> Finding:
    """Whether an account's files are there and can be used."""
    what = f"credential {name}"
    if credential.profiles is None and credential.template is None:
        return Finding(what, "lacking", "it names neither profiles nor a template", f"[credential.{name}]")
    for file in (credential.username_file, credential.password_file, credential.template):
        if file is not None and not file.is_file():
            return Finding(what, "lacking", f"there is no file {file}", "put it there, for root to read")
    if credential.profiles is None:
        return Finding(what, "ok", f"template {credential.template}")
    return _folder(what, credential.profiles)


def _folder(what: str, folder: Path) -> Finding:
    from sonde_agent.tunnel.helper_request import read_within  # noqa: PLC0415 -- the agent reads no profile
    from sonde_proto import profiles  # noqa: PLC0415 -- as above

    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in profiles.SUFFIXES)
    except PermissionError:
        return Finding(what, "note", f"{folder} can be read by its owner alone", "run the doctor as root")
    except OSError as error:
        return Finding(what, "lacking", f"{folder}: {error.strerror}", "put the provider's files there")
    bad = []
    for name in names:
        try:
            profiles.parse(name, read_within(folder, name, profiles.LARGEST))
        except profiles.ProfileError as error:
            bad.append(str(error).splitlines()[0])
        except OSError as error:
            bad.append(f"{name}: {error.strerror or error}")
    detail = f"{len(names) - len(bad)} profiles in {folder}"
    if not names:
        return Finding(what, "lacking", detail, "put the provider's .conf, .ovpn or .sswan files there")
    if bad:
        said = "; ".join(bad[:_NAMES_SHOWN])
        return Finding(what, "note", f"{detail}, {len(bad)} can't be used: {said}", "get them anew")
    return Finding(what, "ok", detail)
