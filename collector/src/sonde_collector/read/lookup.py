"""What answers share: names of the inventory to ids, arguments within their bounds, rows as dicts."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

from sonde_collector.db.queries import query

Row = dict[str, Any]
METRICS = (
    "ping_ms",
    "jitter_ms",
    "packet_loss_pct",
    "download_mbps",
    "upload_mbps",
    "connection_time_ms",
    "connection_success",
)


class UnknownName(LookupError):
    """The inventory has nothing of that kind and name."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f'there is no {kind} "{name}"')


class BadArgument(ValueError):
    """A value is out of its range; the text says which and what it may be."""


def one_metric(name: str) -> str:
    """Give `name`.

    Raises:
        BadArgument: it is none of METRICS.
    """
    if name not in METRICS:
        raise BadArgument(f'metric must be one of {", ".join(METRICS)}, not "{name}"')
    return name


def within(name: str, value: int, most: int) -> int:
    """Give `value`.

    Raises:
        BadArgument: it is not 1 to `most`.
    """
    if not 1 <= value <= most:
        raise BadArgument(f"{name} must be 1 to {most}, not {value}")
    return value


def probes(conn: psycopg.Connection, codes: Sequence[str] | None) -> list[int] | None:
    """Give the ids of vantages, None for None, which is all of them.

    Raises:
        UnknownName: of one of them.
    """
    return None if codes is None else [find(conn, "vantage", code) for code in codes]


def find(conn: psycopg.Connection, kind: str, name: str) -> int:
    """Give the id of a server, target, vantage, provider, protocol or country.

    Raises:
        UnknownName: there is none.
    """
    values = {"kind": kind, "name": name}
    row = None if "\0" in name else conn.execute(query("answers_named"), values).fetchone()
    if row is None or row[0] is None:
        raise UnknownName(kind, name)
    return int(row[0])


def like(glob: str | None) -> str | None:
    """Give a glob of * and ? as a LIKE pattern. **Pure**."""
    if glob is None:
        return None
    escaped = "".join(f"\\{letter}" if letter in "\\%_" else letter for letter in glob)
    return escaped.replace("*", "%").replace("?", "_")


def rows(conn: psycopg.Connection, name: str, values: dict[str, Any]) -> list[Row]:
    """Give what a named query answers."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query(name), values).fetchall()
