"""Results as columns, and back: the only code that knows the format of a batch.

A columns message has one `bytes` field for every field of its row message, by the same name, plus
`seq`, `measured_at_us` and `target`. What a field's bytes hold follows from the row field's type:

    float            float32   NULL = NaN
    bool, enum       int8      NULL = -1
    uint32           int32     NULL = -1
    int64, uint64    int64     NULL = -2**63
    string           int32     index into Batch.strings; 0 = "" = NULL

Little-endian, one element a row; a column of nothing but NULLs is empty bytes. No numpy here, because an
agent must not pay for it; `numpy.asarray` takes the memoryviews that `decode` gives without a copy.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from sonde_proto.v1 import ingest_pb2, results_pb2

View: TypeAlias = "memoryview[Any]"
"""A column: elements of one `Field.typecode`."""

Typecode: TypeAlias = Literal["f", "b", "i", "q"]

NULL_INT64 = -(2**63)
NAN = float("nan")

KINDS: Mapping[str, tuple[type[Message], type[Message]]] = {
    "performance": (results_pb2.Performance, results_pb2.PerformanceColumns),
    "endpoint": (results_pb2.Endpoint, results_pb2.EndpointColumns),
    "health": (results_pb2.Health, results_pb2.HealthColumns),
    "missed": (results_pb2.Missed, results_pb2.MissedColumns),
    "unlock": (results_pb2.Unlock, results_pb2.UnlockColumns),
}
"""Result.payload's field name -> its row message and its columns message."""

_F = FieldDescriptor
_TYPECODES: dict[int, tuple[Typecode, float]] = {
    _F.TYPE_FLOAT: ("f", NAN),
    _F.TYPE_BOOL: ("b", -1),
    _F.TYPE_ENUM: ("b", -1),
    _F.TYPE_UINT32: ("i", -1),
    _F.TYPE_INT64: ("q", NULL_INT64),
    _F.TYPE_UINT64: ("q", NULL_INT64),
    _F.TYPE_STRING: ("i", 0),
}
_SIGNED = frozenset({_F.TYPE_INT64, _F.TYPE_ENUM})


class MalformedBatch(ValueError):
    """The bytes are not a batch, or its columns contradict each other."""


@dataclass(frozen=True, slots=True)
class Field:
    """How one column is laid out."""

    name: str
    typecode: Typecode
    """`array` and `struct` code of an element: f, b, i or q."""
    null: float
    proto_type: int
    """The row field's `FieldDescriptor.TYPE_*`."""

    @property
    def is_text(self) -> bool:
        """Whether an element is an index into the batch's strings."""
        return self.proto_type == _F.TYPE_STRING


def _fields(row: type[Message]) -> tuple[Field, ...]:
    return tuple(
        Field(field.name, *_TYPECODES[field.type], proto_type=field.type) for field in row.DESCRIPTOR.fields
    )


FIELDS: Mapping[str, tuple[Field, ...]] = {kind: _fields(row) for kind, (row, _) in KINDS.items()}
"""Kind -> its columns in the order of the row message, without seq, measured_at_us and target."""


@dataclass(frozen=True, slots=True)
class Table:
    """The results of one kind in a batch.

    Attributes:
        kind: key of `KINDS`.
        seq: int64 view, ascending.
        measured_at_us: int64 view, UTC microseconds.
        target: int32 view of indexes into the batch's strings.
        columns: field name -> view of `Field.typecode`, or None where every row is NULL.
    """

    kind: str
    seq: View
    measured_at_us: View
    target: View
    columns: Mapping[str, View | None]

    def __len__(self) -> int:
        return len(self.seq)


def encode(batch: ingest_pb2.Batch, results: Sequence[tuple[int, results_pb2.Result]]) -> ingest_pb2.Batch:
    """Write results into the batch's columns and dictionary; return the batch.

    Args:
        batch: the batch with its header set and no columns yet. Changed in place.
        results: (seq, result), ascending by seq. A result without a payload is an error.

    Raises:
        ValueError: a result has no payload of a known kind.
    """
    strings: dict[str, int] = {"": 0}
    by_kind: dict[str, list[tuple[int, results_pb2.Result]]] = {}
    for seq, result in results:
        kind: str | None = result.WhichOneof("payload")
        if kind is None:
            raise ValueError(f"result {seq} has no payload")
        by_kind.setdefault(kind, []).append((seq, result))
    for name, rows in by_kind.items():
        columns = getattr(batch, name)
        columns.seq = _pack("q", [seq for seq, _ in rows])
        columns.measured_at_us = _pack("q", [result.measured_at_us for _, result in rows])
        columns.target = _pack("i", [strings.setdefault(result.target, len(strings)) for _, result in rows])
        payloads = [getattr(result, name) for _, result in rows]
        for field in FIELDS[name]:
            values: list[Any] = [
                getattr(payload, field.name) if payload.HasField(field.name) else None for payload in payloads
            ]
            if all(value is None for value in values):
                continue
            if field.is_text:
                values = [strings.setdefault(value or "", len(strings)) for value in values]
            else:
                values = [field.null if value is None else value for value in values]
            setattr(columns, field.name, _pack(field.typecode, values))
    batch.strings.extend(strings)
    return batch


def decode(batch: ingest_pb2.Batch) -> list[Table]:
    """Read the batch's columns as typed views; nothing is copied on little-endian machines.

    Checks what the format itself promises: equal lengths, text indexes and targets inside the dictionary
    are *not* checked here (they need a pass over the data; see the collector's validation).

    Returns:
        One table for each kind that has rows; [] for a hello or a batch of gaps alone.

    Raises:
        MalformedBatch: a column's length is not that of `seq`, or not a whole number of elements.
    """
    tables = []
    for kind in KINDS:
        if not batch.HasField(kind):  # type: ignore[arg-type]  # every key of KINDS is a field of Batch
            continue
        message = getattr(batch, kind)
        seq = _unpack("q", message.seq, f"{kind}.seq")
        tables.append(
            Table(
                kind=kind,
                seq=seq,
                measured_at_us=_column(message, kind, "measured_at_us", "q", len(seq)),
                target=_column(message, kind, "target", "i", len(seq)),
                columns={
                    field.name: _column(message, kind, field.name, field.typecode, len(seq))
                    if getattr(message, field.name)
                    else None
                    for field in FIELDS[kind]
                },
            )
        )
    return tables


def row(table: Table, index: int, strings: Sequence[str]) -> results_pb2.Result:
    """Give back one row as the result it was, for a reject's bytes or a person's eyes.

    A value that the message can't hold (an index outside the dictionary, a negative count) is left unset.
    """
    result = results_pb2.Result(
        measured_at_us=table.measured_at_us[index], target=_text(table.target[index], strings) or ""
    )
    payload = getattr(result, table.kind)
    payload.SetInParent()
    for field in FIELDS[table.kind]:
        view = table.columns[field.name]
        value = _value(field, view[index], strings) if view is not None else None
        if value is not None:
            setattr(payload, field.name, value)
    return result


def rows(table: Table, strings: Sequence[str]) -> Iterator[tuple[int, results_pb2.Result]]:
    """Give back all rows of a table as (seq, result), in order."""
    for index in range(len(table)):
        yield table.seq[index], row(table, index, strings)


def parse(data: bytes) -> ingest_pb2.Batch:
    """Read a batch from its bytes.

    Raises:
        MalformedBatch: these bytes are not a Batch.
    """
    try:
        return ingest_pb2.Batch.FromString(data)
    except DecodeError as error:
        raise MalformedBatch("not a Batch message") from error


def _column(message: Message, kind: str, name: str, typecode: Typecode, rows: int) -> View:
    view = _unpack(typecode, getattr(message, name), f"{kind}.{name}")
    if len(view) != rows:
        raise MalformedBatch(f"column {kind}.{name} has {len(view)} rows, seq has {rows}")
    return view


def _value(field: Field, stored: float, strings: Sequence[str]) -> float | str | None:
    if field.is_text:
        return _text(int(stored), strings)
    if field.typecode == "f":
        return None if stored != stored else stored  # noqa: PLR0124  # NaN is not itself
    if stored == field.null or (stored < 0 and field.proto_type not in _SIGNED):
        return None
    return bool(stored) if field.proto_type == _F.TYPE_BOOL else stored


def _text(index: int, strings: Sequence[str]) -> str | None:
    return strings[index] if 0 < index < len(strings) else None


def _pack(typecode: Typecode, values: Sequence[float]) -> bytes:
    packed = array(typecode, values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def _unpack(typecode: Typecode, data: bytes, name: str) -> View:
    width = array(typecode).itemsize
    if len(data) % width:
        raise MalformedBatch(f"column {name} is {len(data)} bytes, not a multiple of {width}")
    if sys.byteorder == "big":
        swapped = array(typecode, data)
        swapped.byteswap()
        data = swapped.tobytes()
    return memoryview(data).cast(typecode)
