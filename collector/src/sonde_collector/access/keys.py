"""The table of API keys: add, list, revoke."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from sonde_collector.access import tokens
from sonde_collector.db.queries import query


def add(
    conn: psycopg.Connection, name: str, *, rate_per_minute: int, expires_s: float | None
) -> dict[str, Any] | None:
    """Make a key and give it with its token, which is kept nowhere; None where the name is in use.

    Args:
        conn: outside any transaction.
        name: letters, digits, ".", "_", "-"; at most 50.
        rate_per_minute: requests that one collector answers.
        expires_s: from now; None = never. [s]
    """
    token = tokens.new()
    values = {"name": name, "hash": tokens.digest(token), "rate": rate_per_minute, "expires_s": expires_s}
    with conn.transaction():
        conn.execute(query("api_keys_expire"), (name,))
        made = conn.execute(query("api_keys_add"), values).fetchone()
    if made is None:
        return None
    return {"name": name, "token": token, "rate_per_minute": rate_per_minute, "expires_at": made[0]}


def ls(conn: psycopg.Connection, *, revoked: bool) -> list[dict[str, Any]]:
    """Give the keys, with those that are `revoked` or without."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query("api_keys_list"), {"all": revoked}).fetchall()


def revoke(conn: psycopg.Connection, name: str) -> bool:
    """Refuse a key from now on; False where no key of that name is in use."""
    return conn.execute(query("api_keys_revoke"), (name,)).rowcount > 0
