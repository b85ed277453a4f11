"""What `sonde-agent install-service` writes, and whether the units may run what is installed here."""

import re
import stat
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from attrs import frozen

MARK = "# Written by sonde-agent install-service, which also removes it. Changes: systemctl edit."
UNITS = ("sonde-agent.service", "sonde-tunnel-helper.service", "sonde-tunnel-helper.socket")
PACKAGED = tuple(Path(folder, UNITS[0]) for folder in ("/usr/lib/systemd/system", "/lib/systemd/system"))
"""Where the Debian package has its unit."""

_PLACES = {
    **{unit: Path("/etc/systemd/system", unit) for unit in UNITS},
    "sonde-agent.sysusers": Path("/etc/sysusers.d/sonde-agent.conf"),
    "sonde-agent.sysctl": Path("/etc/sysctl.d/50-sonde-agent.conf"),
}
_PROGRAM = "/usr/bin/sonde-agent"
_PLAIN = re.compile(r"[A-Za-z0-9/._+@-]+")  # nothing that systemd.service(5) would read as more than a name
_HIDDEN = {"/home": "ProtectHome", "/root": "ProtectHome", "/run/user": "ProtectHome"} | {
    "/tmp": "PrivateTmp",  # noqa: S108 -- named, not used
    "/var/tmp": "PrivateTmp",  # noqa: S108
}
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@frozen
class Installed:
    """A path that the units need.

    Attributes:
        path: absolute.
        uid: its owner.
        mode: as stat(2) has it.
    """

    path: Path
    uid: int
    mode: int


def files(python: Path) -> Mapping[Path, str]:
    """Give every file by its place, for a `sonde-agent` of this interpreter's environment."""
    room = resources.files("sonde_agent.systemd")
    texts = {place: room.joinpath(name).read_text(encoding="utf-8") for name, place in _PLACES.items()}
    return {place: rendered(text, python) for place, text in texts.items()}


def rendered(text: str, python: Path) -> str:
    """Give a packaged file as it is without the package: another program, no manual. **Pure.**"""
    text = text.replace(f"={_PROGRAM} ", f"={python} -I -m sonde_agent.entry ")
    text = re.sub(r"^Documentation=.*\n", "", text, flags=re.MULTILINE)
    return f"{MARK}\n{text}"


def look(paths: Iterable[Path]) -> list[Installed]:
    """Give what there is to know of these paths, of what they lead to, and of every folder above."""
    places: dict[Path, Installed] = {}
    for path in paths:
        for real in {path.absolute(), path.resolve()}:
            for place in (real, *real.parents):
                status = place.stat()
                places[place] = Installed(place, status.st_uid, status.st_mode)
    return [places[place] for place in sorted(places)]


def unfit(installed: Iterable[Installed]) -> list[str]:
    """Say why the units could not, or must not, run what is installed so. **Pure.**"""
    mistakes = []
    for one in installed:
        sticky = stat.S_ISDIR(one.mode) and one.mode & stat.S_ISVTX
        if hides := _HIDDEN.get(str(one.path)):
            mistakes.append(f"{one.path} is not there for the units ({hides}=yes)")
        elif not _PLAIN.fullmatch(str(one.path)):
            mistakes.append(f"{one.path} has a character that a unit can't name plainly")
        elif one.uid != 0:
            mistakes.append(f"{one.path} must belong to root, because the tunnel helper runs it as root")
        elif one.mode & _OTHERS_WRITE and not sticky:
            mistakes.append(f"only root may write {one.path}, because the tunnel helper runs it as root")
        elif not one.mode & stat.S_IXOTH and stat.S_ISDIR(one.mode):
            mistakes.append(f"{one.path} is closed to the agent's user: chmod o+x")
    return mistakes
