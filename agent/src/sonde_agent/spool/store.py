"""The spool: every result is on the disk when `append` returns, and stays until the collector acked it."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import structlog

from sonde_agent.spool import cursor, database, ledger
from sonde_agent.spool.book import Book
from sonde_agent.spool.bounds import Bounds
from sonde_agent.spool.model import (
    Chunk,
    Diverged,
    SpoolError,
    SpoolStats,
    StreamView,
    checksum,
    link,
    link_gap,
)
from sonde_agent.spool.reading import Reader
from sonde_proto.v1 import results_pb2

log = structlog.get_logger()

MIN_BYTES = 256 * 1024  # below, tables and reserve alone would fill it
_RESERVE_BYTES = 2 << 20  # the log's pages and one portion fit in
_PORTION_BYTES = 512 << 10
_MOST_ORIGINS = 1000  # a collector may send a new revision each second; those that no result is of go then


class Spool:
    """One SQLite file with one or more streams of results. Safe to use from several threads.

    Attributes:
        on_append: called after each durable append, from the thread that appended; wakes the uplink.
    """

    def __init__(self, path: Path, bounds: Bounds, now: Callable[[], float]) -> None:
        self._bounds = bounds
        self._now = now
        self._mutex = threading.RLock()
        self._lost: list[int] = []  # measured_at of results without room: a gap once there is some
        self._told: set[str] = set()  # a full disk or spool is told once, until it has ended
        self._origin: tuple[bytes, int] = (b"", 0)
        self.on_append: Callable[[], None] = lambda: None
        self._book = Book(path, bounds)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        max_bytes: int,
        max_age_s: float,
        history_s: float,
        now: Callable[[], float] = time.time,
    ) -> Self:
        """Open the spool, or make it.

        A copied or restored file begins a new stream; a damaged one is set aside; one over its bound is
        brought under it by dropping the oldest.

        Args:
            path: the file; its directory is made, and locked for this process.
            max_bytes: bound on what the file holds, >= 256 KiB. Log and reserve beside it add up to 4 MiB.
            max_age_s: results that waited longer are dropped, with a gap.
            history_s: how long acked results are kept after their ack.
            now: wall clock, seconds since 1970.

        Raises:
            SpoolError: another agent uses it, a newer one made it, or the directory can't be written.
        """
        if max_bytes < MIN_BYTES:
            raise SpoolError(f"spool.max_bytes: {max_bytes} is too small; the least is {MIN_BYTES} (256KiB)")
        try:
            return cls(path, Bounds(max_bytes, max_age_s, history_s, now), now)
        except OSError as error:
            raise SpoolError(
                f"{path}: {error.strerror}; the agent must be able to write its state_dir"
            ) from error

    # ── results in ──────────────────────────────────────────────────────────────────────────────────────

    def measured_under(self, database_id: bytes, revision: int) -> None:
        """Say which assignment the results appended from now on were measured under."""
        self._origin = (database_id, revision)

    def append(self, results: Sequence[results_pb2.Result]) -> tuple[bytes, int]:
        """Keep results; they are on the disk when this returns. Give the stream's epoch and the last seq.

        Never raises for a full bound, a full or a failing disk: the oldest make room, and what finds none at
        all is counted and becomes a gap when there is room again.
        """
        rows = [(result.measured_at_us, result.SerializeToString()) for result in results]
        # One transaction, unless it is so large that it alone would push all else out.
        portion = min(self._bounds.max_bytes // 4, _PORTION_BYTES)
        with self._mutex:
            self._book.check_open()
            while rows:
                size, count = 0, 0
                while count < len(rows) and (count == 0 or size + len(rows[count][1]) <= portion):
                    size += len(rows[count][1]) + ledger.ROW_OVERHEAD_BYTES
                    count += 1
                self._keep(rows[:count], size)
                rows = rows[count:]
            stream = self._book.current
            end = stream.epoch, stream.highest_seq + len(self._lost)  # what found no room becomes a gap there
        self.on_append()
        return end

    def _keep(self, rows: Sequence[tuple[int, bytes]], size: int) -> None:
        try:
            if not self._book.reserve.held and self._book.reserve.take():  # the disk has room again
                database.shrink(self._book.db, self._bounds.max_bytes)
                self._told.discard("disk_full")
            self._insert(rows, size)
        except sqlite3.Error as error:
            self._keep_in_need(rows, size, error)

    def _keep_in_need(self, rows: Sequence[tuple[int, bytes]], size: int, error: sqlite3.Error) -> None:
        """A write failed: give up the reserve, reuse the log, drop the oldest; else count what is lost."""
        if database.is_damage(error):
            with contextlib.suppress(SpoolError, OSError, sqlite3.Error):  # else tried as a full disk is
                self._book.start_over(error)
        self._book.reserve.release()
        for slab in (0, size + (1 << 18), size + (1 << 20), self._bounds.max_bytes // 2):
            try:
                database.freeze(self._book.db)
                if slab:
                    self._drop_oldest(slab, str(error))
                self._insert(rows, size)
            except sqlite3.Error as again:
                error = again
            else:
                return
        if not self._lost:
            log.error("spool_write_failed", error=str(error), hint="free some space in state_dir")
        self._lost += [measured_us for measured_us, _ in rows]

    def _insert(self, rows: Sequence[tuple[int, bytes]], size: int) -> None:
        with self._book.transaction() as db:
            self._make_room(db, size)
            if self._lost:
                self._declare_lost(db)
            self._bounds.expire(db, self._book.streams)
            stream = self._book.current
            origin = self._origin_id(db)
            seq, chain = stream.highest_seq, stream.chain
            values = []
            for measured_us, body in rows:
                seq += 1
                chain = link(chain, seq, body)
                values.append((stream.id, seq, measured_us, origin, body, chain, checksum(body, chain)))
            db.executemany("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            stream.highest_seq, stream.chain = seq, chain
            self._make_room(db, 0)  # pages are known only now: a row over 1000 bytes takes one of its own
        self._lost.clear()
        self._book.witness.note(stream.epoch, stream.highest_seq)

    def _declare_lost(self, db: sqlite3.Connection) -> None:
        stream = self._book.current
        first, last = stream.highest_seq + 1, stream.highest_seq + len(self._lost)
        chain = link_gap(stream.chain, first, last)
        span = (min(self._lost), max(self._lost))
        ledger.add_gap(db, stream, first, last, reason=ledger.SPOOL_FULL, measured_us=span, chain=chain)
        stream.highest_seq, stream.chain = last, chain

    def _make_room(self, db: sqlite3.Connection, size: int) -> None:
        if self._bounds.make_room(db, self._book.streams, size):
            self._tell("spool_full", hint="the oldest results are dropped, with a gap, until acks come again")

    def _drop_oldest(self, want_bytes: int, why: str) -> None:
        with self._book.transaction() as db:
            ledger.free_oldest(db, self._book.streams, want_bytes)
        self._tell("disk_full", error=why, hint="free some space in state_dir; the oldest results give way")

    def _tell(self, event: str, **said: str) -> None:
        if event not in self._told:
            self._told.add(event)
            log.warning(event, **said)

    def _origin_id(self, db: sqlite3.Connection) -> int:
        found = db.execute(
            "SELECT id FROM origins WHERE database_id = ? AND revision = ?", self._origin
        ).fetchone()
        if found:
            return int(found[0])
        if db.execute("SELECT count(*) FROM origins").fetchone()[0] >= _MOST_ORIGINS:
            db.execute("DELETE FROM origins WHERE id NOT IN (SELECT DISTINCT origin FROM results)")
        origin = db.execute(
            "INSERT INTO origins (database_id, revision) VALUES (?, ?)", self._origin
        ).lastrowid
        assert origin is not None
        return origin

    # ── results out ─────────────────────────────────────────────────────────────────────────────────────

    def streams(self) -> list[StreamView]:
        """The streams to serve, in this order; all but the last only drain."""
        with self._mutex:
            self._book.check_open()
            return [
                stream.view(current=stream is self._book.current)
                for stream in self._book.streams
                if stream is self._book.current
                or (not stream.aside and stream.highest_seq > stream.floor_seq)
            ]

    def peek(self, stream: StreamView, after_seq: int, limit_rows: int, limit_bytes: int) -> Chunk:
        """The next results and gaps after a seq, none of them marked in any way.

        A row that the disk damaged becomes a gap here. At least one result is given, whatever its size.

        Args:
            stream: from `streams`.
            after_seq: >= the stream's acked_seq.
            limit_rows: at most so many results.
            limit_bytes: at most so many bytes of serialised results.

        Returns:
            An empty chunk when there is nothing.

        Raises:
            SpoolError: the stream is gone (its file was set aside), or can't be read now.
        """
        with self._mutex, self._book.readable():
            state = self._book.find(stream)
            if state is None:
                raise SpoolError(f"{self._book.path}: stream {stream.epoch.hex()} is gone")
            if after_seq >= state.highest_seq:
                return Chunk(after_seq + 1, after_seq, (), (), b"", b"", 0)
            while True:
                reader = Reader(self._book.db, state, after_seq)
                chunk = reader.read(limit_rows, limit_bytes)
                if not reader.damaged:
                    return chunk
                log.error("spool_rows_corrupt", seq=reader.damaged[0], rows=len(reader.damaged))
                with self._book.transaction() as db:
                    for seq in reader.damaged:
                        ledger.declare(db, state, seq, seq, ledger.CORRUPT)

    def ack(self, stream: StreamView, seq: int, database_id: bytes, chain: bytes = b"") -> None:
        """Mark all up to seq as committed in a database; they become history.

        Raises:
            Diverged: the collector's chain at seq is not the spool's.
            SpoolError: seq was never given, or the file can't be written.
        """
        with self._mutex, self._book.readable():
            state = self._book.find(stream)
            if state is None or (seq <= state.acked_seq and database_id == state.database_id):
                return
            if seq > state.highest_seq:
                raise SpoolError(f"the collector acked seq {seq}, the last one given is {state.highest_seq}")
            known = ledger.chain_at(self._book.db, state, seq)
            if chain and known is not None and known != chain:
                raise Diverged(f"the collector's chain at seq {seq} is not this spool's")
            with self._book.transaction() as db:
                at = known if known is not None else chain
                cursor.advance(db, state, seq, at, database_id=database_id, at_s=self._now())
            self._told.discard("spool_full")

    def reconcile(self, stream: StreamView, seq: int, chain: bytes, database_id: bytes) -> int:
        """Take the cursor with which the collector answered a hello.

        A cursor ahead is a lost ack. One behind is a database that was restored or rebuilt: history is sent
        again, and what it no longer holds becomes a gap.

        Returns:
            The seq after which to send.

        Raises:
            Diverged: the cursor belongs to another history; the reason is kept with the stream.
            SpoolError: the file can't be written.
        """
        with self._mutex, self._book.readable():
            state = self._book.find(stream)
            if state is None:
                return seq
            if seq > state.highest_seq and state.copied:
                # Nothing was added since the copy was taken: the original sent all of it, and more.
                seq, chain = state.highest_seq, state.chain
            known = ledger.chain_at(self._book.db, state, seq) if seq <= state.highest_seq else None
            if seq > state.highest_seq or (known is not None and known != chain):
                reason = (
                    f"the collector has this stream up to seq {seq} with another history: this is a copy. "
                    "Measuring goes on; `sonde-agent spool --new-stream` sends what is new"
                )
                self.refuse(stream, reason)
                raise Diverged(reason)
            with self._book.transaction() as db:
                state.refused = ""
                if seq >= state.acked_seq:
                    cursor.advance(db, state, seq, chain, database_id=database_id, at_s=self._now())
                else:
                    cursor.rewind(db, state, seq, chain, database_id)
            return seq

    def quarantine(self, stream: StreamView, seq: int, reason: str) -> None:
        """Set one result aside for a person; a gap goes to the collector in its place."""
        with self._mutex, self._book.readable():
            state = self._book.find(stream)
            if state is None or seq <= state.acked_seq:
                return
            with self._book.transaction() as db:
                db.execute(
                    "INSERT OR IGNORE INTO quarantine SELECT stream, seq, measured_us, body, ? FROM results "
                    "WHERE stream = ? AND seq = ?",
                    (reason, state.id, seq),
                )
                ledger.declare(db, state, seq, seq, ledger.QUARANTINED)
        log.error("result_quarantined", seq=seq, reason=reason)

    def refuse(self, stream: StreamView, reason: str) -> None:
        """Remember why the collector does not take this stream; `new_stream` then leaves it aside."""
        with self._mutex, self._book.readable():
            state = self._book.find(stream)
            if state is not None and state.refused != reason:
                with self._book.transaction() as db:
                    state.refused = reason
                    ledger.save(db, state)

    def new_stream(self) -> StreamView:
        """Begin a new stream for new results. Refused ones are given up: kept until their age, never sent."""
        with self._mutex, self._book.readable():
            with self._book.transaction() as db:
                for stream in self._book.streams:
                    if stream.refused:
                        stream.aside = True
                        ledger.save(db, stream)
                self._book.begin_stream(db)
            self._book.witness.note(self._book.current.epoch, 0)
            return self._book.current.view(current=True)

    def stats(self) -> SpoolStats:
        """How full the spool is; cheap."""
        with self._mutex, self._book.readable():
            return self._bounds.stats(self._book.db, self._book.streams, len(self._lost))

    def close(self) -> None:
        """Close the files; nothing is marked."""
        with self._mutex:
            self._book.close()
