"""The process that archives: one turn, told on standard input what to do; it dies when that ends.

Whatever step it dies on, the next turn goes on there.
"""

import json
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import structlog

from sonde_collector import config, log
from sonde_collector.archive import steps, storage
from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.pool import connect
from sonde_collector.db.queries import query
from sonde_proto.units import Duration

_NICENESS = 10  # ingestion goes first
_log = structlog.get_logger()


def main() -> int:
    """Run the turn and give the exit code."""
    log.configure()
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.nice(_NICENESS)
    try:
        done = turn(
            _config(told),
            told["url"],
            tell=lambda name, state: _log.info("archive", partition=name, state=state),
        )
    except (OSError, storage.StorageError, DatabaseError, psycopg.Error) as error:
        _log.warning("archiving_failed", error=" ".join(str(error).split()))
        return 1
    for name, why in (done.waiting | done.wrong).items():
        _log.info("archive_waits", partition=name, because=why)
    return 1 if done.wrong else 0


def turn(
    settings: config.CollectorConfig, url: str, *, again: Iterable[str] = (), tell: steps.Tell
) -> steps.Turn:
    """Archives what is due; a place that can't be used is an event, once, and its end another.

    Args:
        settings: what is due, and where it goes.
        url: of the database.
        again: names of restored partitions that may leave again.
        tell: see `steps.turn`.

    Raises:
        OSError, StorageError: the archive's place can't be used.
        psycopg.Error, DatabaseError: the database can't.
    """
    with connect(url, autocommit=True) as conn:
        try:
            done = steps.turn(
                conn,
                lambda: storage.open_storage(settings),
                settings.retention,
                settings.archive,
                again=again,
                tell=tell,
            )
        except (OSError, storage.StorageError) as error:
            _tell(conn, " ".join(str(error).split()))
            raise
        if done.leading:
            _tell(conn, "; ".join(done.wrong.values()))
        return done


def _tell(conn: psycopg.Connection, wrong: str) -> None:
    detail = f"old partitions can't be archived: {wrong}" if wrong else "old partitions are archived again"
    conn.execute(query("retention_tell"), {"subject": "archive", "detail": detail, "failed": bool(wrong)})


def _config(told: dict[str, Any]) -> config.CollectorConfig:
    archive = told["archive"]
    credentials = archive.pop("credentials")
    kept: dict[str, Any] = {
        name: None if value is None else Duration(value) for name, value in told["retention"].items()
    }
    return config.CollectorConfig(
        state_dir=Path(told["state_dir"]),
        database=config.Database(told["url"]),
        retention=config.Retention(**kept),
        archive=config.Archive(credentials=Path(credentials) if credentials else None, **archive),
    )


def _die_with_parent() -> None:
    while sys.stdin.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
