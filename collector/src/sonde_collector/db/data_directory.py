"""A data directory of the embedded PostgreSQL, as it lies on the disk: of which major, and who is on it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sonde_collector.db.errors import EmbeddedError

LOCK, USERS = "postgres.lock", "postgres.users"
"""Beside it: who starts or stops a server holds the one, who uses the server shares the other."""


def major_of(data: Path) -> str:
    """Gives the major version of PostgreSQL that made it.

    Raises:
        EmbeddedError: it is no data directory.
    """
    try:
        return (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise EmbeddedError(
            f"{data} is no PostgreSQL data directory: move it away, or give another state_dir"
        ) from None


def postmaster(data: Path) -> int | None:
    """Gives the process that runs on it, by its pid file; None where that is stale or missing."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        arguments = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(data) in arguments else None


@contextlib.contextmanager
def alone(state_dir: Path) -> Iterator[None]:
    """Keeps every other process of ours from using or starting the server of a state directory.

    Raises:
        EmbeddedError: one uses it.
    """
    with contextlib.ExitStack() as stack:
        for name in (LOCK, USERS):
            descriptor = os.open(state_dir / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EmbeddedError(
                    f"{state_dir / 'postgres'} is in use: stop the collector, and all other commands on it"
                ) from None
        yield
