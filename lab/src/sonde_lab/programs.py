"""The programs of a room: each started in a namespace of the lab, its words in a file of its own."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

NETNS = Path("/run/netns")
"""Of the room, a file system of its own."""
_LAST_LINES = 5


class LabError(Exception):
    """The lab can't come up, or can't be reached; the message says why and what to do."""


class Programs:
    """What runs in the room; all of it ends with the room's first process.

    Args:
        logs: folder for NAME.log.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, netns: str, argv: Sequence[str | Path], env: dict[str, str] | None = None
    ) -> None:
        """Start `argv` in the namespace `netns`."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["nsenter", f"--net={NETNS / netns}", "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
            )

    def wait(self, ready: Callable[[], bool], *, name: str, seconds: float = 10.0) -> None:
        """Return when `ready` says that the program `name` is ready.

        Raises:
            LabError: it has ended, or the time is over.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            code = self._running[name].poll()
            if code is not None or time.monotonic() > deadline:
                what = f"took more than {seconds:.0f} s" if code is None else f"ended with {code}"
                raise LabError(f"{name} {what}; {self.tail(name)}")
            time.sleep(0.005)

    def said(self, name: str) -> str:
        """Give all that a program said so far."""
        return (self._logs / f"{name}.log").read_text(errors="replace")

    def tail(self, name: str) -> str:
        """Give the last lines that a program said, for a message."""
        log, lines = self._logs / f"{name}.log", self.said(name).splitlines()[-_LAST_LINES:]
        return f"{log} ends with:\n  " + "\n  ".join(lines or ["(it said nothing)"])

    def serve(self, lifeline: int, tell: Callable[[], None]) -> None:
        """Return at SIGTERM, or when the other end of `lifeline` is closed; until then reap whatever ends.

        As the room's first process it also inherits what others left.

        Args:
            lifeline: file descriptor, or -1 for none.
            tell: says that the lab is ready; from then on SIGTERM is obeyed.
        """
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        poll = select.poll()
        poll.register(read, select.POLLIN)
        if lifeline >= 0:
            poll.register(lifeline, select.POLLIN)
        tell()
        self._reap()
        while True:
            for fd, _ in poll.poll():
                if fd == lifeline or signal.SIGTERM in os.read(read, 4096):
                    return
            self._reap()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for name, process in self._running.items():
                if process.pid == pid:
                    print(f"{name} ended with {os.waitstatus_to_exitcode(status)}", flush=True)


def in_netns(netns: str, script: str) -> None:
    """Run a shell script in a namespace of the room.

    Raises:
        LabError: a line of it failed.
    """
    finish(begin(netns, script), netns)


def begin(netns: str, script: str) -> subprocess.Popen[str]:
    """Start a shell script in a namespace; `finish` waits for it."""
    process = subprocess.Popen(
        ["nsenter", f"--net={NETNS / netns}", "--", "sh", "-e"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(script)
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[str], netns: str) -> None:
    """Wait for a script.

    Raises:
        LabError: it failed.
    """
    said, _ = process.communicate(timeout=30)
    if process.returncode:
        raise LabError(f"can't set up namespace {netns}: {said.strip()}")
