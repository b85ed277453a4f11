"""The demo's programs as child processes that never outlive it."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GRACE_S = 20.0  # a collector finishes its writes and stops its database within a few seconds

_libc = ctypes.CDLL(None, use_errno=True)


class ChildFailed(Exception):
    """A program ended by itself; the message ends with the last lines it said."""


class Child:
    """A program that runs until it is stopped, or until we die: the kernel then sends it SIGTERM.

    Args:
        name: for messages and for the log file's name.
        argv: the program.
        logs: folder for NAME.log, which takes all it says.
        lock_fd: stays open in it, so that whoever waits for the lock waits for it too.
        before: runs in the child between fork and exec.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        logs: Path,
        lock_fd: int,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        parent = os.getpid()

        def prepare() -> None:
            if before is not None:
                before()
            # After `before`: a change of credentials clears it.
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(lock_fd,),
                start_new_session=True,  # Ctrl-C is for the demo, which stops its children in order
                preexec_fn=prepare,  # noqa: PLW1509 -- one thread, and nothing else sets PDEATHSIG
            )

    def check(self) -> None:
        """Do nothing while it runs.

        Raises:
            ChildFailed: it has ended.
        """
        code = self._process.poll()
        if code is not None:
            said = self.log.read_text(errors="replace").splitlines()[-5:]
            raise ChildFailed(f"{self.name} ended with {code}; {self.log} ends with:\n  " + "\n  ".join(said))

    def stop(self) -> None:
        """Ask it to end, wait, and kill it when it does not."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not stop within {_GRACE_S:.0f} s: killed")
            self._process.kill()
            self._process.wait()


def wait_until(ready: Callable[[], bool], *, seconds: float, what: str, children: Sequence[Child]) -> None:
    """Return when `ready` says so.

    Raises:
        ChildFailed: a child ended meanwhile, or the time is over.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise ChildFailed(f"{what} took more than {seconds:.0f} s; see {children[-1].log}")
        time.sleep(0.05)
