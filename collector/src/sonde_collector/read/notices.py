"""Channels, silences and maintenance windows as they are now. Reads only."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from sonde_collector.db.queries import query

Row = dict[str, Any]


def channels(conn: psycopg.Connection) -> list[Row]:
    """Give one row a channel: last success and error, what waits."""
    return _rows(conn, "notify_list")


def database_id(conn: psycopg.Connection) -> str:
    """Give what event ids are unique in."""
    return str(_rows(conn, "notify_database")[0]["id"])


def silences(conn: psycopg.Connection, *, everything: bool) -> list[Row]:
    """Give silences and maintenance windows: what is on or still to come, or all there ever was."""
    return _rows(conn, "silence_list", {"everything": everything})


def _rows(conn: psycopg.Connection, name: str, values: Any = None) -> list[Row]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query(name), values).fetchall()
