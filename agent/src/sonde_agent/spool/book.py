"""The spool's open file: the streams as they stand in it, its transactions, and what damage leads to."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from sonde_agent.spool import database, ledger
from sonde_agent.spool.bounds import Bounds
from sonde_agent.spool.files import Lock, Reserve, Witness, identity
from sonde_agent.spool.ledger import Stream
from sonde_agent.spool.model import SpoolError, StreamView

log = structlog.get_logger()

_RESERVE_BYTES = 1 << 20


class Book:
    """One SQLite file, locked for this process. The caller sees to it that one thread at a time is in here.

    Attributes:
        path: the file.
        db: the open file.
        streams: oldest first, equal to the file's after each transaction.
        bounds: what the file may hold.
        reserve: space on the disk that is given up in need.
        witness: remembers outside the file how far it had come.
    """

    def __init__(self, path: Path, bounds: Bounds) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.bounds = bounds
        self.streams: list[Stream] = []
        self._closed = False
        self._lock = Lock(path.with_suffix(".lock"))
        try:
            self.reserve = Reserve(path.with_suffix(".reserve"), min(_RESERVE_BYTES, bounds.max_bytes // 4))
            self.witness = Witness(path.with_suffix(".life"))
            self._open()
        except BaseException:
            self._lock.close()
            raise

    @property
    def current(self) -> Stream:
        """The stream that takes new results."""
        return self.streams[-1]

    def find(self, view: StreamView) -> Stream | None:
        """The state behind a view; None when its file was set aside."""
        return next((stream for stream in self.streams if stream.epoch == view.epoch), None)

    def check_open(self) -> None:
        """Raises SpoolError after `close`."""
        if self._closed:
            raise SpoolError("the spool is closed")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, `streams` included."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            self.streams = ledger.load(self.db)
            raise

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Makes a SpoolError of what SQLite says; a damaged file is set aside and a new one begun."""
        self.check_open()
        try:
            yield
        except sqlite3.Error as error:
            if database.is_damage(error):
                self.start_over(error)
            raise SpoolError(f"{self.path}: {error}") from error

    def start_over(self, error: sqlite3.Error) -> None:
        """Sets the file aside and begins a new one."""
        self.db.close()
        database.set_aside(self.path, str(error))
        self._load()

    def begin_stream(self, db: sqlite3.Connection) -> None:
        """Adds a stream of a new epoch, which becomes the current one."""
        self.streams.append(ledger.begin(db, os.urandom(16)))

    def close(self) -> None:
        """Closes the files; nothing is marked."""
        if not self._closed:
            self._closed = True
            self.db.close()
            self.witness.close()
            self._lock.close()

    def _open(self) -> None:
        try:
            self._load()
        except sqlite3.DatabaseError as error:
            if not database.is_damage(error):
                raise SpoolError(f"{self.path}: {error}; check the free space of state_dir") from error
            self.start_over(error)

    def _load(self) -> None:
        self.db = database.connect(self.path)
        self.streams = ledger.load(self.db)
        here = identity(self.path)
        found = self.db.execute("SELECT device, inode, born FROM file").fetchone()
        if found != here or not self.witness.agrees(self.current.epoch, self.current.highest_seq):
            if found:
                log.warning("spool_replaced", hint="the file was copied or restored; a new stream begins")
            with self.transaction() as db:
                for stream in self.streams:
                    stream.copied = True
                    ledger.save(db, stream)
                self.begin_stream(db)
                db.execute("INSERT OR REPLACE INTO file VALUES (1, ?, ?, ?)", here)
            self.witness.note(self.current.epoch, 0)
        self._trim()

    def _trim(self) -> None:
        """Bring the file under its bounds, a slab a transaction; forget old streams that hold nothing."""
        try:
            for _ in range(1000):
                with self.transaction() as db:
                    dropped = self.bounds.make_room(db, self.streams, 0)
                    self.bounds.expire(db, self.streams, at_once=True)
                if not dropped and not self.bounds.exceeded(self.db):
                    break
            with self.transaction() as db:
                for stream in self.streams[:-1]:
                    if stream.floor_seq == stream.highest_seq:
                        ledger.forget(db, stream)
                self.streams = ledger.load(db)
            database.shrink(self.db, self.bounds.max_bytes)
        except sqlite3.OperationalError as error:  # a full disk is no reason not to start
            log.warning("disk_full", error=str(error), hint="free some space in state_dir")
        self.reserve.take()
