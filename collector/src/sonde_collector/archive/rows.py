"""Rows out of PostgreSQL as Arrow batches, some at a time, and the digest of what a table holds."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from pyarrow import csv

from sonde_collector.archive.layout import Column, schema

_BLOCK = 4 << 20  # of text at once: more than the longest row, and what bounds the memory


class _Stream(io.RawIOBase):
    """What a COPY sends, as a file."""

    def __init__(self, copy: psycopg.Copy) -> None:
        self._pieces = iter(copy)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            try:
                self._left = memoryview(next(self._pieces))
            except StopIteration:
                return 0
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def batches(
    conn: psycopg.Connection, statement: sql.Composed, columns: Sequence[Column]
) -> Iterator[pa.RecordBatch]:
    """The rows of a COPY … TO STDOUT (FORMAT csv), of these columns.

    Args:
        conn: in a transaction with the settings of the query archive_session.
        statement: the COPY.
        columns: that it gives; `selected` writes them.
    """
    wanted = schema(columns)
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        source = io.BufferedReader(_Stream(copy), _BLOCK)
        if not source.peek(1):
            return
        yield from csv.open_csv(
            source,
            read_options=csv.ReadOptions(column_names=wanted.names, block_size=_BLOCK, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=wanted,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )


def selected(columns: Sequence[Column]) -> sql.Composed:
    """The columns as they stand in a file."""
    return sql.SQL(", ").join(
        sql.SQL("{}::text").format(sql.Identifier(each.name)) if each.as_text else sql.Identifier(each.name)
        for each in columns
    )


def on_the_wire(columns: Sequence[Column]) -> sql.Composed:
    """The columns as the digest takes them: decimals as whole numbers of their last digit."""
    parts: list[sql.Composable] = []
    for each in columns:
        name = sql.Identifier(each.name)
        if each.scale is not None:
            parts.append(sql.SQL("({} * {}::numeric)::bigint").format(name, sql.Literal(10**each.scale)))
        elif each.as_text:
            parts.append(sql.SQL("{}::text").format(name))
        else:
            parts.append(name)
    return sql.SQL(", ").join(parts)


def names(of: Sequence[str]) -> sql.Composed:
    """Columns by name, with commas."""
    return sql.SQL(", ").join(map(sql.Identifier, of))


def digest(conn: psycopg.Connection, statement: sql.Composed) -> str:
    """SHA-256 of what a COPY … TO STDOUT (FORMAT binary) sends."""
    found = hashlib.sha256()
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for piece in copy:
            found.update(piece)
    return found.hexdigest()
