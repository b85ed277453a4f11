"""How much the spool may hold, and for how long."""

import sqlite3
import time
from collections.abc import Callable

import structlog

from sonde_agent.spool import database, ledger
from sonde_agent.spool.ledger import Stream
from sonde_agent.spool.model import SpoolStats

log = structlog.get_logger()

_CHECK_EVERY_S = 10.0
_EXPIRE_ROWS = 50_000  # a transaction stays short; the next check takes the rest
_STEP_S = 60.0
_SETTLE_S = 3600.0


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Bounds:
    """Bounds on bytes and age, applied inside the caller's transaction.

    A wall clock that was just stepped is not believed for an hour: a wrong date must not empty the spool.
    """

    def __init__(
        self,
        max_bytes: int,
        max_age_s: float,
        history_s: float,
        now: Callable[[], float],
        boottime: Callable[[], float] = _boottime,
    ) -> None:
        self.max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._history_s = history_s
        self._now = now
        self._boottime = boottime
        self._offset = now() - boottime()
        self._doubt_until = boottime()
        self._checked = boottime() - _CHECK_EVERY_S

    def exceeded(self, db: sqlite3.Connection) -> bool:
        """Whether the file holds more than its bound."""
        return database.used_bytes(db) > self.max_bytes

    def make_room(self, db: sqlite3.Connection, streams: list[Stream], size: int) -> int:
        """Delete the oldest until so many bytes more fit, or nothing is left.

        Returns:
            How many waiting results were dropped.
        """
        over = database.used_bytes(db) + size + size // 8 - self.max_bytes
        if over <= 0:
            return 0
        # A slab more than needed, so that not every append has to drop.
        return ledger.free_oldest(db, streams, over + self.max_bytes // 64)

    def expire(self, db: sqlite3.Connection, streams: list[Stream], *, at_once: bool = False) -> None:
        """Delete history and drop waiting results that are past their age; looks every 10 s."""
        boottime = self._boottime()
        if not at_once and boottime - self._checked < _CHECK_EVERY_S:
            return
        self._checked = boottime
        now = self._now()
        if abs(now - boottime - self._offset) > _STEP_S:
            self._doubt_until = boottime + _SETTLE_S
        self._offset = now - boottime
        if boottime < self._doubt_until:
            return
        for stream in streams:
            self._expire_history(db, stream, int((now - self._history_s) * 1e6))
            self._expire_waiting(db, stream, int((now - self._max_age_s) * 1e6))

    def _expire_history(self, db: sqlite3.Connection, stream: Stream, before_us: int) -> None:
        (seq,) = db.execute(
            "SELECT max(seq) FROM acks WHERE stream = ? AND at_us <= ?", (stream.id, before_us)
        ).fetchone()
        if seq is None:
            return
        far = db.execute(
            "SELECT seq FROM results WHERE stream = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT 1 OFFSET ?",
            (stream.id, stream.floor_seq, seq, _EXPIRE_ROWS),
        ).fetchone()
        target = far[0] if far else min(seq, stream.acked_seq)
        if ledger.chain_at(db, stream, target) is not None:
            ledger.raise_floor(db, stream, target)

    def _expire_waiting(self, db: sqlite3.Connection, stream: Stream, before_us: int) -> None:
        oldest = db.execute(
            "SELECT measured_us FROM results WHERE stream = ? AND seq > ? ORDER BY seq LIMIT 1",
            (stream.id, stream.acked_seq),
        ).fetchone()
        if oldest is None or oldest[0] > before_us:
            return
        # The first that is young enough ends the prefix that goes.
        young = db.execute(
            "SELECT seq, measured_us FROM results WHERE stream = ? AND seq > ? AND measured_us > ? "
            "ORDER BY seq LIMIT 1",
            (stream.id, stream.acked_seq, before_us),
        ).fetchone()
        dropped = ledger.drop(db, stream, young[0] - 1 if young else stream.highest_seq, ledger.TOO_OLD)
        log.warning("spool_too_old", dropped=dropped, hint="these results waited longer than spool.max_age")

    def stats(self, db: sqlite3.Connection, streams: list[Stream], lost: int) -> SpoolStats:
        """Figures for people and metrics, without counting rows one by one."""
        waiting = history = gaps = 0
        oldest: list[int] = []
        for stream in streams:
            held = stream.acked_seq - stream.floor_seq
            unsent = stream.highest_seq - stream.acked_seq
            for first, last in db.execute(
                "SELECT first_seq, last_seq FROM gaps WHERE stream = ?", (stream.id,)
            ).fetchall():
                if last <= stream.acked_seq:
                    held -= last - first + 1
                else:
                    unsent -= last - first + 1
                    gaps += 1
            waiting, history = waiting + unsent, history + held
            first_row = db.execute(
                "SELECT measured_us FROM results WHERE stream = ? AND seq > ? ORDER BY seq LIMIT 1",
                (stream.id, stream.acked_seq),
            ).fetchone()
            oldest += [first_row[0]] if first_row else []
        (quarantined,) = db.execute("SELECT count(*) FROM quarantine").fetchone()
        return SpoolStats(
            rows=waiting,
            bytes=database.used_bytes(db),
            oldest_us=min(oldest, default=None),
            gaps=gaps,
            quarantined=quarantined,
            history=history,
            lost=lost,
        )
