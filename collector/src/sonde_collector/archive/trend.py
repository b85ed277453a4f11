"""A server's minutes and hours over all tiers: what the database holds and what lies in files, by DuckDB."""

import contextlib
import datetime as dt
from collections.abc import Mapping
from typing import Any

from psycopg import sql

from sonde_collector.archive import engine, tiers
from sonde_collector.archive.ledger import shaped
from sonde_collector.archive.storage import open_storage
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import Database

_MEMORY = "512MB"
_TIMEOUT_S = 60.0


def buckets(
    config: CollectorConfig, database: Database, tier: str, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Give the rows that `answers.trend` gives of a tier, whatever of it has left the database.

    Args:
        config: says where files lie.
        database: holds the rest.
        tier: "raw" (by the minute) or "hourly".
        values: server and vantages (ids; vantages None = all), lo, hi.

    Raises:
        engine.EngineError: it takes too long or too much.
        storage.StorageError: the files can't be reached.
    """
    vantages = values["vantages"]
    seen = "probe_id IS NOT NULL" if vantages is None else f"probe_id IN ({', '.join(map(str, vantages))})"
    statement = shaped(
        f"cold_trend_{tier}",
        server=sql.Literal(values["server"]),
        lo=_time(values["lo"]),
        hi=_time(values["hi"]),
        seen=sql.SQL(seen if vantages != [] else "false"),
    ).as_string()
    with (
        tiers.snapshot(database, open_storage(config), _TIMEOUT_S) as found,
        contextlib.closing(engine.run(found, statement, memory=_MEMORY, timeout_s=_TIMEOUT_S)) as answer,
    ):
        names = next(answer)
        return [dict(zip(names, row, strict=True)) for row in answer]


def _time(at: dt.datetime) -> sql.Composable:
    """A time as DuckDB reads it, so that the files of other times are not opened."""
    return sql.SQL("TIMESTAMPTZ ") + sql.Literal(at.astimezone(dt.UTC).isoformat())
