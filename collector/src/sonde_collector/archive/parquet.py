"""Parquet files: written once, sorted, and read back value by value."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from attrs import frozen

from sonde_collector.archive.layout import Column, schema
from sonde_collector.archive.storage import Storage
from sonde_collector.db.copy import HEADER, TRAILER, Cells, Texts, Type, encode_in_order

_GROUP_ROWS = 1 << 17  # of a row group: what a query skips by server, and what is in memory at once
_READ_ROWS = 1 << 15
_LEVEL = 15  # of zstd: 4 % smaller than 9; from here on a file takes longer and gets hardly smaller


@frozen
class Written:
    """A file as it was handed to its storage."""

    rows: int
    bytes: int
    sha256: str


class _Sink:
    """Hashes what it hands on."""

    closed = False

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self._sink.write(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Whoever opened the sink closes it."""


def write(
    storage: Storage, name: str, columns: Sequence[Column], time: str, found: Iterable[pa.RecordBatch]
) -> Written:
    """Writes the batches as one file, one row group in memory at a time.

    Args:
        storage: where to.
        name: of the file.
        columns: of the batches.
        time: which of them its table is partitioned by.
        found: the batches.

    Raises:
        OSError: the storage has no room, or does not answer; at most a part of it is there.
    """
    wanted, rows = schema(columns), 0
    with storage.write(name) as raw:
        sink = _Sink(raw)
        with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), wanted, **_options(columns, time)) as writer:
            for table in _groups(found, wanted):
                writer.write_table(table, row_group_size=_GROUP_ROWS)
                rows += table.num_rows
    return Written(rows, sink.size, sink.digest.hexdigest())


def _groups(found: Iterable[pa.RecordBatch], wanted: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in found:
        held.append(batch)
        count += batch.num_rows
        while count >= _GROUP_ROWS:
            table = pa.Table.from_batches(held, wanted)
            yield table.slice(0, _GROUP_ROWS)
            held = table.slice(_GROUP_ROWS).to_batches()
            count -= _GROUP_ROWS
    if held:
        yield pa.Table.from_batches(held, wanted)


def _options(columns: Sequence[Column], time: str) -> dict[str, Any]:
    """What makes each column small: floats by place of their bytes, times and numbers by what they grow."""
    encoding = {}
    for each in columns:
        # The time of rows that stand by server jitters too much for differences to be small.
        if each.wire in (Type.REAL, Type.DOUBLE) or each.name == time:
            encoding[each.name] = "BYTE_STREAM_SPLIT"
        elif each.wire in (Type.TIMESTAMPTZ, Type.BIGINT) and not each.name.endswith("_pct"):
            encoding[each.name] = "DELTA_BINARY_PACKED"
    return {
        "compression": "zstd",
        "compression_level": _LEVEL,
        "use_dictionary": [each.name for each in columns if each.name not in encoding],
        "column_encoding": encoding,
        "store_decimal_as_integer": True,
        "write_statistics": True,
        "write_page_checksum": True,
        "version": "2.6",
        "data_page_version": "2.0",
    }


def read(storage: Storage, name: str) -> Iterator[pa.RecordBatch]:
    """The rows of a file, some at a time.

    Raises:
        OSError, pa.ArrowException: it is not there, or not what was written.
    """
    with storage.open(name) as source, pq.ParquetFile(source, page_checksum_verification=True) as file:
        yield from file.iter_batches(batch_size=_READ_ROWS)


def content(storage: Storage, name: str, columns: Sequence[Column]) -> tuple[int, str]:
    """How many rows a file holds, and their digest as `rows.digest` makes it of the table.

    Raises:
        OSError, pa.ArrowException: it is not there, or not what was written.
    """
    digest, rows = hashlib.sha256(HEADER), 0
    for batch in read(storage, name):
        rows += batch.num_rows
        for piece in encode_in_order(
            [_cells(batch.column(each.name), each) for each in columns], batch.num_rows
        ):
            digest.update(piece)
    digest.update(TRAILER)
    return rows, digest.hexdigest()


def _cells(values: pa.Array, column: Column) -> Cells:
    if values.null_count == len(values):
        return Cells(column.wire, None)
    if column.wire is Type.TEXT:
        coded = values.dictionary_encode()
        codes = coded.indices.fill_null(-1).to_numpy()
        return Cells(Type.TEXT, codes, texts=Texts(coded.dictionary.to_pylist()))
    null = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
    if column.scale is not None:
        # A decimal is 16 bytes, the lowest first; ours fit the first eight.
        whole = np.frombuffer(values.buffers()[1], np.int64)[::2]
        return Cells(Type.BIGINT, whole[values.offset : values.offset + len(values)], null)
    if column.wire is Type.TIMESTAMPTZ:
        values = values.cast(pa.int64())
    if null is not None:
        values = pc.fill_null(values, pa.scalar(0, values.type) if column.wire is not Type.BOOLEAN else False)
    return Cells(column.wire, values.to_numpy(zero_copy_only=False), null)
