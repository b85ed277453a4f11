"""Results that were held because a credential was refused: those whose server is at fault enter the books.

A server that turns an account away which another lets in within the hour is at fault, and its failures count.
What failed while an account was refused as a whole says nothing about any server, and stays held.
"""

import asyncio
from collections.abc import Callable

import psycopg
import structlog

from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.health.entries import refusals

_EVERY_S = 5.0
_RETRY_S = 10.0
_SWEEP_S = 600.0
_log = structlog.get_logger()


def judge(conn: psycopg.Connection) -> int:
    """Judge what came since the last call, in one transaction; give how many results entered the books.

    Safe in any number of collectors at once. A result that moves is counted once: its marks for the rollups,
    and its verdict for health, are written with it.

    Args:
        conn: outside any transaction.

    Raises:
        psycopg.Error: nothing was judged.
    """
    with conn.transaction():
        hours = conn.execute(query("credentials_marks")).fetchall()
        moved = [
            row
            for (hour,) in hours
            for row in conn.execute(query("credentials_judge"), {"hour": hour}).fetchall()
        ]
        if moved:
            values = {"verdicts": refusals(moved).tobytes()}
            conn.execute(query("health_tell_servers"), values)
    return len(moved)


def sweep(conn: psycopg.Connection) -> None:
    """Forget leases that count for nothing any more, and what operators asked of agents long ago."""
    for name in ("leases_sweep", "runs_sweep", "pauses_sweep"):
        conn.execute(query(name))


async def keep_judging(database: Database, done: Callable[[], None]) -> None:
    """Do both for ever, `done` called after each turn; a failure is told once and tried again."""
    connection = HeldConnection(database)
    loop = asyncio.get_running_loop()
    failing, swept = False, float("-inf")

    def turn() -> int:
        with connection as conn:
            if loop.time() - swept > _SWEEP_S:
                sweep(conn)
            return judge(conn)

    try:
        while True:
            try:
                moved = await connection.run(turn)
            except (DatabaseError, psycopg.Error, OSError) as error:
                if not failing:
                    _log.warning("judging_failed", error=" ".join(str(error).split()), advice="retrying")
                failing = True
                await asyncio.sleep(_RETRY_S)
                continue
            if loop.time() - swept > _SWEEP_S:
                swept = loop.time()
            if failing:
                _log.info("judging_works_again")
            failing = False
            done()
            if moved:
                _log.info("held_results_count", results=moved, because="their server is at fault")
            await asyncio.sleep(_EVERY_S)
    finally:
        connection.close()
