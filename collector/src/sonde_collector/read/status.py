"""What the fleet and the database look like now. Reads only."""

import datetime as dt
from typing import Any

import numpy as np
import psycopg
from psycopg.rows import dict_row

from sonde_collector.db.migrate import migrations, pending
from sonde_collector.db.partitions import PARTITIONED, covered
from sonde_collector.db.queries import query
from sonde_collector.versions import too_new, too_old

SILENT_S = 90.0
"""An agent that said nothing for so long is silent: three of its half-minute words are missing. [s]"""

COUNTED = 1_000_000
"""Counts end here; one more stands for "more"."""

_YEAR_9999_S = 253_370_764_800.0

Row = dict[str, Any]


def agents(conn: psycopg.Connection) -> list[Row]:
    """Give one row a vantage, with `state` (live, silent …) and `behind` (new tasks not taken yet).

    `version_is` tells a version that is not served as it should be: "too old", "too new", else "".
    """
    rows = _rows(conn, "status_agents")
    for row in rows:
        row["state"] = _state(row)
        version = row["version"] or ""
        row["version_is"] = "too old" if too_old(version) else "too new" if too_new(version) else ""
        row["behind"] = row["revision"] is not None and row["revision"] != (row["assigned"] or 0)
    return rows


def _state(row: Row) -> str:
    if row["paused"] and row["active"]:
        return "paused"
    if row["silent_s"] is None:
        return "never seen"
    if row["silent_s"] > SILENT_S:
        return "silent"
    return "live" if row["active"] else "inactive"


def status(conn: psycopg.Connection) -> Row:
    """Give the health of everything on one screen, as plain values."""
    minute, hour = (
        {row["name"]: row["rows"] for row in _rows(conn, "status_rows", {"seconds": seconds})}
        for seconds in (60, 3600)
    )
    waiting = pending(conn)
    return {
        "database": _rows(conn, "status_database")[0],
        "schema": {
            "at": ([m.name for m in migrations() if m not in waiting] or ["none"])[-1],
            "pending": [migration.name for migration in waiting],
        },
        "partitions": [
            {"table": table, "count": count, "until": until} for table, count, until in _partitions(conn)
        ],
        "rows": [{"table": name, "last_minute": minute[name], "last_hour": hour[name]} for name in minute],
        "agents": _rows(conn, "status_counts", {"silent": SILENT_S})[0],
        "refused_credentials": refused_credentials(conn),
        "rejected": _rows(conn, "status_rejected"),
        "gaps": _rows(conn, "status_gaps"),
        "backup": next(iter(_rows(conn, "keeping_last")), None),
    }


def credentials(conn: psycopg.Connection) -> list[Row]:
    """Give one row an account of the fleet: what of it is in use, and whether it is refused."""
    return _rows(conn, "credentials_list")


def refused_credentials(conn: psycopg.Connection) -> list[Row]:
    """Give the accounts that wait for a person, as their providers refuse them."""
    return _rows(conn, "credentials_refused")


def top(conn: psycopg.Connection, *, seconds: float, limit: int) -> dict[str, list[Row]]:
    """Give servers and targets by how they did in the last `seconds`."""
    values = {"seconds": seconds, "limit": limit}
    return {"servers": _rows(conn, "top_servers", values), "targets": _rows(conn, "top_targets", values)}


def partitions_lack(conn: psycopg.Connection, now: dt.datetime, *, ahead: dt.timedelta) -> list[str]:
    """Give the tables that have no partition for `now` or for `ahead` of it; none when all is well."""
    times = np.array([round(at.timestamp() * 1e6) for at in (now, now + ahead)], dtype=np.int64)
    coverage = covered(conn)
    return [each.table for each in PARTITIONED if coverage.missing(each.table, times)]


def covered_until(conn: psycopg.Connection, now: dt.datetime) -> dict[str, dt.datetime]:
    """Give until when each table has partitions without a gap, from `now` on; `now` itself where it has none.

    An end that is open, or beyond the calendar, is the calendar's.
    """
    at_us, out = round(now.timestamp() * 1e6), {}
    for table, (starts, ends) in covered(conn).ranges.items():
        until = at_us
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            if start <= until < end:
                until = end
        out[table] = dt.datetime.fromtimestamp(min(until / 1e6, _YEAR_9999_S), dt.UTC)
    return out


def _partitions(conn: psycopg.Connection) -> list[tuple[str, int, dt.datetime | None]]:
    out = []
    for table, (_, ends) in covered(conn).ranges.items():
        until = dt.datetime.fromtimestamp(int(ends[-1]) / 1e6, dt.UTC) if len(ends) else None
        out.append((table, len(ends), until))
    return out


def _rows(conn: psycopg.Connection, name: str, values: dict[str, Any] | None = None) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query(name), values).fetchall()
