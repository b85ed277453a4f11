"""Time ranges of the big tables: which are there, and making those that lack, never inside a write."""

import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import psycopg
from attrs import Factory, frozen
from numpy.typing import NDArray

from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.queries import query

Every = Literal["month", "week", "day"]
Microseconds = NDArray[np.int64]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_US = dt.timedelta(microseconds=1)
_DAY_US = 86_400_000_000
# ATTACH waits only for other DDL and vacuum; the longest of those that finishes soon, tried this often.
_PATIENCE = "2s"
_TRIES = 15


@frozen
class Partitioned:
    """A table that is partitioned by time.

    Attributes:
        table: with its schema, as Coverage names it.
        column: the time that decides.
        every: its own rhythm where the setting does not apply (rollups are small).
    """

    table: str
    column: str
    every: Every | None = None


PARTITIONED = (
    Partitioned("public.performance_logs", "measured_at"),
    Partitioned("sonde.performance_held", "measured_at"),
    Partitioned("public.streaming_checks", "checked_at"),
    Partitioned("sonde.canary_checks", "checked_at"),
    Partitioned("sonde.endpoint_checks", "measured_at"),
    Partitioned("sonde.vantage_health", "measured_at"),
    Partitioned("sonde.missed_runs", "measured_at"),
    Partitioned("sonde.batches", "received_at"),
    Partitioned("public.performance_logs_hourly", "hour", every="month"),
    Partitioned("sonde.endpoint_minute", "bucket", every="month"),
    Partitioned("sonde.endpoint_hour", "bucket", every="month"),
)
_BY_NAME = {name: each for each in PARTITIONED for name in (each.table, each.table.removeprefix("public."))}


def partitioned(table: str) -> Partitioned:
    """The partitioned table of that name, with or without "public."."""
    return _BY_NAME[table]


def bounds(every: Every, at: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """The range lo <= t < hi in UTC that holds `at`: a month, an ISO week or a day. Pure."""
    midnight = at.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if every == "day":
        return midnight, midnight + dt.timedelta(days=1)
    if every == "week":
        monday = midnight - dt.timedelta(days=midnight.weekday())
        return monday, monday + dt.timedelta(days=7)
    first = midnight.replace(day=1)
    return first, (first + dt.timedelta(days=32)).replace(day=1)


def windows(every: Every, lo: dt.datetime, hi: dt.datetime) -> list[tuple[dt.datetime, dt.datetime]]:
    """The ranges that together hold lo and hi and all between, in order. Pure."""
    found = [bounds(every, lo)]
    while found[-1][1] <= hi:
        found.append(bounds(every, found[-1][1]))
    return found


def name(table: str, every: Every, lo: dt.datetime, hi: dt.datetime) -> str:
    """What a partition is called. Pure.

    By its range, performance_logs_2026_01, performance_logs_2026_w05 or performance_logs_2026_01_31; where it
    holds a part of such a range, by its beginning, performance_logs_2026_01_31t0100.
    """
    stem = table.rpartition(".")[2]
    if (lo, hi) != bounds(every, lo):
        return f"{stem}_{lo:%Y_%m_%dt%H%M}"
    if every == "week":
        year, week, _ = lo.isocalendar()
        return f"{stem}_{year:04d}_w{week:02d}"
    return f"{stem}_{lo:%Y_%m}" if every == "month" else f"{stem}_{lo:%Y_%m_%d}"


def uncovered(lo_us: int, hi_us: int, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of lo <= t < hi no range covers, in order. `ranges` are sorted and apart. Pure."""
    found = []
    for start, end in ranges:
        if end <= lo_us or start >= hi_us:
            continue
        if start > lo_us:
            found.append((lo_us, start))
        lo_us = end
    if lo_us < hi_us:
        found.append((lo_us, hi_us))
    return found


@frozen
class Coverage:
    """Which times each table has partitions for, and which have left the database, as read at one moment."""

    ranges: Mapping[str, tuple[Microseconds, Microseconds]]
    gone: Mapping[str, tuple[Microseconds, Microseconds]] = Factory(dict)

    def has_left(self, table: str, measured_at_us: Microseconds) -> NDArray[np.bool_]:
        """Where rows would go to a partition that has left, or is about to.

        Args:
            table: with or without "public.".
            measured_at_us: [µs since 1970] in any order.
        """
        nothing = np.zeros(0, np.int64)
        return _held(self.gone.get(partitioned(table).table, (nothing, nothing)), measured_at_us)

    def missing(self, table: str, measured_at_us: Microseconds) -> list[dt.datetime]:
        """One uncovered instant for each UTC day that has any; empty when every row has its partition.

        Args:
            table: with or without "public.".
            measured_at_us: [µs since 1970] in any order.
        """
        bare = measured_at_us[~_held(self.ranges[partitioned(table).table], measured_at_us)]
        if not len(bare):
            return []
        _, first = np.unique(bare // _DAY_US, return_index=True)
        return [_datetime(int(bare[index])) for index in first]


def _held(ranges: tuple[Microseconds, Microseconds], at_us: Microseconds) -> NDArray[np.bool_]:
    starts, ends = ranges
    if not len(starts):
        return np.zeros(len(at_us), np.bool_)
    place = np.searchsorted(starts, at_us, side="right") - 1
    held: NDArray[np.bool_] = (place >= 0) & (at_us < ends[place])
    return held


def covered(conn: psycopg.Connection) -> Coverage:
    """Reads which partitions there are, and which have left."""
    # First what is there: a partition that leaves meanwhile then counts as both, and no write goes there.
    there = conn.execute(query("partitions_ranges")).fetchall()
    return Coverage(_by_table(there), _by_table(conn.execute(query("partitions_gone"))))


def _by_table(found: Iterable[Sequence[Any]]) -> dict[str, tuple[Microseconds, Microseconds]]:
    ranges: dict[str, list[tuple[int, int]]] = {each.table: [] for each in PARTITIONED}
    for table, lo, hi in found:
        ranges.setdefault(table, []).append((lo, hi))
    return {
        table: (
            np.array([lo for lo, _ in pairs], dtype=np.int64),
            np.array([hi for _, hi in pairs], dtype=np.int64),
        )
        for table, pairs in ranges.items()
    }


def ensure(
    conn: psycopg.Connection, table: str, lo: dt.datetime, hi: dt.datetime, every: Every = "month"
) -> list[str]:
    """Makes what lacks of the partitions that hold lo, hi and all between; returns the new ones' names.

    Each is made apart and attached in a transaction of its own under an advisory lock, so that any number of
    collectors may ask for the same. Parts that older partitions of another rhythm cover are left as they are,
    and what has left the database is not made again.

    Args:
        conn: outside any transaction.
        table: with or without "public.".
        lo: in the first.
        hi: in the last.
        every: the rhythm; tables with a rhythm of their own keep theirs.

    Raises:
        DatabaseError: other DDL on the table did not end within half a minute.
    """
    which = partitioned(table)
    rhythm = which.every or every
    made = []
    for window in windows(rhythm, lo, hi):
        for attempt in range(1, _TRIES + 1):
            try:
                made += _ensure_window(conn, which, rhythm, window)
                break
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
                if attempt == _TRIES:
                    raise DatabaseError(
                        f"no partition of {which.table} for {window[0]:%Y-%m-%d} could be attached: another "
                        "session "
                        "holds a lock on the table (see pg_locks); end its transaction"
                    ) from error
                time.sleep(0.1)
    return made


def keep_ahead(
    conn: psycopg.Connection, *, every: Every, ahead: int, now: dt.datetime | None = None
) -> list[str]:
    """Every table's present partition and the next `ahead` ones; returns the new names. See `ensure`."""
    now = now or dt.datetime.now(dt.UTC)
    made = []
    for each in PARTITIONED:
        last = bounds(each.every or every, now)
        for _ in range(ahead):
            last = bounds(each.every or every, last[1])
        made += ensure(conn, each.table, now, last[0], every)
    return made


def _ensure_window(
    conn: psycopg.Connection, which: Partitioned, every: Every, window: tuple[dt.datetime, dt.datetime]
) -> list[str]:
    made = []
    with conn.transaction():
        conn.execute(query("partitions_patience"), (_PATIENCE,))
        conn.execute(query("partitions_lock"))
        held = _taken(covered(conn), which.table)
        for start, end in uncovered(_microseconds(window[0]), _microseconds(window[1]), held):
            lo, hi = _datetime(start), _datetime(end)
            made.append(name(which.table, every, lo, hi))
            conn.execute(query("partitions_attach"), (which.table, made[-1], lo, hi))
    return made


def _taken(coverage: Coverage, table: str) -> list[tuple[int, int]]:
    """The ranges that no partition is to be made for, in order: they have one, or have left."""
    return sorted(
        (lo, hi)
        for starts, ends in (coverage.ranges[table], coverage.gone[table])
        for lo, hi in zip(starts.tolist(), ends.tolist(), strict=True)
    )


def _microseconds(at: dt.datetime) -> int:
    return (at - _EPOCH) // _US


def _datetime(microseconds: int) -> dt.datetime:
    return _EPOCH + microseconds * _US
