"""What tunnels may leave behind on a host: everything that a run could touch, to be compared."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen
from support.programs import eventually

from sonde_agent.tunnel import namespaces

_PR_SET_CHILD_SUBREAPER = 36
_FOLDERS = ("run", "run/wireguard", "run/netns")
_SETTINGS = Path("/proc/sys/net")


@frozen
class Traces:
    """A host's state, as far as tunnels could change it."""

    links: str
    addresses: str
    routes: str
    rules: str
    firewall: str
    settings: str
    mounts: str
    resolver: str
    files: frozenset[str]


def traces(netns: int, pid: int | None = None) -> Traces:
    """What there is now, in a network namespace and on the file system that process `pid` (or this) sees."""
    process = Path("/proc") / str(pid or "self")
    etc = process / "root" / "etc"
    with namespaces.inside(netns):
        addresses = eventually(_settled_addresses, 5, "addresses stay tentative")
        return Traces(
            links=_said("ip", "-o", "link", "show"),
            addresses=addresses,
            routes=_said("ip", "route", "show", "table", "all")
            + _said("ip", "-6", "route", "show", "table", "all"),
            rules=_said("ip", "rule", "show") + _said("ip", "-6", "rule", "show"),
            firewall=_said("nft", "list", "ruleset") + _said("ip", "xfrm", "policy"),
            settings=_settings(),
            mounts=_mounts(process),
            resolver="".join((etc / name).read_text() for name in ("resolv.conf", "nsswitch.conf")),
            files=frozenset(
                str(path)
                for folder in (process / "root" / name for name in _FOLDERS)
                if folder.is_dir()
                for path in folder.iterdir()
                if "sonde" in path.name
            ),
        )


def adopt_orphans() -> None:
    """Be the parent of every descendant whose own has died, so that `descendants` finds it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(*roots: int) -> dict[int, list[str]]:
    """Processes that descend from any of `roots`, without zombies: pid -> its command line."""
    children: dict[int, list[int]] = {}
    for pid, parent in processes():
        children.setdefault(parent, []).append(pid)
    found: dict[int, list[str]] = {}
    waiting = [child for root in roots for child in children.get(root, ())]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, ())
        try:
            found[pid] = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
        except OSError:
            continue
    return found


def parent_of(pid: int) -> int:
    """Its parent's pid; 0 where it is gone."""
    return next((parent for found, parent in processes() if found == pid), 0)


def processes() -> Iterator[tuple[int, int]]:
    """Every process but zombies: its pid and its parent's."""
    for name in os.listdir("/proc"):  # noqa: PTH208 -- names are all that is needed
        if not name.isdigit():
            continue
        try:
            state, parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state not in "ZX":
            yield int(name), int(parent)


def _settings() -> str:
    lines = []
    for path in sorted(_SETTINGS.rglob("*")):
        try:
            lines.append(f"{path}={path.read_text().strip()}")
        except (OSError, UnicodeDecodeError):
            continue
    return "\n".join(lines)


def _settled_addresses() -> str | None:
    found = _said("ip", "-o", "address", "show")
    return None if "tentative" in found else found


def _mounts(process: Path) -> str:
    """All but the names of namespaces, which others on this machine come and go with."""
    lines = (process / "mountinfo").read_text().splitlines()
    return "\n".join(line for line in lines if "/netns" not in line)


def _said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
