"""Collectors that stopped in the middle of something: others end their sessions, so that nothing waits.

A process that is frozen, or whose host is cut off or without power, closes no connection. What its sessions
hold would be held for as long as TCP is patient, which may be for ever: the cursors of streams whose agents
have long gone elsewhere, the lead in sending notices, the turn in judging health. One that wakes up finds
its sessions gone and begins anew; its writes meet the fence of their streams.
"""

import asyncio

import psycopg
import structlog

from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import SERVING, Database
from sonde_collector.db.queries import query

SILENT_S = 15.0
"""Nothing that a collector does between two statements of a transaction takes so long, nor between two turns
of the one that leads. [s]"""
_EVERY_S = 5.0
_RETRY_S = 10.0
_log = structlog.get_logger()


def end_stalled(conn: psycopg.Connection, silent_s: float = SILENT_S) -> list[str]:
    """End what stalled collectors hold; give the names of their sessions.

    Args:
        conn: in autocommit mode, of the role that collectors have.
        silent_s: for how long they must have said nothing.

    Raises:
        psycopg.Error: nothing was ended, or who knows.
    """
    values = {"serving": SERVING, "silent_s": silent_s}
    return [name for name, _ in conn.execute(query("stalled_end"), values).fetchall()]


async def keep_unstalled(database: Database) -> None:
    """Do so for ever; a failure is told once and tried again."""
    connection = HeldConnection(database)
    failing = False

    def turn() -> list[str]:
        with connection as conn:
            return end_stalled(conn)

    try:
        while True:
            try:
                ended = await connection.run(turn)
            except (DatabaseError, psycopg.Error, OSError) as error:
                if not failing:
                    _log.warning("stalled_unseen", error=" ".join(str(error).split()), advice="retrying")
                failing = True
                await asyncio.sleep(_RETRY_S)
                continue
            failing = False
            for name in ended:
                _log.warning("stalled_session_ended", session=name, silent_s=SILENT_S)
            await asyncio.sleep(_EVERY_S)
    finally:
        connection.close()
