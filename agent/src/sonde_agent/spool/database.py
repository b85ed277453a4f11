"""The SQLite file: opened, checked, set aside when it is unreadable."""

import contextlib
import sqlite3
import time
from pathlib import Path

import structlog

from sonde_agent.spool.model import SpoolError

log = structlog.get_logger()

FORMAT = 1
APPLICATION_ID = 0x534F4E44  # "SOND"
PAGE_BYTES = 4096
LOG_PAGES = (
    200  # the write-ahead log is folded in at this length: the reserve must outweigh what that can add
)
_HEADROOM = 64  # pages over the bound, for the gap that records a drop
_CACHE_KIB = 512  # what is written is read back once and soon; a larger cache only grows the agent
_SCHEMA = Path(__file__).with_name("schema.sql")  # importlib.resources would load tempfile, shutil, lzma, bz2


def connect(path: Path) -> sqlite3.Connection:
    """Open the spool's file, making it when there is none; set an unreadable one aside and begin a new one.

    Raises:
        SpoolError: a newer agent made it, or it can't be opened for want of rights or space.
    """
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise SpoolError(f"{path}: {error}; check the rights and the free space of state_dir") from error
        set_aside(path, str(error))
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        raise SpoolError(f"{path}: {error}; check the rights and the free space of state_dir") from error


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file itself is broken."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def set_aside(path: Path, reason: str) -> None:
    """Rename a broken spool and its WAL, so that a person can look at them."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.stem}.corrupt-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.stem}.corrupt-{stamp}-{number}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    log.error(
        "spool_corrupt",
        reason=reason,
        set_aside=str(aside),
        hint="a new spool was begun; `sqlite3 FILE .recover` may save results from this one",
    )


def used_bytes(db: sqlite3.Connection) -> int:
    """What the file holds: its pages without the free ones."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    return int(pages - free) * PAGE_BYTES


def shrink(db: sqlite3.Connection, max_bytes: int) -> None:
    """Give the disk back what a file over its bound no longer uses, and hold the file to its bound."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    bound = max_bytes // PAGE_BYTES + _HEADROOM
    if pages > bound:
        db.execute(f"PRAGMA incremental_vacuum({pages - bound})").fetchall()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.execute(f"PRAGMA max_page_count = {bound}").fetchall()


def freeze(db: sqlite3.Connection) -> None:
    """Fold the log in and let the file grow no more, for a full disk: from now on it reuses its own pages.

    A file that does not grow needs no space for the log's pages either, so this state holds by itself.
    """
    with contextlib.suppress(sqlite3.OperationalError):
        db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    db.execute("PRAGMA max_page_count = 1").fetchall()  # SQLite makes it the present size


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and (application != APPLICATION_ID or version == 0):
        raise SpoolError(
            f"{path}: this SQLite file is not a spool; move it away, or choose another state_dir"
        )
    if version > FORMAT:
        raise SpoolError(
            f"{path}: a newer sonde-agent made this spool (format {version}, this one reads {FORMAT}); "
            "upgrade sonde-agent, or choose another state_dir"
        )
    if not tables:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that a lowered bound can shrink the file
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # an append that returned is on the disk
    db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    if not tables:
        schema = _SCHEMA.read_text(encoding="utf-8")
        db.executescript(
            f"BEGIN; {schema} PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {FORMAT}; COMMIT;"
        )
    for table in ("streams", "gaps", "origins"):  # damage here must show now, not in the middle of a run
        db.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  # names of our own
