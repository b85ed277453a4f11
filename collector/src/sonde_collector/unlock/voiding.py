"""Voiding a version of a rule that judged wrongly: its checks are kept, and nothing that reads sees them.

The version's row comes first, in a transaction of its own: from then on checks that come late are judged by
it (a trigger of the database). What is there already is mended in small steps; whoever is stopped in between
says the same again.
"""

from typing import Any

import psycopg

from sonde_collector.db.queries import query
from sonde_collector.read.lookup import rows

_STEP = 2000  # checks of one transaction: some 50 ms, in which nobody who writes them waits


class UnknownPlatform(LookupError):
    """The database knows no platform of that slug."""

    def __init__(self, slug: str) -> None:
        super().__init__(f'there is no platform "{slug}": no plan ever named it')


def void(conn: psycopg.Connection, slug: str, version: str, reason: str) -> int:
    """Void a version of a rule. Said again, it goes on where it was stopped, and takes the new reason.

    Args:
        conn: in autocommit mode, outside any transaction.
        slug: of the platform.
        version: of its rule, as results name it.
        reason: in words; kept with it.

    Returns:
        How many checks said unlocked until now.

    Raises:
        UnknownPlatform: there is none of that slug.
    """
    platform = _platform(conn, slug)
    with conn.transaction():
        conn.execute(query("unlock_void"))
        conn.execute(query("unlock_voided"), {"platform": platform, "version": version, "reason": reason})
    return _mend(conn, platform, version)


def unvoid(conn: psycopg.Connection, slug: str, version: str) -> int:
    """Let a version of a rule count again.

    Args:
        conn: as of `void`.
        slug: of the platform.
        version: of its rule.

    Returns:
        How many checks say unlocked again.

    Raises:
        UnknownPlatform: there is none of that slug.
    """
    platform = _platform(conn, slug)
    with conn.transaction():
        conn.execute(query("unlock_void"))
        conn.execute(query("unlock_unvoided"), {"platform": platform, "version": version})
    return _mend(conn, platform, version)


def voided(conn: psycopg.Connection) -> list[dict[str, Any]]:
    """Give what is voided, the newest first: platform, version, voided_at, reason."""
    return rows(conn, "unlock_voided_list", {})


def _platform(conn: psycopg.Connection, slug: str) -> int:
    row = None if "\0" in slug else conn.execute(query("unlock_platform"), {"slug": slug}).fetchone()
    if row is None:
        raise UnknownPlatform(slug)
    return int(row[0])


def _mend(conn: psycopg.Connection, platform: int, version: str) -> int:
    mended = 0
    for (child,) in conn.execute(query("unlock_partitions")).fetchall():
        step = _STEP
        while step == _STEP:
            step = _mend_step(conn, {"child": child, "platform": platform, "version": version, "most": _STEP})
            mended += step
    return mended


def _mend_step(conn: psycopg.Connection, values: dict[str, Any]) -> int:
    try:
        row = conn.execute(query("unlock_mend"), values).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0  # it has left the database meanwhile; should it come back, it is judged then
    assert row is not None
    return int(row[0])
