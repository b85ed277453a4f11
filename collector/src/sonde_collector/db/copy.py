"""Columns to PostgreSQL's binary COPY format, thousands of rows at a time.

Rows that have their NULLs in the same columns are laid out as a byte matrix: a template, and into it the
values column by column. Rows of rare patterns share a matrix with room for every value; what a row does not
have, and what a shorter text leaves free, is then cut out by a mask, which costs more than all the rest.

Source: PostgreSQL manual, COPY, "Binary Format"; numeric_recv and timestamptz_recv for the values.
"""

import functools
import struct
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

import numpy as np
import psycopg
from attrs import frozen
from numpy.typing import NDArray
from psycopg import sql
from psycopg.copy import LibpqWriter

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)

# 2000-01-01, PostgreSQL's epoch, in microseconds since 1970.
_EPOCH_US = 946_684_800_000_000

# Bytes of the matrix filled at once: one long text widens its neighbours in the same piece, so pieces stay
# small, and a piece that fits the CPU's cache is filled twice as fast as one of 20 MB.
_PIECE_BYTES = 1 << 19

# A pattern of NULLs gets a matrix of its own from so many rows on, and only so many patterns do: a matrix
# costs some 100 us however few its rows are.
_ALIKE_ROWS = 256
_PATTERNS = 8

# A numeric of two decimals below 10^5 as three base-10000 digits: ndigits 3, weight 1, sign 0, dscale 2.
_NUMERIC_HEAD = struct.pack(">hhHh", 3, 1, 0, 2)

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Buffer = bytes | memoryview


class Type(Enum):
    """A column's type in the table, and what `Cells.values` holds for it."""

    BOOLEAN = "bool"
    SMALLINT = "int16"
    INT = "int32"
    BIGINT = "int64"
    REAL = "float32"
    DOUBLE = "float64"
    TIMESTAMPTZ = "int64, microseconds since 1970 UTC"
    NUMERIC_2 = "integers, hundredths, 0..9 999 999: NUMERIC(7,2) and smaller"
    TEXT = "int, codes into `Cells.texts`; negative is NULL"


_STORED = {
    Type.BOOLEAN: "u1",
    Type.SMALLINT: ">i2",
    Type.INT: ">i4",
    Type.BIGINT: ">i8",
    Type.REAL: ">f4",
    Type.DOUBLE: ">f8",
    Type.TIMESTAMPTZ: ">i8",
}
_NUMERIC_BYTES = 14
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Texts:
    """A dictionary of strings, as the codes of TEXT cells name them.

    Args:
        strings: without NUL characters, which PostgreSQL refuses.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._encoded = [text.encode() for text in strings]
        self._lengths = np.fromiter(map(len, self._encoded), np.int32, len(self._encoded))

    def gather(self, codes: Array) -> tuple[Bytes, NDArray[np.int32]]:
        """Gives one row of bytes per code, padded to the longest of them, and their true lengths."""
        present = codes >= 0
        used = np.flatnonzero(np.bincount(codes[present].astype(np.intp), minlength=1))
        if not len(self._encoded) or not present.any():
            return np.zeros((len(codes), 0), np.uint8), np.zeros(len(codes), np.int32)
        width = int(self._lengths[used].max())
        padded = b"".join(self._encoded[code].ljust(width, b"\0") for code in used)
        table = np.frombuffer(padded, np.uint8).reshape(len(used), width)
        place = np.zeros(len(self._encoded), np.intp)
        place[used] = np.arange(len(used))
        at = np.where(present, codes, 0).astype(np.intp)
        return table[place[at]], np.where(present, self._lengths[at], 0).astype(np.int32)

    def as_jsonb(self, codes: Array) -> "Texts":
        """Gives the dictionary as jsonb_recv reads it: the format's version, 1, before each text used."""
        used = np.unique(codes[codes >= 0]).tolist()
        made = Texts([])
        made._encoded = [b""] * len(self._encoded)
        made._lengths = np.zeros(len(self._encoded), np.int32)
        for code in used:
            made._encoded[code] = b"\x01" + self._encoded[code]
            made._lengths[code] = self._lengths[code] + 1
        return made

    def width(self, codes: Array) -> int:
        """Bytes of the longest text among the codes; 0 where all are NULL."""
        present = codes[codes >= 0].astype(np.intp)
        return int(self._lengths[present].max()) if len(present) else 0


@frozen(eq=False)
class Cells:
    """The values of one column.

    Attributes:
        type: how they are stored.
        values: one per row; None where every row is NULL. What stands below a NULL does not matter.
        null: True where a row is NULL; None where none is. Not used for TEXT.
        texts: the dictionary, for TEXT.
    """

    type: Type
    values: Array | None
    null: Mask | None = None
    texts: Texts | None = None

    @property
    def nulls(self) -> Mask | None:
        """True where a row is NULL; None where none is, or all are."""
        if self.type is Type.TEXT and self.values is not None:
            return self.values < 0
        return self.null

    def pick(self, chosen: NDArray[np.intp]) -> "Cells":
        """Only these rows."""
        return Cells(
            self.type,
            None if self.values is None else self.values[chosen],
            None if self.null is None else self.null[chosen],
            self.texts,
        )


def encode(columns: Sequence[Cells], rows: int) -> Iterator[Buffer]:
    """Gives the COPY stream of these columns in pieces, header and trailer included. **Pure.**

    Rows come in another order than they stand in: those with the same NULLs together, in their own order.

    Args:
        columns: in the order of the COPY statement, each of `rows` values.
        rows: how many.
    """
    yield HEADER
    yield from _pieces(columns, _alike(columns, rows), rows)
    yield TRAILER


def encode_in_order(columns: Sequence[Cells], rows: int) -> Iterator[Buffer]:
    """Gives these rows as a COPY stream has them, in their order, without header and trailer. **Pure.**"""
    yield from _pieces(columns, [None] if rows else [], rows)


def _pieces(
    columns: Sequence[Cells], groups: Sequence[NDArray[np.intp] | None], rows: int
) -> Iterator[Buffer]:
    for chosen in groups:
        part = columns if chosen is None else [cells.pick(chosen) for cells in columns]
        count = rows if chosen is None else len(chosen)
        shape = tuple(_shape(cells) for cells in part)
        widest = _layout(shape).width + sum(
            cells.texts.width(cells.values)
            for cells in part
            if cells.texts is not None and cells.values is not None
        )
        step = max(1, _PIECE_BYTES // widest)
        for low in range(0, count, step):
            yield _piece(part, shape, low, min(low + step, count))


def _alike(columns: Sequence[Cells], rows: int) -> list[NDArray[np.intp] | None]:
    """Groups rows by their NULLs; None is all rows. The last group may be of rows of rare patterns."""
    if not rows:
        return []
    pattern = np.zeros(rows, np.uint64)
    for cells in columns:
        null = cells.nulls
        if null is not None:
            pattern *= _ODD  # patterns that collide share a matrix, which costs time alone
            pattern += null
    found, counts = np.unique(pattern, return_counts=True)
    common = [at for at in np.argsort(-counts)[:_PATTERNS] if counts[at] >= _ALIKE_ROWS]
    if not common or len(found) == 1:
        return [None]
    groups: list[NDArray[np.intp] | None] = []
    rest = np.ones(rows, np.bool_)
    for at in common:
        same = pattern == found[at]
        rest &= ~same
        groups.append(np.flatnonzero(same))
    return [*groups, np.flatnonzero(rest)] if rest.any() else groups


class _Nulls(Enum):
    ALL = 0
    SOME = 1
    NONE = 2


def _shape(cells: Cells) -> tuple[Type, _Nulls]:
    null = cells.nulls
    if cells.values is None or (null is not None and null.all()):
        return cells.type, _Nulls.ALL
    return cells.type, _Nulls.NONE if null is None or not null.any() else _Nulls.SOME


@frozen
class _Layout:
    """Where everything of a row stands in a matrix row, texts not counted."""

    dtype: np.dtype[np.void]
    template: Bytes
    starts: tuple[int, ...]

    @property
    def width(self) -> int:
        return self.dtype.itemsize


@functools.lru_cache(maxsize=256)
def _layout(shape: tuple[tuple[Type, _Nulls], ...], text_widths: tuple[int, ...] = ()) -> _Layout:
    fields: list[tuple[str, object]] = [("count", ">i2")]
    widths = iter(text_widths)
    template = struct.pack(">h", len(shape))
    starts = []
    for index, (kind, nulls) in enumerate(shape):
        fields.append((f"length{index}", ">i4"))
        starts.append(len(template) + 4)
        if nulls is _Nulls.ALL:
            template += struct.pack(">i", -1)
        elif kind is Type.TEXT:
            width = next(widths, 0)
            fields.append((f"value{index}", f"V{width}"))
            template += bytes(4 + width)
        elif kind is Type.NUMERIC_2:
            digits = [("head", "V8"), ("high", ">i2"), ("low", ">i2"), ("fraction", ">i2")]
            fields.append((f"value{index}", digits))
            template += struct.pack(">i", _NUMERIC_BYTES) + _NUMERIC_HEAD + bytes(6)
        else:
            stored = np.dtype(_STORED[kind])
            fields.append((f"value{index}", stored))
            template += struct.pack(">i", stored.itemsize) + bytes(stored.itemsize)
    fields = [field for field in fields if field[1] != "V0"]
    return _Layout(np.dtype(fields), np.frombuffer(template, np.uint8), tuple(starts))


def _piece(
    columns: Sequence[Cells], shape: tuple[tuple[Type, _Nulls], ...], low: int, high: int
) -> memoryview:
    texts = {
        index: cells.texts.gather(cells.values[low:high])
        for index, (cells, (_, nulls)) in enumerate(zip(columns, shape, strict=True))
        if cells.texts is not None and cells.values is not None and nulls is not _Nulls.ALL
    }
    layout = _layout(shape, tuple(padded.shape[1] for padded, _ in texts.values()))
    matrix = np.empty((high - low, layout.width), np.uint8)
    matrix[:] = layout.template
    cells_of = matrix.view(layout.dtype)[:, 0]
    holes: list[_Hole] = []
    for index, (cells, (kind, nulls)) in enumerate(zip(columns, shape, strict=True)):
        if nulls is _Nulls.ALL or cells.values is None:
            continue
        start, values = layout.starts[index], cells.values[low:high]
        if kind is Type.TEXT:
            padded, lengths = texts[index]
            width = padded.shape[1]
            cells_of[f"length{index}"] = np.where(values < 0, -1, lengths)
            matrix[:, start : start + width] = padded
            if (lengths != width).any():
                holes.append(_Hole(start, width, lengths))
            continue
        width = _put(cells_of[f"value{index}"], kind, values)
        if nulls is _Nulls.SOME and cells.null is not None:
            null = cells.null[low:high]
            cells_of[f"length{index}"][null] = -1
            holes.append(_Hole(start, width, np.where(null, 0, width).astype(np.int32)))
    return _close(matrix, holes)


@frozen(eq=False)
class _Hole:
    """A place of which each row keeps only the first bytes."""

    start: int
    width: int
    kept: NDArray[np.int32]


def _close(matrix: Bytes, holes: Sequence[_Hole]) -> memoryview:
    """Gives the rows without the bytes that they don't keep."""
    if not holes:
        return matrix.reshape(-1).data
    keep = np.ones(matrix.shape, np.bool_)
    for hole in holes:
        keep[:, hole.start : hole.start + hole.width] = np.arange(hole.width) < hole.kept[:, None]
    return matrix[keep].data


def _put(place: Array, kind: Type, values: Array) -> int:
    """Writes the values in network order and returns how many bytes each takes."""
    if kind is Type.NUMERIC_2:
        whole, hundredths = np.divmod(values.astype(np.int32), 100)
        place["high"], place["low"] = np.divmod(whole, 10_000)
        place["fraction"] = hundredths * 100
        return _NUMERIC_BYTES
    place[...] = values - _EPOCH_US if kind is Type.TIMESTAMPTZ else values
    return place.dtype.itemsize


def send(conn: psycopg.Connection, table: str, names: Sequence[str], pieces: Iterable[Buffer]) -> None:
    """Runs COPY … FROM STDIN with a stream of `encode`, inside the caller's transaction.

    Each piece is on its way before the next is asked for: the server works while we encode.

    Args:
        conn: where to.
        table: with its schema where it is not `public`.
        names: the columns, in the order that they were encoded in.
        pieces: of the stream.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    # What libpq could not send at once it moves to the front of its buffer with every block that it is given;
    # with each block flushed there is nothing to move.
    with (
        conn.cursor() as cursor,
        cursor.copy(statement, writer=LibpqWriter(cursor, flush_threshold=0)) as copy,
    ):
        for piece in pieces:
            copy.write(piece)
