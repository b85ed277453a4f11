"""Runs a program inside a lab: in its user, mount and PID namespaces, and in one of its network namespaces.

usage: python -I -S enter.py PID NETNS PROGRAM ARGUMENT…     (PID: the lab's first process)

The exit code is the program's. Signals are passed on; when this process is killed, so is the program.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # started alone and quick, without the package

import libc  # type: ignore[import-not-found]

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_NOT_FOUND = 127


def main(pid: str, netns: str, argv: list[str]) -> int:
    """Run `argv` and return its exit code, 128 + the signal's number when one ended it."""
    base = Path("/proc") / pid
    try:
        files = [(kind, os.open(path, os.O_RDONLY)) for kind, path in _namespaces(base, netns)]
        here = Path.cwd()
        for kind, fd in files:
            libc.setns(fd, kind)
            os.close(fd)
    except OSError as error:
        print(f"can't enter {netns}: {error.strerror}; is the lab up?", file=sys.stderr)
        return _NOT_FOUND
    os.chdir(here)
    return _run(argv)


def _namespaces(base: Path, netns: str) -> list[tuple[int, Path]]:
    """Every namespace to enter and its file, in the order in which they are entered."""
    wanted = [
        (libc.CLONE_NEWUSER, base / "ns/user"),
        (libc.CLONE_NEWNET, base / "root/run/netns" / netns),
        (libc.CLONE_NEWPID, base / "ns/pid"),
        (libc.CLONE_NEWNS, base / "ns/mnt"),
    ]
    ours = Path("/proc/self/ns/user").readlink() == (base / "ns/user").readlink()
    return wanted[1:] if ours else wanted  # entering one's own user namespace is refused


def _run(argv: list[str]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    child = os.fork()
    if child == 0:
        # The parent is outside this PID namespace, so getppid() can't tell whether it still lives: its
        # death before the next line leaves the program to the lab, which ends it when it ends.
        libc.die_with_parent(signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        try:
            os.execvp(argv[0], argv)  # noqa: S606 -- the caller's own program
        except OSError as error:
            print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
            os._exit(_NOT_FOUND)
    for number in _PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(child, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
