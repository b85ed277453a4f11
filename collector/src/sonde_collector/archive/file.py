"""One partition becomes one file with its manifest, proven to hold the same before anybody relies on it."""

import json
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from sonde_collector.archive import layout, parquet, rows
from sonde_collector.archive.ledger import Record, quoted, run, shaped, table
from sonde_collector.archive.storage import Storage
from sonde_collector.db.partitions import partitioned
from sonde_collector.db.queries import query

FORMAT = 1
"""Of the manifest and of how values stand in a file."""


class Mismatch(Exception):
    """A file does not hold what it should; the text says what differs."""


def write(conn: psycopg.Connection, storage: Storage, record: Record) -> None:
    """Writes a detached table's file, reads it back, compares, and notes it in sonde.archives.

    Args:
        conn: in autocommit mode.
        storage: where to.
        record: of the table.

    Raises:
        OSError: the storage has no room, or does not answer.
        Mismatch: what was read back differs from the table.
    """
    child = table(record.child)
    where = partitioned(record.parent)
    with conn.transaction():
        conn.execute(query("archive_session"))
        conn.execute(shaped("archive_hold", table=child))
        named = {"table": quoted(record.child)}
        columns = layout.columns(run(conn, "archive_columns", **named).fetchall())
        key = [name for (name,) in run(conn, "archive_key", **named)]
        order = rows.names(layout.order(record.parent, where.column, key, [each.name for each in columns]))
        row = conn.execute(
            shaped("archive_facts", table=child, time=sql.Identifier(where.column)), named
        ).fetchone()
        assert row is not None
        count, first_at, last_at, hot_bytes, schema, database_id = row
        name = f"{database_id}/{record.parent}/{record.name}.parquet"
        text = shaped("archive_copy_text", columns=rows.selected(columns), table=child, order=order)
        written = parquet.write(storage, name, columns, where.column, rows.batches(conn, text, columns))
        wire = shaped("archive_copy_binary", columns=rows.on_the_wire(columns), table=child, order=order)
        facts: dict[str, Any] = {
            "file": name,
            "rows": count,
            "first_at": first_at,
            "last_at": last_at,
            "bytes": written.bytes,
            "hot_bytes": hot_bytes,
            "sha256": written.sha256,
            "digest": rows.digest(conn, wire),
            "schema": schema,
            "database_id": database_id,
        }
        described = [[each.name, each.sql_type] for each in columns]
        compare(storage, name, columns, facts)
        _write_manifest(storage, record, facts | {"columns": described})
        run(conn, "archive_written", name=record.name, columns=Jsonb(described), **facts)


def compare(storage: Storage, name: str, columns: tuple[layout.Column, ...], facts: dict[str, Any]) -> None:
    """Reads a file whole, twice: its bytes, and its rows value by value.

    Raises:
        Mismatch: it is not there, can't be read, or differs from the facts about it.
    """
    try:
        sha256, size = storage.sha256(name)
        if (size, sha256) != (facts["bytes"], facts["sha256"]):
            raise Mismatch(
                f"{name}: {size} bytes with SHA-256 {sha256}, not {facts['bytes']} with {facts['sha256']}"
            )
        count, digest = parquet.content(storage, name, columns)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise Mismatch(f"{name}: {' '.join(str(error).split())}") from None
    if count != facts["rows"]:
        raise Mismatch(f"{name}: {count} rows, not {facts['rows']}")
    if digest != facts["digest"]:
        raise Mismatch(f"{name}: its rows differ from those that the table held")


def _write_manifest(storage: Storage, record: Record, facts: dict[str, Any]) -> None:
    told = {
        "format": FORMAT,
        "table": record.parent,
        "partition": record.name,
        "from": record.lo,
        "until": record.hi,
    }
    text = json.dumps(told | facts, indent=1, default=_plain) + "\n"
    with storage.write(f"{facts['file']}.json") as sink:
        sink.write(text.encode())


def _plain(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
