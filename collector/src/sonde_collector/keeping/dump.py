"""PostgreSQL's own programs at work: what they say is followed, and how they end is told in one message."""

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from sonde_collector.db import programs
from sonde_collector.db.errors import BackupError

Tell = Callable[[str, int, int], None]
"""(what is being done, so many of them done, of so many)."""

DUMP, ROLES = "database.dump", "roles.sql"
_LOCK_WAIT = "60s"  # behind somebody's DDL that waits for us in turn: an error is better than for ever
_DUMPING = re.compile(r"dumping contents of table ")
_RESTORED = re.compile(r"(?:processing data for table |finished item \d+ TABLE DATA )")
_KEPT_LINES = 6


def dump(url: str, snapshot: str, to: Path, tables: int, tell: Tell) -> None:
    """Writes the database as a snapshot shows it, in pg_dump's custom format.

    Raises:
        BackupError: pg_dump failed; the message holds what it said.
    """
    arguments = [
        "--format=custom",
        "--compress=gzip:3",
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={_LOCK_WAIT}",
        "--verbose",
        f"--file={to}",
        url,
    ]
    _follow("pg_dump", arguments, _DUMPING, lambda done: tell("tables written", done, tables))


def dump_roles(url: str, to: Path) -> None:
    """Writes who may log in, without their passwords: rights in the database name them.

    Raises:
        BackupError: pg_dumpall failed.
    """
    _follow("pg_dumpall", ["--roles-only", "--no-role-passwords", f"--file={to}", f"--dbname={url}"])


def make_roles(url: str, source: Path) -> None:
    """Makes the roles of a backup; those that are there already stay."""
    _follow("psql", ["--no-psqlrc", "--quiet", "--output=/dev/null", f"--file={source}", url])


def restore(url: str, source: Path, tables: int, tell: Tell) -> None:
    """Fills an empty database.

    Raises:
        BackupError: pg_restore failed; the message holds what it said.
    """
    arguments = [
        "--exit-on-error",
        "--no-owner",
        f"--jobs={min(4, os.cpu_count() or 1)}",
        "--verbose",
        f"--dbname={url}",
        str(source),
    ]
    _follow("pg_restore", arguments, _RESTORED, lambda done: tell("tables restored", done, tables))


def _follow(
    program: str,
    arguments: Sequence[str],
    sign: re.Pattern[str] | None = None,
    count: Callable[[int], None] = lambda _: None,
) -> None:
    """Runs a program of the wheel to its end, and counts the lines that tell of progress."""
    done, last = 0, deque[str](maxlen=_KEPT_LINES)
    process = subprocess.Popen(
        [str(programs.embedded_programs() / program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C", "PGTZ": "UTC"},
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if sign is not None and sign.search(line):
                done += 1
                count(done)
            else:
                last.append(line.strip())
        code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code != 0:
        said = [line for line in last if "error" in line or "detail" in line.lower()] or list(last)
        raise BackupError(f"{program} failed: {'; '.join(said) or f'exit {code}'}")
