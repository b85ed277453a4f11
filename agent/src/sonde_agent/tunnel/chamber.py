"""The files of a box: what is mounted for its first process, and what on top of that for the checks inside.

All of it is mounted in namespaces that end with the box; nothing is written to a file system of the host.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from sonde_agent.tunnel import namespaces
from sonde_agent.tunnel.namespaces import BIND, NO_DEVICES, NO_EXEC, NO_SUID

FOLDER = Path("/run/sonde")
"""Of the backend, in the box's own /run; in its place the checks see a folder for their temporary files."""

ORDERS, EVENTS = 3, 4
"""Descriptors of the process of the checks: frames that it is told, and frames that it tells."""

_RESOLV, _NSSWITCH = Path("/etc/resolv.conf"), Path("/etc/nsswitch.conf")
_INSIDE = FOLDER / "inside"
# A resolver daemon of the host (nss-resolve, nscd) would answer from outside the tunnel.
_SWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
_MOST_RESOLVERS = 3  # MAXNS of resolv.h
_PLAIN = NO_SUID | NO_DEVICES | NO_EXEC
_FILES_MIB, _TEMPORARY_MIB = 16, 64


def furnish() -> None:
    """Give this process, the first of its PID namespace, mounts of its own: /proc, /run and `FOLDER`."""
    resolv, text = _real(_RESOLV), _text(_RESOLV)
    runs = {os.path.realpath(folder) for folder in ("/run", "/var/run")}
    namespaces.own_mounts()
    namespaces.mount("proc", "/proc", fstype="proc", flags=_PLAIN)
    for run in sorted(runs):
        options = f"mode=0755,size={_FILES_MIB}m"
        namespaces.mount("tmpfs", run, fstype="tmpfs", flags=_PLAIN, options=options)
    if not resolv.exists() and text:  # it was in /run; the server's own name is still to be looked up with it
        resolv.parent.mkdir(parents=True, exist_ok=True)
        resolv.write_text(text)
    FOLDER.mkdir(mode=0o700)
    _INSIDE.mkdir()
    (_INSIDE / "resolv.conf").touch(0o644)
    (_INSIDE / "nsswitch.conf").write_text(_SWITCH)


def furnish_inside() -> None:
    """Give the process of the checks its name service, and take the backend's files from its sight.

    What is written to the resolvers' file later (`name_resolvers`), it sees.
    """
    namespaces.own_mounts()
    for name, real in (("resolv.conf", _real(_RESOLV)), ("nsswitch.conf", _real(_NSSWITCH))):
        if real.exists():
            namespaces.mount(str(_INSIDE / name), str(real), flags=BIND)
    namespaces.freeze_mounts()
    options = f"mode=1777,size={_TEMPORARY_MIB}m"
    namespaces.mount("tmpfs", str(FOLDER), fstype="tmpfs", flags=_PLAIN, options=options)


def name_resolvers(addresses: Sequence[str]) -> None:
    """Write whom the checks ask for names; from outside their mounts."""
    lines = [f"nameserver {address}\n" for address in addresses[:_MOST_RESOLVERS]]
    (_INSIDE / "resolv.conf").write_text("".join([*lines, "options timeout:2 attempts:2\n"]))


def host_resolvers() -> list[str]:
    """Give the addresses of the host's resolvers."""
    words = [line.split() for line in _text(_RESOLV).splitlines()]
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
