"""What is past its retention: partitions go to the archive, by a process of its own; old records are deleted.

Reading and writing Parquet takes tens of megabytes of libraries and a core for a while: a collector that has
nothing to archive pays for neither, and one that has goes on to ingest beside it.
"""

import asyncio
import contextlib
import datetime as dt
import json
import sys
from collections.abc import Callable

import attrs
import psycopg
import structlog
from psycopg import sql

from sonde_collector.archive.expiry import expired
from sonde_collector.archive.ledger import ON_THE_WAY, partitions, records, shaped, table
from sonde_collector.config import CollectorConfig, Retention
from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import Database

_EVERY_S = 300.0
_RETRY_S = 60.0
_MOST = 5000  # rows of one DELETE: short enough for whoever waits for them
_STOP_S = 10.0
_log = structlog.get_logger()

# Tables without partitions: small, and deleted from where their retention is set.
_RECORDS = (
    ("sonde.events", "at"),
    ("sonde.gaps", "recorded_at"),
    ("sonde.health_changes", "at"),
    ("sonde.rejected_results", "rejected_at"),
)
_DAILY = (("sonde.performance_daily", "day"), ("sonde.endpoint_day", "bucket"))


class ArchivingFailed(Exception):
    """The process that archives ended badly; it has said why."""


def is_due(conn: psycopg.Connection, config: CollectorConfig) -> bool:
    """Whether any partition is on its way, or should be."""
    if any(record.state in ON_THE_WAY for record in records(conn)):
        return True
    now = dt.datetime.now(dt.UTC)
    return config.archive.expired != "keep" and bool(expired(partitions(conn), config.retention, now))


def delete_old(conn: psycopg.Connection, retention: Retention, now: dt.datetime | None = None) -> int:
    """Deletes records and daily rollups that are past their retention; gives how many rows.

    Args:
        conn: in autocommit mode: each piece is a transaction.
        retention: how long what stays.
        now: the time to go by.
    """
    now, deleted = now or dt.datetime.now(dt.UTC), 0
    old = [(name, time, retention.records) for name, time in _RECORDS]
    if retention.daily is not None:
        old += [(name, time, max(retention.daily, retention.raw)) for name, time in _DAILY]
    for name, time, kept_s in old:
        statement = shaped("retention_delete", table=table(name), time=sql.Identifier(time))
        gone = _MOST
        while gone == _MOST:
            before = now - dt.timedelta(seconds=kept_s)
            gone = conn.execute(statement, {"before": before, "most": _MOST}).rowcount
            deleted += gone
    return deleted


async def keep_retention(database: Database, config: CollectorConfig, done: Callable[[], None]) -> None:
    """Do both for ever; a failure is told once and tried again. Of all collectors one archives at a time."""
    connection = HeldConnection(database)
    failing = False

    def turn() -> bool:
        with connection as conn:
            if deleted := delete_old(conn, config.retention):
                _log.info("old_records_deleted", rows=deleted)
            return is_due(conn, config)

    try:
        while True:
            try:
                if await connection.run(turn):
                    await _archive(database, config)
            except (DatabaseError, psycopg.Error, OSError, ArchivingFailed) as error:
                if not failing:
                    _log.warning("retention_failed", error=" ".join(str(error).split()), advice="retrying")
                failing = True
                await asyncio.sleep(_RETRY_S)
                continue
            if failing:
                _log.info("retention_works_again")
            failing = False
            done()
            await asyncio.sleep(_EVERY_S)
    finally:
        connection.close()


async def _archive(database: Database, config: CollectorConfig) -> None:
    """Runs one turn in a process that ends when we do, however we do: its standard input is our promise."""
    told = {
        "url": database.url,
        "state_dir": config.state_dir,
        "retention": attrs.asdict(config.retention),
        "archive": attrs.asdict(config.archive),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sonde_collector.maintain.archiver", stdin=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(told, default=str).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await process.stdin.drain()
        code = await process.wait()
    except asyncio.CancelledError:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), _STOP_S)
        raise
    if code:
        raise ArchivingFailed(f"the archiving process ended with code {code}; what it said stands above")
