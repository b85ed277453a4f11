"""A partition back from its file: all of its rows, exactly, attached again; or nothing."""

import io

import psycopg
import pyarrow as pa
from pyarrow import csv

from sonde_collector.archive import file, layout, parquet, rows
from sonde_collector.archive.ledger import Record, quoted, run, shaped, table
from sonde_collector.archive.storage import Storage
from sonde_collector.db.partitions import partitioned
from sonde_collector.db.queries import query

_PATIENCE = "10s"


class NotRestored(Exception):
    """A partition can't be restored; the text says why."""


def restore(conn: psycopg.Connection, storage: Storage, record: Record) -> int:
    """Loads the file of an archived partition into a table of its name and attaches it; gives the rows.

    It then stays until it is told to leave again. One transaction: whoever dies in it leaves nothing behind.

    Args:
        conn: in autocommit mode.
        storage: where the file is.
        record: of the partition.

    Raises:
        Mismatch: the file is not what was written.
        NotRestored: its range is taken, or a row names something that is not in the inventory any more.
        OSError: the storage does not answer.
    """
    columns = columns_of(conn, record)
    facts = {"rows": record.rows, "bytes": record.bytes, "sha256": record.sha256, "digest": record.digest}
    assert record.file is not None
    file.compare(storage, record.file, columns, facts)
    child = table(record.child)
    try:
        with conn.transaction():
            conn.execute(query("archive_session"))
            conn.execute(query("archive_patience"), (_PATIENCE,))
            conn.execute(query("partitions_lock"))
            conn.execute(shaped("archive_restore_table", child=child, parent=table(record.parent)))
            names = rows.names([each.name for each in columns])
            with (
                conn.cursor() as cursor,
                cursor.copy(shaped("archive_restore_rows", child=child, columns=names)) as copy,
            ):
                for batch in parquet.read(storage, record.file):
                    copy.write(text(batch))
            _prove(conn, record, columns)
            run(
                conn, "archive_attach",
                parent=record.parent, child=quoted(record.child), lo=record.lo, hi=record.hi,
            )  # fmt: skip
            run(conn, "archive_restored", name=record.name)
    except (
        psycopg.IntegrityError,
        psycopg.errors.DuplicateTable,
        psycopg.errors.InvalidObjectDefinition,
    ) as error:
        raise NotRestored(
            f"{record.name}: {' '.join(str(error.diag.message_primary or error).split())}"
        ) from None
    assert record.rows is not None
    return record.rows


def _prove(conn: psycopg.Connection, record: Record, columns: tuple[layout.Column, ...]) -> None:
    """Compares what was loaded with what once left."""
    key = [name for (name,) in run(conn, "archive_key", table=quoted(record.child))]
    order = layout.order(
        record.parent, partitioned(record.parent).column, key, [each.name for each in columns]
    )
    wire = shaped(
        "archive_copy_binary",
        columns=rows.on_the_wire(columns), table=table(record.child), order=rows.names(order),
    )  # fmt: skip
    if rows.digest(conn, wire) != record.digest:
        raise NotRestored(f"{record.name}: the rows that PostgreSQL took differ from those that once left")


def columns_of(conn: psycopg.Connection, record: Record) -> tuple[layout.Column, ...]:
    """The columns that an archived partition had."""
    row = run(conn, "archive_columns_of", name=record.name).fetchone()
    assert row is not None
    return layout.columns(row[0])


def text(batch: pa.RecordBatch) -> bytes:
    """Rows as COPY … FROM STDIN (FORMAT csv) reads them: NULL is nothing, a text is quoted. **Pure.**"""
    sink = io.BytesIO()
    csv.write_csv(batch, sink, csv.WriteOptions(include_header=False))
    return sink.getvalue()
