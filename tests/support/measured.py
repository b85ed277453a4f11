"""Rows of performance_logs as agents' batches write them, rolled up as the collector does it."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import psycopg

from sonde_collector.db import partitions
from sonde_collector.maintain import rollup

Row = dict[str, Any]
STEPS = (*rollup.SOON, *rollup.PATIENT)


def measure(conn: psycopg.Connection, rows: Sequence[Row], table: str = "performance_logs") -> None:
    """Writes rows and their marks in one transaction, in partitions that are made where they lack."""
    times = [row["measured_at"] for row in rows]
    partitions.ensure(conn, table, min(times), max(times))
    names = list(rows[0])
    places = ", ".join(f"%({name})s" for name in names)
    series = "performance" if table == "performance_logs" else "endpoint"
    marks = {
        (series, row["measured_at"].replace(minute=0, second=0, microsecond=0), row["probe_id"])
        for row in rows
    }
    with conn.transaction(), conn.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)
        cursor.executemany("INSERT INTO sonde.dirty_marks VALUES (%s, %s, %s)", list(marks))


def roll(conn: psycopg.Connection) -> None:
    """Honours every mark."""
    for step in STEPS:
        while conn.execute(f"SELECT sonde.rollup_{step.name}()").fetchone() != (0,):
            continue


def day_begins(conn: psycopg.Connection, today: dt.datetime) -> None:
    """Lets the database think that this day is today; only windows of days ask."""
    conn.execute(
        "CREATE OR REPLACE FUNCTION sonde.today() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS "
        f"$$ SELECT '{today.isoformat()}'::timestamptz $$"
    )
