"""The rows of several batches as one table per kind, so that every later step is a few array operations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sonde_collector.ingest.arrival import Arrival
from sonde_proto.columns import FIELDS, Field, Table

BAD_TEXT = -2
"""A text code that named no string of its batch's dictionary."""

_DTYPES = {"f": "<f4", "b": "i1", "i": "<i4", "q": "<i8"}

Array = NDArray[Any]


@frozen(eq=False)
class Rows:
    """All rows of one kind, batch after batch.

    Attributes:
        kind: key of `sonde_proto.columns.KINDS`.
        batch: per row, the index of its batch in the write.
        index: per row, its index in that batch's table.
        seq: per row.
        measured_at_us: per row.
        target: per row, a code into the write's strings; -1 for none, `BAD_TEXT` for nonsense.
        columns: per field its array, texts as codes like `target`'s; None where all is NULL.
    """

    kind: str
    batch: NDArray[np.int32]
    index: NDArray[np.int32]
    seq: NDArray[np.int64]
    measured_at_us: NDArray[np.int64]
    target: NDArray[np.int32]
    columns: Mapping[str, Array | None]

    def __len__(self) -> int:
        return len(self.seq)

    def pick(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> "Rows":
        """Only these rows, by mask or by index."""
        return Rows(
            self.kind,
            self.batch[chosen],
            self.index[chosen],
            self.seq[chosen],
            self.measured_at_us[chosen],
            self.target[chosen],
            {name: None if column is None else column[chosen] for name, column in self.columns.items()},
        )

    def in_time_order(self) -> "Rows":
        """The same rows, oldest first: next to each other in the tables' indexes, which begin with the time.

        Batches of many agents cover the same minutes; in the order of their arrival each row would go to
        another page than the one before it, and cost PostgreSQL twice as much.
        """
        return self.pick(np.argsort(self.measured_at_us, kind="stable"))


def strings(arrivals: Sequence[Arrival]) -> list[str]:
    """The write's dictionary: every batch's, one after another."""
    return [text for arrival in arrivals for text in arrival.strings]


def merge(arrivals: Sequence[Arrival]) -> list[Rows]:
    """Lays the rows of the batches behind each other, by kind; kinds without rows are left out. **Pure.**"""
    sizes = np.array([len(arrival.strings) for arrival in arrivals], np.int32)
    offsets = np.concatenate((np.zeros(1, np.int32), np.cumsum(sizes, dtype=np.int32)))
    merged = []
    for kind, fields in FIELDS.items():
        parts = [
            (number, table)
            for number, arrival in enumerate(arrivals)
            for table in arrival.tables
            if table.kind == kind and len(table)
        ]
        if parts:
            merged.append(_merge_kind(kind, fields, parts, sizes, offsets))
    return merged


def _merge_kind(
    kind: str,
    fields: Sequence[Field],
    parts: Sequence[tuple[int, Table]],
    sizes: NDArray[np.int32],
    offsets: NDArray[np.int32],
) -> Rows:
    tables = [table for _, table in parts]
    counts = [len(table) for table in tables]
    batch = np.repeat(np.array([number for number, _ in parts], np.int32), counts)
    size, offset = sizes[batch], offsets[batch]

    def texts(codes: NDArray[np.int32]) -> NDArray[np.int32]:
        merged = codes + offset
        merged[codes == 0] = -1
        merged[(codes < 0) | (codes >= size)] = BAD_TEXT
        return merged

    columns: dict[str, Array | None] = {}
    for field in fields:
        views = [table.columns[field.name] for table in tables]
        if all(view is None for view in views):
            columns[field.name] = None
            continue
        column = _join(views, counts, field)
        columns[field.name] = texts(column) if field.is_text else column
    return Rows(
        kind,
        batch,
        np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        np.concatenate([np.asarray(table.seq) for table in tables]),
        np.concatenate([np.asarray(table.measured_at_us) for table in tables]),
        texts(np.concatenate([np.asarray(table.target) for table in tables])),
        columns,
    )


def _join(views: Sequence[memoryview | None], counts: Sequence[int], field: Field) -> Array:
    dtype = np.dtype(_DTYPES[field.typecode])
    return np.concatenate(
        [
            np.full(count, field.null, dtype) if view is None else np.frombuffer(view, dtype)
            for view, count in zip(views, counts, strict=True)
        ]
    )
