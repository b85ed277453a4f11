"""What the collector keeps doing beside its agents: partitions ahead of time."""

import asyncio
from collections.abc import Callable

import psycopg
import structlog

from sonde_collector.config import Partitions
from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.partitions import keep_ahead
from sonde_collector.db.pool import Database

EVERY_S = 600.0
RETRY_S = 30.0
_log = structlog.get_logger()


def ensure_partitions(database: Database, settings: Partitions) -> list[str]:
    """Make the partitions of now and ahead, safe in any number of collectors; give the new names."""
    with database.connect(autocommit=True) as conn:
        return keep_ahead(conn, every=settings.every, ahead=settings.ahead)


async def keep_partitions(database: Database, settings: Partitions, done: Callable[[], None]) -> None:
    """Do so for ever, `done` called after each turn; a failure is told and tried again."""
    wait = EVERY_S
    while True:
        await asyncio.sleep(wait)
        try:
            made = await asyncio.to_thread(ensure_partitions, database, settings)
        except (DatabaseError, psycopg.Error, OSError) as error:
            _log.warning("partitions_not_made", error=" ".join(str(error).split()))
            wait = RETRY_S
            continue
        wait = EVERY_S
        done()
        if made:
            _log.info("partitions_made", names=made)
