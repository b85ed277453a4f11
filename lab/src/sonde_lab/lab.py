"""A lab from outside: start one, run programs at its vantages, read its truth, end it."""

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sonde_lab import topology, truth
from sonde_lab.programs import LabError
from sonde_lab.world import start as world
from sonde_lab.world.atlas import Changes

_UP_WITHIN_S = 60.0
_DOWN_WITHIN_S = 10.0
_OURS = ("lines", "logs", "origin", "profiles", "secrets", "servers", "world", "resolv.conf", "nsswitch.conf")
_NEEDED = (
    "ip",
    "nft",
    "tc",
    "nsenter",
    "wg",
    "wireguard-go",
    "openvpn",
    "charon-systemd",
    "nginx",
    "iperf3",
    "dnsmasq",
)
_STATE = "state.json"


@dataclass
class Lab:
    """A lab that is up. As a context manager it goes down at the end.

    Attributes:
        folder: its files, absolute.
        pid: of its first process, as this host counts.
        vantages: their codes.
        faults: whether the servers that misbehave are there.
    """

    folder: Path
    pid: int
    vantages: tuple[str, ...]
    faults: bool
    _lifeline: int = field(default=-1, repr=False)

    @classmethod
    def up(cls, folder: Path, vantages: int = 2, *, faults: bool = True, background: bool = False) -> Self:
        """Start a lab and return when everything in it answers.

        Args:
            folder: for its files; made where it is missing. It can hold one lab at a time.
            vantages: 1..12.
            faults: with the servers that misbehave.
            background: it outlives this process; else it ends with it, however that ends.

        Raises:
            LabError: it can't come up; says why and what to do.
        """
        codes = tuple(vantage.code for vantage in topology.vantages(vantages))
        missing = missing_programs()
        if missing:
            raise LabError(
                f"programs are missing: {', '.join(missing)}; `make apt-test` installs their packages"
            )
        folder = folder.absolute()
        with contextlib.ExitStack() as stack:
            lock = _lock(folder)
            stack.callback(os.close, lock)
            for name in _OURS:
                _remove(folder / name)
            (folder / "logs").mkdir()
            held, lifeline = os.pipe2(os.O_CLOEXEC)
            stack.callback(os.close, held)
            try:
                pid = _start(folder, codes, faults=faults, lifeline=-1 if background else held, lock=lock)
            except BaseException:
                os.close(lifeline)
                raise
            if background:
                os.close(lifeline)
                lifeline = -1
        lab = cls(folder, pid, codes, faults, lifeline)
        state = {"pid": pid, "started": _started(pid), "vantages": codes, "faults": faults}
        (folder / _STATE).write_text(json.dumps(state) + "\n")
        return lab

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """Give the lab that is up in `folder`, or None."""
        folder = folder.absolute()
        try:
            state = json.loads((folder / _STATE).read_text())
        except (OSError, ValueError):
            return None
        if _started(state["pid"]) != state["started"]:
            return None
        return cls(folder, state["pid"], tuple(state["vantages"]), state["faults"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def down(self) -> None:
        """End it and remove its files but the logs; nothing happens when it is down already."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        state = self.find(self.folder)
        if state is not None and state.pid == self.pid:
            _end(self.pid)
        if _free(self.folder):
            for name in (*_OURS, _STATE, "lock"):
                if name != "logs":
                    _remove(self.folder / name)

    @property
    def profiles(self) -> Path:
        """The folder of the files that the provider gives to its customers."""
        return self.folder / "profiles"

    def truth(self, since_s: float = 0.0) -> dict[str, Any]:
        """Give what is true of it, ready for JSON; `truth.of` says what is in it.

        Args:
            since_s: packets of the delay lines count from this time on [s, UTC].

        Raises:
            LabError: it is no longer up.
        """
        names = " ".join((*(server.key for server in topology.SERVERS), topology.ORIGIN))
        counters = self.run("core", ["sh", "-ec", truth.COUNTERS.format(names=names)])
        if counters.returncode:
            raise LabError(f"can't read the lab's counters: {counters.stderr.strip()}")
        return truth.of(self.folder, self.vantages, counters.stdout, broken=self.faults, since_s=since_s)

    def change_world(self, changes: Changes) -> None:
        """Let platforms be other than the world's map says, from the next request on.

        Args:
            changes: all of them; what was changed before is as on the map again.
        """
        world.change(self.folder, changes)

    def netns(self, name: str) -> Path:
        """Give the file of a network namespace: "core", "origin", "faults", a vantage's or a server's.

        Raises:
            LabError: it has none of that name.
        """
        path = Path(f"/proc/{self.pid}/root/run/netns") / name
        if not path.exists():
            raise LabError(f'the lab has no namespace "{name}", or is no longer up')
        return path

    def command(self, netns: str, argv: Sequence[str | Path]) -> list[str]:
        """Give the command that runs `argv` in the lab's namespaces, at `netns`."""
        enter = Path(__file__).with_name("enter.py")
        return [sys.executable, "-I", "-S", str(enter), str(self.pid), netns, *map(str, argv)]

    def popen(self, netns: str, argv: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
        """Start `argv` at a vantage, or in another of the lab's namespaces.

        The process given passes signals on; killing it kills the program.

        Args:
            netns: a vantage's code, or another name that `netns` takes.
            argv: the program.
            options: of `subprocess.Popen`.
        """
        return subprocess.Popen(self.command(netns, argv), **options)

    def run(
        self, netns: str, argv: Sequence[str | Path], within_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `argv` as `popen` does, to its end; its output is captured."""
        return subprocess.run(
            self.command(netns, argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )


def missing_programs() -> list[str]:
    """Give the programs that a lab needs and this host lacks."""
    return [program for program in _NEEDED if shutil.which(program) is None]


def _start(folder: Path, codes: Sequence[str], *, faults: bool, lifeline: int, lock: int) -> int:
    """Start the room and return its first process's pid when it is ready."""
    read, write = os.pipe2(os.O_CLOEXEC)
    options = {
        "folder": str(folder),
        "vantages": len(codes),
        "faults": faults,
        "resolver": topology.ORIGIN_ADDRESSES["resolver"][0],
        "tell": write,
        "lifeline": lifeline,
    }
    try:
        with (folder / "logs" / "room.log").open("wb") as log:
            room = subprocess.Popen(
                [sys.executable, "-m", "sonde_lab.room", json.dumps(options)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[fd for fd in (write, lock, lifeline) if fd >= 0],
                start_new_session=True,
            )
    finally:
        os.close(write)
    with os.fdopen(read, "rb", buffering=0) as told:
        said = _told(told.fileno()) or f"error it ended; see {folder / 'logs' / 'room.log'}"
    room.wait()
    pid = re.match(r"pid (\d+)\n", said)
    if pid is not None and said.endswith("\nready\n"):
        return int(pid[1])
    if pid is not None:
        _end(int(pid[1]))
    raise LabError(f"the lab did not come up: {said.partition('error ')[2].strip()}")


def _told(fd: int) -> str:
    """What the room says until it is ready, or ends."""
    deadline = time.monotonic() + _UP_WITHIN_S
    said = b""
    while select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
        part = os.read(fd, 65_536)
        said += part
        if not part or b"ready\n" in said:
            return said.decode(errors="replace")
    return said.decode(errors="replace") + f"error it took more than {_UP_WITHIN_S:.0f} s\n"


def _lock(folder: Path) -> int:
    """Hold the folder for one lab; its first process inherits the hold."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LabError(f"can't write {folder}: {error.strerror}; give another folder with --dir") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise LabError(
            f"a lab is up in {folder} already: use it, end it with `sonde-lab down`, "
            "or give another folder with --dir"
        ) from None
    return fd


def _free(folder: Path) -> bool:
    """Whether no lab holds the folder; waits a moment for one that is ending."""
    deadline = time.monotonic() + _DOWN_WITHIN_S
    while True:
        try:
            os.close(_lock(folder))
        except LabError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _end(pid: int) -> None:
    """Kill the room's first process, and with it all of the lab, and wait until it is gone."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        select.select([fd], [], [], _DOWN_WITHIN_S)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


def _started(pid: int) -> int:
    """When a process started, in the kernel's ticks: with the pid it names one process for ever; 0 = none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])  # who has died runs no lab, whoever reaps it


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
