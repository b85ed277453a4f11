"""The room that a lab lives in: the first process of a PID namespace, with mounts and networks of its own.

usage: python -m sonde_lab.room OPTIONS     (JSON; started by `Lab.up` alone)

Everything of the lab is in these namespaces, so that the death of this one process, by whatever cause,
removes every other process, link, rule, mount and socket file; nothing is registered anywhere else. An
ordinary user gets a user namespace around it. Tells "pid N", then "ready" or "error WORDS", on the
descriptor that it was given.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from sonde_lab import internet, libc
from sonde_lab.programs import LabError, Programs

_RESOLV = "nameserver {}\noptions timeout:2 attempts:2\n"
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


def main(options: dict[str, Any]) -> int:
    """Make the namespaces, and leave in them the process that does the rest."""
    tell = int(options["tell"])
    try:
        _unshare()
    except OSError as error:
        _say(tell, f"error this host lets no lab be made ({error.strerror}): run it as root")
        return 1
    child = os.fork()
    if child:
        _say(tell, f"pid {child}")
        return 0
    try:
        folder = Path(options["folder"])
        _mounts(folder, options["resolver"])
        programs = Programs(folder / "logs")
        internet.build(folder, options["vantages"], broken=options["faults"], programs=programs)
        programs.serve(int(options["lifeline"]), lambda: _ready(tell))
    except (LabError, OSError) as error:
        _say(tell, f"error {error}")
    except Exception:  # noqa: BLE001 -- whoever waits must hear of it, and the room must end
        traceback.print_exc()
        _say(tell, "error unexpected; see logs/room.log")
    os._exit(0)  # the first process of a PID namespace takes all others with it


def _unshare() -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid:
        libc.unshare(libc.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    libc.unshare(libc.CLONE_NEWNS | libc.CLONE_NEWPID | libc.CLONE_NEWNET)


def _mounts(folder: Path, resolver: str) -> None:
    """Hide what belongs to the host: its /run, its processes, its resolver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_PRIVATE)
    libc.mount("proc", "/proc", "proc")
    for run in {Path("/run"), Path("/var/run").resolve()}:
        libc.mount("tmpfs", str(run), "tmpfs", 0, "mode=0755,size=64m")
    for name in ("netns", "wireguard", "lab", "lock"):
        Path("/run", name).mkdir(mode=0o755)
    for name, text in (("resolv.conf", _RESOLV.format(resolver)), ("nsswitch.conf", _NSSWITCH)):
        ours, theirs = folder / name, Path("/etc", name).resolve()
        ours.write_text(text)
        if not theirs.exists():  # a link into the /run that is hidden now
            theirs.parent.mkdir(parents=True, exist_ok=True)
            theirs.touch()
        libc.mount(str(ours), str(theirs), "", libc.MS_BIND)


def _ready(fd: int) -> None:
    _say(fd, "ready")
    os.close(fd)


def _say(fd: int, words: str) -> None:
    os.write(fd, (words.replace("\n", "\n  ") + "\n").encode())


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
