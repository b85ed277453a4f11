"""Data of an older PostgreSQL major becomes data of this program's: made beside, compared, then exchanged.

Killed at any moment, the data directory is wholly the old one or the new one; the next run goes on, or begins
anew. The old one stays until it is told to go.
"""

import ctypes
import errno
import os
import shutil
from pathlib import Path

import psycopg
from attrs import frozen

from sonde_collector.db import programs
from sonde_collector.db.data_directory import alone, major_of
from sonde_collector.db.digests import Content, digests
from sonde_collector.db.embedded import Embedded
from sonde_collector.db.errors import EmbeddedError
from sonde_collector.db.older import Older, find_programs, older, stop
from sonde_collector.db.pool import connect
from sonde_collector.db.queries import query
from sonde_collector.keeping import dump
from sonde_collector.keeping.dump import Tell

_BESIDE = "postgres.converting"
_ROOM = 1.5  # of what the old data takes: the new data, and a dump of it meanwhile
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@frozen
class Plan:
    """What is to be done.

    Attributes:
        state_dir: of the collector.
        major: of the data.
        binaries: that read it; None: it is of this program's major already.
        bytes: that it takes. [bytes]
        free: where it lies. [bytes]
        old: what is kept of earlier conversions.
    """

    state_dir: Path
    major: str
    binaries: Path | None
    bytes: int
    free: int
    old: tuple[Path, ...]

    @property
    def data(self) -> Path:
        """The directory in use."""
        return self.state_dir / "postgres"

    @property
    def kept(self) -> Path:
        """Where the old one will be."""
        return self.state_dir / f"postgres-{self.major}"

    @property
    def needs(self) -> int:
        """How much must be free. [bytes]"""
        return int(self.bytes * _ROOM)


def plan(state_dir: Path, named: Path | None) -> Plan:
    """Looks at what is there; changes nothing.

    Args:
        state_dir: of the collector.
        named: where the older programs are, if somebody said so.

    Raises:
        EmbeddedError: it can't be converted; the message says why.
    """
    state_dir = state_dir.resolve()
    data = state_dir / "postgres"
    major = major_of(data)
    if not major.isdigit():  # "9.6", or no version at all
        raise EmbeddedError(
            f'{data} says that PostgreSQL "{major[:20]}" made it: only 10 and newer can be converted'
        )
    if int(major) > programs.MAJOR:
        raise EmbeddedError(
            f"{data} holds data of PostgreSQL {major}, which is newer than this program's {programs.MAJOR}: "
            "use the newer sonde-collector"
        )
    binaries = None if major == str(programs.MAJOR) else find_programs(major, named)
    size = sum(path.lstat().st_size for path in data.rglob("*"))
    old = tuple(sorted(path for path in state_dir.glob("postgres-*") if (path / "PG_VERSION").is_file()))
    return Plan(state_dir, major, binaries, size, shutil.disk_usage(state_dir).free, old)


def convert(planned: Plan, tell: Tell) -> dict[str, Content]:
    """Does it; gives what each table held before and holds now.

    Raises:
        EmbeddedError, BackupError: it was not done, and the data in use is as it was.
    """
    beside = planned.state_dir / _BESIDE
    with alone(planned.state_dir):
        _tidy(planned.state_dir)
        if planned.binaries is None:
            return {}
        if planned.kept.exists():
            raise EmbeddedError(f"{planned.kept} is there already: see what it is, and move it away")
        if planned.free < planned.needs:
            raise EmbeddedError(
                f"a copy of {planned.data} needs about {planned.needs} bytes beside it, and only "
                f"{planned.free} are free: make room first"
            )
        try:
            with older(planned.data, planned.binaries) as old, Embedded(beside) as new:
                content = _fill(old, new, beside, tell)
            _exchange(planned.data, beside / "postgres")
        except BaseException:
            if major_of(planned.data) == planned.major:
                _remove(beside)
            raise
        _tidy(planned.state_dir)
    return content


def remove_old(planned: Plan) -> None:
    """Removes what was kept of earlier conversions.

    Raises:
        EmbeddedError: the data in use is not of this program's major, so that they may be needed.
    """
    if planned.binaries is not None:
        raise EmbeddedError(f"{planned.data} is of PostgreSQL {planned.major} itself: convert it first")
    with alone(planned.state_dir):
        _tidy(planned.state_dir)
        for path in planned.state_dir.glob("postgres-*"):
            if (path / "PG_VERSION").is_file():
                shutil.rmtree(path)


def _fill(old: Older, new: Embedded, beside: Path, tell: Tell) -> dict[str, Content]:
    file, roles = beside / dump.DUMP, beside / dump.ROLES
    with connect(old.url, options="-c timezone=UTC") as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        if others := [row[0] for row in conn.execute(query("keeping_other_databases"))]:
            raise EmbeddedError(f"it also holds the database {', '.join(others)}: move it elsewhere first")
        tell("tables read", 0, 1)
        before = digests(conn)
        tell("tables read", 1, 1)
        row = conn.execute(query("keeping_export")).fetchone()
        assert row is not None
        dump.dump(old.url, row[0], file, len(before), tell)
    dump.dump_roles(old.url_of("postgres"), roles)
    dump.make_roles(new.url_of("postgres"), roles)
    dump.restore(new.url, file, len(before), tell)
    with connect(new.url, autocommit=True) as conn:
        tell("tables compared", 0, 1)
        after = digests(conn)
        if wrong := sorted(name for name in before.keys() | after if before.get(name) != after.get(name)):
            raise EmbeddedError(
                f"what was converted is not what was there: {', '.join(wrong[:5])} (a mistake of ours)"
            )
        tell("tables compared", 1, 1)
        conn.execute(query("keeping_analyze"))
    return after


def _tidy(state_dir: Path) -> None:
    """Brings to an end what a run left that was killed: the old data is kept, what was half made goes."""
    beside = state_dir / _BESIDE
    left = beside / "postgres"
    if left.exists() and (major := major_of(left)) != str(programs.MAJOR):
        left.rename(state_dir / f"postgres-{major}")
    _remove(beside)


def _remove(beside: Path) -> None:
    stop(beside / "postgres")
    shutil.rmtree(beside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> None:
    """Gives each the other's name, in one step (renameat2(2)), and sees to it that this is on the disk."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = [os.fsencode(path) for path in (one, other)]
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        if number in {errno.EINVAL, errno.ENOSYS}:
            raise EmbeddedError(f"the file system of {one} can't exchange two directories in one step")
        raise OSError(number, os.strerror(number), str(one))
    for parent in {one.parent, other.parent}:
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
