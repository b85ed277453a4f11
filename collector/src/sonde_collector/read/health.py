"""The states of all that is watched, as people and programs ask for them."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from sonde_collector.db.queries import query


def states(
    conn: psycopg.Connection, *, kind: str | None = None, state: str | None = None
) -> list[dict[str, Any]]:
    """Give the states, the worst first.

    Args:
        conn: any.
        kind: "server", "target" or "origin_group"; None = all.
        state: only these; None = all.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query("health_list"), {"object": kind, "state": state}).fetchall()


def show(conn: psycopg.Connection, key: str, most: int) -> list[dict[str, Any]]:
    """Give all that has this key (a group may be called as a target is), with its newest changes."""
    with conn.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(query("health_show"), {"key": key}).fetchall()
        for one in found:
            values = {"object": one["object"], "key": key, "most": most}
            one["history"] = cursor.execute(query("health_history"), values).fetchall()
    return found


def holds(conn: psycopg.Connection) -> list[dict[str, Any]]:
    """Give the stretches in which a provider failed as a whole that go on, or wait for a judgement."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query("health_holds")).fetchall()
