"""A machine with systemd as its first process: this system, as if newly started, or another, in a container.

What it writes goes to memory and ends with it: its root is an overlay in a mount namespace of its own, and
all of its processes die with the one that made it. Of this system it has the packages, and no service.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Self

from support.programs import eventually

_MEMORY = Path("/sys/fs/cgroup/memory")
_TREES = tuple(Path("/sys/fs/cgroup", name) for name in ("systemd", "unified", ""))
_PREFIX = "sonde-test-"
# Two machines in one cgroup would see each other's processes in it, by no number.
ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL")
_PROGRAMS = {"systemd-nspawn": "systemd-container", "systemd-analyze": "systemd", "unshare": "util-linux"}
# The device is a copy: the container's first process sets modes of what it is given.
_MAKE = """
set -eu
mount -t tmpfs -o size=4g,mode=755 tmpfs "$1"
touch "$1/netns"
mount --bind "$4" "$1/netns"
mount -t proc proc /proc
mkdir "$1/up" "$1/work" "$1/root" "$1/dev"
mknod "$1/dev/tun" c 10 200
lower=/
if [ -n "$2" ]; then lower=$1/lower; mkdir "$lower"; tar -xf "$2" -C "$lower"; fi
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$1/up,workdir=$1/work,volatile" "$1/root"
rm -f "$1/root/usr/sbin/policy-rc.d"
[ -n "$2" ] || rm -f "$1"/root/etc/systemd/system/*.wants/*
: >"$1/root/etc/machine-id"
if [ -n "$3" ]; then mkdir -p "$1/root/packages"; cp -- "$3"/*.deb "$1/root/packages/"; fi
shift 4
for group; do echo 0 >"$group/cgroup.procs"; done
exec systemd-nspawn --quiet --boot --directory="$PWD/root" --machine="sonde-$$" --register=no --keep-unit \
    --network-namespace-path="$PWD/netns" --capability=all --bind="$PWD/dev/tun:/dev/net/tun" --console=pipe
"""


def missing() -> list[str]:
    """Debian packages without which there is no machine."""
    return sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})


class Machine:
    """One. `with Machine(...) as machine:` ends it.

    Args:
        folder: empty, for its mounts.
        packages: a folder of .deb files, which the machine sees in /packages; None: none.
        netns: a file of the network namespace that it is in.
        system: a tar of another root than this system's, with the services that it has.
    """

    def __init__(self, folder: Path, packages: Path | None, netns: Path, system: Path | None = None) -> None:
        self._folder, self._packages, self._netns, self._system = folder, packages, netns, system
        self._process: subprocess.Popen[bytes] | None = None
        self.leader = 0
        self._groups: list[Path] = []

    def __enter__(self) -> Self:
        log = self._folder.with_suffix(".log")
        trees = [tree for tree in _TREES if (tree / "cgroup.procs").exists()]
        _sweep(trees)
        own = [self._group(tree) for tree in trees]
        arguments = (self._folder, self._system or "", self._packages or "", self._netns, *own)
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [*ALONE, "sh", "-c", _MAKE, "sh", *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            eventually(self._is_up, 60, log.read_text)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()  # with it the first process of its pid namespace, and so all of them
        self._process.wait()
        for group in self._groups:
            eventually(partial(_is_gone, group), 20, f"{group} is not empty")

    @property
    def root(self) -> Path:
        """Its file system, from here."""
        return Path("/proc", str(self.leader), "root")

    def run(self, *argv: str, within_s: float = 60, user: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in it, to its end."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"] if user else []
        return subprocess.run(
            ["nsenter", f"--target={self.leader}", "--all", "--", *become, *argv],
            cwd="/",
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )

    def said(self, *argv: str, within_s: float = 60, user: str = "") -> str:
        """Run a command that must succeed; give what it printed."""
        done = self.run(*argv, within_s=within_s, user=user)
        assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *units: str) -> None:
        """Start units; one that fails tells why."""
        if self.run("systemctl", "start", *units, within_s=90).returncode:
            raise AssertionError("".join(self.journal(unit) for unit in units))

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Make a file of root's in it."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def journal(self, unit: str) -> str:
        """What a unit has said."""
        return self.run("journalctl", "--unit", unit, "--output", "cat", "--no-pager").stdout

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """What systemd knows of a unit."""
        told = self.said("systemctl", "show", unit, *(f"--property={name}" for name in names))
        return dict(line.split("=", 1) for line in told.splitlines())

    @contextlib.contextmanager
    def memory(self, size: int) -> Iterator[Path]:
        """Have all that systemd starts meanwhile share so many bytes, for good; gives their cgroup here.

        In the container systemd may set no limit: its controllers are read-only there.
        """
        group = self._group(_MEMORY)
        (group / "memory.limit_in_bytes").write_text(str(size))
        (group / "cgroup.procs").write_text(str(self.leader))  # who forks is what the forked belongs to
        try:
            yield group
        finally:
            (_MEMORY / "cgroup.procs").write_text(str(self.leader))

    def _group(self, tree: Path) -> Path:
        """Make a cgroup of ours in a hierarchy of this host's; it goes with the machine."""
        # The same name in every hierarchy: systemd looks its own up in one, and uses it in the other.
        group = tree / f"{_PREFIX}{os.getpid()}-{self._folder.name}"
        group.mkdir()
        self._groups.append(group)
        return group

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"ended with {self._process.returncode}"
        (first,) = _children(self._process.pid) or [0]
        children = _children(first) if first else []  # systemd-nspawn, and its own first process
        for child in children:
            self.leader = child
            state = self.run("systemctl", "is-system-running").stdout.strip()
            if state in ("running", "degraded"):
                return True
        self.leader = 0
        return False


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _sweep(trees: list[Path]) -> None:
    """Remove the cgroups of those who were killed; nothing is in them any more."""
    for group in [group for tree in trees for group in tree.glob(f"{_PREFIX}*")]:
        if not Path("/proc", group.name.removeprefix(_PREFIX).partition("-")[0]).exists():
            _is_gone(group)


def _is_gone(group: Path) -> bool:
    """Whether a cgroup could be removed, with all below it."""
    for below in sorted(group.rglob("*"), reverse=True):
        if below.is_dir():
            with contextlib.suppress(OSError):
                below.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
