"""Tables as they are over all tiers: what PostgreSQL holds and what lies in files, in one snapshot.

DuckDB asks each table for columns and a filter; from that follow the files, the row groups and the time range
that are read at all. Rows stream through: nothing is held but some batches.
"""

import contextlib
import datetime as dt
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import psycopg
import pyarrow as pa
from attrs import frozen
from psycopg import IsolationLevel, sql
from pyarrow import dataset as ds
from pyarrow import fs

from sonde_collector.archive import layout, rows
from sonde_collector.archive.expiry import tables
from sonde_collector.archive.ledger import Record, records, run, shaped, table
from sonde_collector.archive.storage import Storage
from sonde_collector.db.partitions import partitioned
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query

_PARTS = 128  # into which the time of a table is cut, to see which of it a filter can want
_READ_ROWS = 1 << 15
_TRIES = 5
_FIRST = dt.datetime(1, 1, 2, tzinfo=dt.UTC)
_LAST = dt.datetime(9999, 12, 30, tzinfo=dt.UTC)
Range = tuple[dt.datetime, dt.datetime]


@frozen
class Relation:
    """A table or view of the database."""

    schema: str
    name: str
    columns: tuple[layout.Column, ...]

    @property
    def full_name(self) -> str:
        """With its schema."""
        return f"{self.schema}.{self.name}"


@frozen
class Apart:
    """A partition on its way out, which is a table of its own for now."""

    name: str
    parent: str
    lo: dt.datetime
    hi: dt.datetime


@frozen(eq=False)
class Snapshot:
    """Everything as it is at one moment.

    Attributes:
        relations: all tables and views.
        archived: what has a file and no table.
        apart: what is on its way.
        bounds: table -> from when to when its partitions reach.
    """

    database: Database
    storage: Storage | None
    timeout_s: float
    id: str
    relations: tuple[Relation, ...]
    archived: tuple[Record, ...]
    apart: tuple[Apart, ...]
    bounds: dict[str, Range]

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """One more connection that sees the same."""
        with self.database.connect() as conn:
            conn.isolation_level = IsolationLevel.REPEATABLE_READ
            conn.read_only = True
            conn.execute(shaped("tiers_same_snapshot", snapshot=sql.Literal(self.id)))
            conn.execute(query("archive_session"))
            conn.execute(query("tiers_timeout"), (f"{round(self.timeout_s * 1000)}ms",))
            yield conn


@contextlib.contextmanager
def snapshot(database: Database, storage: Storage | None, timeout_s: float) -> Iterator[Snapshot]:
    """The database as it is now, held as it is while the block runs.

    Args:
        database: which.
        storage: where files lie; None where none is to be read.
        timeout_s: the server ends a statement after this. [s]

    Raises:
        psycopg.Error: it can't be had.
    """
    for left in reversed(range(_TRIES)):
        with contextlib.ExitStack() as stack:
            conn = stack.enter_context(database.connect())
            try:
                found = _take(conn, database, storage, timeout_s)
            except psycopg.errors.UndefinedTable:  # a partition was dropped between the list and its lock
                if not left:
                    raise
                continue
            yield found
            return


def _take(
    conn: psycopg.Connection, database: Database, storage: Storage | None, timeout_s: float
) -> Snapshot:
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    parents = sql.SQL(", ").join(map(table, tables()))
    conn.execute(shaped("tiers_lock", tables=parents))
    apart = tuple(Apart(*row) for row in run(conn, "tiers_apart"))
    if apart:
        children = sql.SQL(", ").join(table((each.parent.partition(".")[0], each.name)) for each in apart)
        conn.execute(shaped("tiers_lock", tables=children))
    bounds = {}
    for parent in tables():
        row = run(conn, "tiers_bounds", parent=parent).fetchone()
        if row is not None and row[0] is not None:
            bounds[parent] = (row[0], row[1])
    row = conn.execute(query("tiers_snapshot")).fetchone()
    assert row is not None
    return Snapshot(
        database,
        storage,
        timeout_s,
        str(row[0]),
        tuple(
            Relation(schema, name, layout.columns(of)) for schema, name, of in run(conn, "tiers_relations")
        ),
        tuple(each for each in records(conn) if each.state == "archived"),
        apart,
        bounds,
    )


class Tiered(ds.InMemoryDataset):  # type: ignore[misc]  # DuckDB asks any Dataset for its scanner
    """One table, as something that DuckDB reads.

    Args:
        relation: which.
        of: the moment.
    """

    def __init__(self, relation: Relation, of: Snapshot) -> None:
        super().__init__(layout.schema(relation.columns).empty_table())
        self._relation = relation
        self._of = of

    def scanner(self, **asked: Any) -> ds.Scanner:
        """What DuckDB calls: `columns` of the rows that `filter` lets through."""
        columns, wanted_rows = asked.get("columns"), asked.get("filter")
        named = [each.name for each in self._relation.columns]
        wanted = named if columns is None else list(columns) or named[:1]
        # A filter does not say which columns it reads, but its text names them.
        told = set(re.findall(r"\w+", str(wanted_rows))) if wanted_rows is not None else set()
        needed = tuple(each for each in self._relation.columns if each.name in wanted or each.name in told)
        shape = layout.schema(needed).remove_metadata()
        reader = pa.RecordBatchReader.from_batches(shape, self._batches(needed, wanted_rows))
        return ds.Scanner.from_batches(reader, columns=wanted, filter=wanted_rows)

    def _batches(
        self, needed: Sequence[layout.Column], wanted: ds.Expression | None
    ) -> Iterator[pa.RecordBatch]:
        of, name = self._of, self._relation.full_name
        if name not in tables():
            with of.connection() as conn:
                text = shaped("tiers_read", columns=rows.selected(needed), table=table(name))
                yield from rows.batches(conn, text, needed)
            return
        time = partitioned(name).column
        yield from self._cold(time, needed, wanted)
        shape = layout.schema(self._relation.columns)
        hot = [(name, window) for window in windows(time, of.bounds.get(name), shape, wanted)]
        schema = self._relation.schema
        hot += [
            (f"{schema}.{each.name}", (each.lo, each.hi))
            for each in of.apart
            if each.parent == name and possible(time, [(each.lo, each.hi)], shape, wanted)
        ]
        for where, (lo, hi) in hot:
            with of.connection() as conn:
                text = shaped(
                    "tiers_read_between",
                    columns=rows.selected(needed), table=table(where), time=sql.Identifier(time),
                    lo=sql.Literal(lo), hi=sql.Literal(hi),
                )  # fmt: skip
                yield from rows.batches(conn, text, needed)

    def _cold(
        self, time: str, needed: Sequence[layout.Column], wanted: ds.Expression | None
    ) -> Iterator[pa.RecordBatch]:
        files = [each for each in self._of.archived if each.parent == self._relation.full_name and each.rows]
        if not files or self._of.storage is None:
            return
        storage = self._of.storage
        lying = ds.FileSystemDataset.from_paths(
            [storage.path(str(each.file)) for each in files],
            schema=layout.schema(self._relation.columns).remove_metadata(),
            format=ds.ParquetFileFormat(),
            filesystem=storage.system,
            partitions=[between(time, each.lo, each.hi) for each in files],
        )
        yield from lying.scanner(
            columns=[each.name for each in needed], filter=wanted,
            batch_size=_READ_ROWS, batch_readahead=2, fragment_readahead=1,
        ).to_reader()  # fmt: skip


def between(time: str, lo: dt.datetime, hi: dt.datetime) -> ds.Expression:
    """Lo <= time < hi. **Pure.**"""
    stamp = pa.timestamp("us", "UTC")
    return (ds.field(time) >= pa.scalar(lo, stamp)) & (ds.field(time) < pa.scalar(hi, stamp))


def possible(
    time: str, ranges: Sequence[Range], shape: pa.Schema, wanted: ds.Expression | None
) -> list[Range]:
    """Those of the ranges in which a row may be that the filter lets through. **Pure.**

    Args:
        time: the column that the ranges are of.
        ranges: lo <= time < hi.
        shape: the columns that the filter may name.
        wanted: the filter; None lets everything through.
    """
    if wanted is None:
        return list(ranges)
    numbered = ds.FileSystemDataset.from_paths(
        [str(number) for number in range(len(ranges))],
        schema=shape,
        format=ds.ParquetFileFormat(),
        filesystem=fs.LocalFileSystem(),
        partitions=[between(time, lo, hi) for lo, hi in ranges],
    )
    return [ranges[int(each.path)] for each in numbered.get_fragments(filter=wanted)]


def windows(time: str, bounds: Range | None, shape: pa.Schema, wanted: ds.Expression | None) -> list[Range]:
    """The times of a table that a filter can want, joined where they touch; see `possible`. **Pure.**

    What lies before and after its partitions is among them: a default partition may hold it.
    """
    if bounds is None:
        ranges = [(_FIRST, _LAST)]
    else:
        lo, hi = bounds
        edges = [_FIRST, *(lo + (hi - lo) * part / _PARTS for part in range(_PARTS)), hi, _LAST]
        ranges = list(pairwise(edges))
    found: list[Range] = []
    for lo, hi in possible(time, ranges, shape, wanted):
        if found and found[-1][1] == lo:
            found[-1] = (found[-1][0], hi)
        else:
            found.append((lo, hi))
    return found
