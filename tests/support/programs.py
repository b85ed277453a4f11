"""Our programs, started as a user starts them, and ended as the world ends them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

BIN = Path(sys.executable).parent
T = TypeVar("T")


class Program:
    """One process of ours, its output in a file.

    Args:
        argv: the command; a bare first word is looked up beside this Python.
        log: where stdout and stderr go, appended.
    """

    def __init__(self, *argv: str, log: Path, env: dict[str, str] | None = None) -> None:
        self.argv = [str(BIN / argv[0]) if (BIN / argv[0]).exists() else argv[0], *argv[1:]]
        self.log = log
        self.env = {**os.environ, **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts the process; a test run that is killed takes it along."""
        assert not self.running, f"{self.argv[0]} runs already"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.env,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self._end(signal.SIGKILL, 10)

    def stop(self, within_s: float = 20) -> int:
        """SIGTERM; returns the exit code, and fails when it takes longer than `within_s`."""
        return self._end(signal.SIGTERM, within_s)

    def _end(self, number: signal.Signals, within_s: float) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.argv[0]} did not end within {within_s} s\n{self.tail()}") from None

    def tail(self, characters: int = 3000) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


def run(
    *argv: str, env: dict[str, str] | None = None, within_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Runs a command of ours to its end."""
    command = [str(BIN / argv[0]) if (BIN / argv[0]).exists() else argv[0], *argv[1:]]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=within_s,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )


def eventually(probe: Callable[[], T | None], within_s: float, what: Callable[[], str] | str) -> T:
    """Polls until `probe` gives something true; fails with `what` after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
