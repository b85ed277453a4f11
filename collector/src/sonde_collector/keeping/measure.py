"""What the tables of a database take and how fast they grow, and what is free on its disk. Reads only."""

import contextlib
import datetime as dt
import ipaddress
import shutil
from collections import defaultdict
from pathlib import Path

import psycopg
from attrs import frozen
from psycopg.conninfo import conninfo_to_dict

from sonde_collector.config import CollectorConfig
from sonde_collector.db.embedded import Embedded
from sonde_collector.db.pool import EMBEDDED
from sonde_collector.db.queries import query
from sonde_collector.keeping.capacity import Flow, Measured, flows
from sonde_collector.keeping.planned import rows_per_day
from sonde_collector.keeping.tiers import DAY_S, GROWING, PER_DAY, Growing, kept_days
from sonde_proto.v1 import control_pb2

WINDOW_DAYS = 7.0
_PARTITION_DAYS = {"month": 31.0, "week": 7.0, "day": 1.0}
_COUNT_MOST = 5_000_000  # rows of a table's window: counting more takes long
_LEAST_DAYS = 1 / 1440


@frozen
class Reading:
    """What was measured.

    Attributes:
        tables: those that grow.
        days: how many days of results the rates come from, at most a week.
        database_bytes: all of it.
        other_bytes: of it, what does not grow with time: inventory, latest values, catalogues.
        wal_bytes: what the write-ahead log may take beside it.
        assignments: by vantage, as they are told now.
    """

    tables: list[Measured]
    days: float
    database_bytes: int
    other_bytes: int
    wal_bytes: int
    assignments: dict[str, control_pb2.Assignment]


@frozen
class Free:
    """What is free for the database; `bytes` is None where it can't be known, and `where` says why."""

    bytes: int | None
    where: str


def reckon(
    config: CollectorConfig, conn: psycopg.Connection, *, window_days: float = WINDOW_DAYS
) -> tuple[Reading, list[Flow]]:
    """Measures, and gives what each table will take under the configuration's retention."""
    reading = measure(conn, window_days)
    return reading, flows(
        reading.tables,
        rows_per_day(reading.assignments),
        kept_days(config.retention),
        _PARTITION_DAYS[config.partitions.every],
    )


def measure(conn: psycopg.Connection, window_days: float = WINDOW_DAYS) -> Reading:
    """Measures it all; takes a second or two on a big database.

    Args:
        conn: in autocommit mode.
        window_days: rows a day are those of so many days.
    """
    sizes: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for parent, _, whole, empty, rows, _ in conn.execute(query("capacity_sizes")):
        for place, value in enumerate((rows, whole, empty)):
            sizes[parent][place] += value
    now = dt.datetime.now(dt.UTC)
    since = [_since(table, sizes[table.name][0], now, window_days) for table in GROWING]
    parameters = {
        "tables": [table.name for table in GROWING],
        "columns": [table.column for table in GROWING],
        "widths": [table.width or "hour" for table in GROWING],
        "since": since,
    }
    found = {row[0]: row[1:] for row in conn.execute(query("capacity_rates"), parameters)}
    tables, days = [], 0.0
    for table, begun in zip(GROWING, since, strict=True):
        rows, buckets, first, oldest = found[table.name]
        covered = (now - max(begun, first)).total_seconds() / DAY_S if first else 0.0
        days = max(days, 0.0 if table.width else covered)
        age = (now - oldest).total_seconds() / DAY_S if oldest else 0.0
        per_day = _per_day(table, rows, buckets, covered)
        rows_now, taken, empty = sizes[table.name]
        tables.append(Measured(table, rows_now, taken, empty, per_day, age))
    row = conn.execute(query("capacity_database")).fetchone()
    assert row is not None
    grown = sum(table.bytes for table in tables)
    return Reading(tables, days, row[0], max(0, row[0] - grown), row[1], _assignments(conn))


def _since(table: Growing, rows: int, now: dt.datetime, days: float) -> dt.datetime:
    """From when on rows are counted: the window, or a day of what is big; a year of what is monthly."""
    if table.width == "month":
        return now - dt.timedelta(days=366)
    return now - dt.timedelta(days=days if rows <= _COUNT_MOST or table.width else 1)


def _per_day(table: Growing, rows: int, buckets: int, covered: float) -> float | None:
    if not rows:
        return None
    if table.width:
        return rows / buckets * PER_DAY[table.width]
    return rows / max(covered, _LEAST_DAYS)


def _assignments(conn: psycopg.Connection) -> dict[str, control_pb2.Assignment]:
    return {
        code: control_pb2.Assignment.FromString(bytes(body))
        for code, body in conn.execute(query("capacity_assignments"))
    }


def free(config: CollectorConfig, conn: psycopg.Connection, disk: Path | None) -> Free:
    """What is free on the file system that holds the data.

    Args:
        config: says which database.
        conn: to it.
        disk: a path on that file system, where somebody named one.

    Raises:
        OSError: the named path is not there.
    """
    if disk is not None:
        return Free(shutil.disk_usage(disk).free, str(disk))
    if config.database.url == EMBEDDED:
        data = Embedded(config.state_dir).data
        return Free(shutil.disk_usage(data).free, str(data))
    host = str(conninfo_to_dict(config.database.url).get("host", ""))
    advice = "give --disk PATH, a path on its file system, or run this on that host"
    if not _is_here(host):
        return Free(None, f"the disk of {host} can't be seen from here: {advice}")
    row = conn.execute(query("capacity_data_directory")).fetchone()
    if row is None:
        return Free(None, f"the server does not let this role know where its data is: {advice}")
    with contextlib.suppress(OSError):  # a container's path, or a directory above that is closed to us
        if (Path(row[0]) / "PG_VERSION").exists():
            return Free(shutil.disk_usage(row[0]).free, row[0])
    return Free(None, f"the server's data, {row[0]}, can't be seen from here: {advice}")


def _is_here(host: str) -> bool:
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
