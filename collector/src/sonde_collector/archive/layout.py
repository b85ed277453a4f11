"""How each column stands in a file, and in which order the rows. **Pure.**

A file holds what PostgreSQL holds, value for value: REAL as 32-bit floats, NUMERIC(p,s) as decimals, times as
microseconds in UTC. What has no exact counterpart (JSONB, UUID, BYTEA …) stands as the text that PostgreSQL
writes for it, and reads again.
"""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from attrs import frozen

from sonde_collector.db.copy import Type

_PLAIN = {
    "boolean": (pa.bool_(), Type.BOOLEAN),
    "smallint": (pa.int16(), Type.SMALLINT),
    "integer": (pa.int32(), Type.INT),
    "bigint": (pa.int64(), Type.BIGINT),
    "real": (pa.float32(), Type.REAL),
    "double precision": (pa.float64(), Type.DOUBLE),
    "timestamp with time zone": (pa.timestamp("us", "UTC"), Type.TIMESTAMPTZ),
}
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_MOST_DIGITS = 18  # of a decimal whose unscaled value fits 64 bits

# Rows that are alike stand together; after these columns come the time and the rest of the primary key.
_TOGETHER = {
    "public.performance_logs": ("server_id", "probe_id", "protocol_id", "family"),
    "sonde.performance_held": ("server_id", "probe_id", "protocol_id", "family"),
    "public.streaming_checks": ("server_id", "platform_id", "probe_id"),
    "sonde.canary_checks": ("platform_id", "probe_id"),
    "sonde.endpoint_checks": ("target_id", "probe_id", "kind", "family"),
    "sonde.vantage_health": ("probe_id",),
    "sonde.missed_runs": ("probe_id", "task"),
    "sonde.batches": ("stream_id",),
    "public.performance_logs_hourly": ("server_id", "probe_id"),
    "sonde.endpoint_minute": ("target_id", "probe_id"),
    "sonde.endpoint_hour": ("target_id", "probe_id"),
}


@frozen
class Column:
    """One column.

    Attributes:
        name: of it.
        sql_type: as PostgreSQL writes it.
        arrow: its type in the file.
        wire: its type in the digest's stream.
        scale: digits after the point, of a decimal.
    """

    name: str
    sql_type: str
    arrow: pa.DataType
    wire: Type
    scale: int | None = None

    @property
    def as_text(self) -> bool:
        """Whether it stands as PostgreSQL's text."""
        return self.wire is Type.TEXT and self.sql_type not in ("text", "character varying")


def column(name: str, sql_type: str) -> Column:
    """A column of that SQL type."""
    if sql_type in _PLAIN:
        arrow, wire = _PLAIN[sql_type]
        return Column(name, sql_type, arrow, wire)
    found = _NUMERIC.fullmatch(sql_type)
    if found and int(found[1]) <= _MOST_DIGITS:
        precision, scale = int(found[1]), int(found[2])
        return Column(name, sql_type, pa.decimal128(precision, scale), Type.BIGINT, scale)
    return Column(name, sql_type, pa.string(), Type.TEXT)


def columns(described: Sequence[Sequence[Any]]) -> tuple[Column, ...]:
    """Columns from rows of (name, SQL type)."""
    return tuple(column(name, sql_type) for name, sql_type in described)


def schema(of: Sequence[Column]) -> pa.Schema:
    """The schema of a file; each field says its SQL type."""
    return pa.schema([pa.field(each.name, each.arrow, metadata={"sql": each.sql_type}) for each in of])


def order(table: str, time: str, key: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns by which a file's rows are sorted: total, for the primary key is among them.

    Args:
        table: with its schema.
        time: the column that it is partitioned by.
        key: its primary key.
        names: all of its columns.
    """
    first = [name for name in _TOGETHER.get(table, ()) if name in names]
    return list(dict.fromkeys([*first, time, *key]))
