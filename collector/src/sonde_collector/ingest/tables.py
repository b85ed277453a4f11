"""Which result field stands in which table column, and its cells for COPY. **Pure.**"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from attrs import frozen
from google.protobuf.descriptor import FieldDescriptor
from numpy.typing import NDArray

from sonde_collector.db.copy import Cells, Texts, Type
from sonde_collector.ingest import hold
from sonde_collector.ingest.merge import Rows
from sonde_proto.columns import FIELDS, Field
from sonde_proto.v1 import results_pb2


@frozen(eq=False)
class Resolved:
    """What a write knows about its batches and strings once the transaction holds their locks.

    Attributes:
        stream_id: per batch. probe_id: per batch.
        parent_id: per string of the write, the server's or target's id; 0 for none.
        protocol_id: per string of the write, 0 for none.
        platform_id: per string of the write, 0 for none.
        texts: the write's strings.
    """

    stream_id: NDArray[np.int32]
    probe_id: NDArray[np.int16]
    parent_id: NDArray[np.int32]
    protocol_id: NDArray[np.int16]
    platform_id: NDArray[np.int16]
    texts: Texts


@frozen
class TableColumn:
    """One column of a table, and the field or header value that it holds."""

    name: str
    type: Type
    field: str = ""
    """Field of the row message; where empty, `name` says which header value it is."""


_STREAM = (TableColumn("stream_id", Type.INT), TableColumn("seq", Type.BIGINT))
_PROBE = TableColumn("probe_id", Type.SMALLINT)
_MEASURED = TableColumn("measured_at", Type.TIMESTAMPTZ)
_CHECKED = TableColumn("checked_at", Type.TIMESTAMPTZ)

# Where the table's name for a field, or its type, does not follow from the message.
_RENAMED = {
    ("performance", "protocol"): ("protocol_id", Type.SMALLINT),
    ("endpoint", "cert_not_after_us"): ("cert_not_after", Type.TIMESTAMPTZ),
    ("missed", "until_us"): ("until_at", Type.TIMESTAMPTZ),
    ("performance", "download_mbps"): ("download_mbps", Type.NUMERIC_2),
    ("performance", "upload_mbps"): ("upload_mbps", Type.NUMERIC_2),
    ("performance", "packet_loss_pct"): ("packet_loss_pct", Type.NUMERIC_2),
    ("performance", "family"): ("family", Type.SMALLINT),
    ("performance", "ttl"): ("ttl", Type.SMALLINT),
    ("endpoint", "family"): ("family", Type.SMALLINT),
    ("unlock", "platform"): ("platform_id", Type.SMALLINT),
    ("unlock", "protocol"): ("protocol_id", Type.SMALLINT),
    ("unlock", "family"): ("family", Type.SMALLINT),
    ("unlock", "response_ms"): ("response_time_ms", Type.REAL),
}
_ENUMS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "failure": ("FAILURE_", dict(results_pb2.Failure.items())),
    "stage": ("STAGE_", dict(results_pb2.Stage.items())),
    "kind": ("ENDPOINT_KIND_", dict(results_pb2.EndpointKind.items())),
    "reason": ("MISS_REASON_", dict(results_pb2.MissReason.items())),
    "engine": ("ENGINE_", dict(results_pb2.Engine.items())),
    "verdict": ("VERDICT_", dict(results_pb2.Verdict.items())),
    "level": ("EVIDENCE_LEVEL_", dict(results_pb2.EvidenceLevel.items())),
    "via": ("VIA_", dict(results_pb2.Via.items())),
    "fidelity": ("FIDELITY_", dict(results_pb2.Fidelity.items())),
}
_TYPES = {"f": Type.REAL, "i": Type.INT, "q": Type.BIGINT}


def _type(field: Field) -> Type:
    if field.is_text or field.typecode == "b":
        return Type.BOOLEAN if field.proto_type == FieldDescriptor.TYPE_BOOL else Type.TEXT
    return _TYPES[field.typecode]


def _columns(kind: str, *header: TableColumn, at: TableColumn = _MEASURED) -> tuple[TableColumn, ...]:
    named = [
        TableColumn(*_RENAMED.get((kind, field.name), (field.name, _type(field))), field.name)
        for field in FIELDS[kind]
    ]
    return (*header, _PROBE, at, *_STREAM, *named)


COLUMNS: Mapping[str, tuple[TableColumn, ...]] = {
    "performance": _columns("performance", TableColumn("server_id", Type.INT)),
    "endpoint": _columns("endpoint", TableColumn("target_id", Type.INT)),
    "health": _columns("health"),
    "missed": _columns("missed", TableColumn("target", Type.TEXT)),
    "unlock": _columns("unlock", TableColumn("server_id", Type.INT), at=_CHECKED),
}
_BESIDE: Mapping[str, tuple[TableColumn, ...]] = {
    "held": (*COLUMNS["performance"], TableColumn("held_because", Type.TEXT)),
    "canary": COLUMNS["unlock"][1:],
}

TABLES: Mapping[str, str] = {
    "performance": "performance_logs",
    "held": "sonde.performance_held",
    "endpoint": "sonde.endpoint_checks",
    "health": "sonde.vantage_health",
    "missed": "sonde.missed_runs",
    "unlock": "streaming_checks",
    "canary": "sonde.canary_checks",
}
"""What is copied where; "held" is performance that waits for a judgement (see `hold`), "canary" unlock checks
directly from a vantage."""


def places(rows: Rows) -> list[tuple[str, NDArray[np.bool_]]]:
    """Which rows of a kind go where: keys of `TABLES`, and the rows of each; every row has one place."""
    if rows.kind == "performance":
        held = hold.because(rows) >= 0
        return [("held", held), ("performance", ~held)]
    if rows.kind == "unlock":
        direct = rows.target < 0
        return [("canary", direct), ("unlock", ~direct)]
    return [(rows.kind, np.ones(len(rows), np.bool_))]


def columns_of(table: str) -> tuple[TableColumn, ...]:
    """The columns of a key of `TABLES`, in the order of its COPY."""
    return _BESIDE[table] if table in _BESIDE else COLUMNS[table]


def _enum_texts(prefix: str, numbers: Mapping[str, int]) -> tuple[Texts, NDArray[np.int32]]:
    """The SQL words of an enum, and number -> code; 0 (it did not happen) is NULL."""
    codes = np.full(max(numbers.values()) + 2, -1, np.int32)
    for code, number in enumerate(numbers.values()):
        codes[number] = code if number else -1
    return Texts([name.removeprefix(prefix).lower() for name in numbers]), codes


_ENUM_TEXTS = {name: _enum_texts(*enum) for name, enum in _ENUMS.items()}
_HELD_TEXTS = Texts(hold.BECAUSE)


def cells(table: str, rows: Rows, resolved: Resolved) -> list[Cells]:
    """The cells of accepted rows, in the order of `columns_of`."""
    return [_cells(column, rows, resolved) for column in columns_of(table)]


def _cells(column: TableColumn, rows: Rows, resolved: Resolved) -> Cells:
    if not column.field:
        header, texts = _HEADER[column.name](rows, resolved)
        return Cells(column.type, header, texts=texts)
    values = rows.columns[column.field]
    if column.field == "quality" and values is None:
        return Cells(column.type, np.zeros(len(rows), np.int32))
    if values is None:
        return Cells(column.type, None)
    field = _BY_NAME[rows.kind][column.field]
    if field.is_text or column.type is Type.TEXT:
        return _text_cells(column, values, resolved)
    return _number_cells(column, field, values)


_Values = tuple[NDArray[Any], Texts | None]
_HEADER: Mapping[str, Callable[[Rows, Resolved], _Values]] = {
    "server_id": lambda rows, resolved: (resolved.parent_id[rows.target], None),
    "target_id": lambda rows, resolved: (resolved.parent_id[rows.target], None),
    "target": lambda rows, resolved: (rows.target, resolved.texts),
    "probe_id": lambda rows, resolved: (resolved.probe_id[rows.batch], None),
    "measured_at": lambda rows, _: (rows.measured_at_us, None),
    "checked_at": lambda rows, _: (rows.measured_at_us, None),
    "stream_id": lambda rows, resolved: (resolved.stream_id[rows.batch], None),
    "seq": lambda rows, _: (rows.seq, None),
    "held_because": lambda rows, _: (hold.because(rows), _HELD_TEXTS),
}


def _text_cells(column: TableColumn, values: NDArray[Any], resolved: Resolved) -> Cells:
    if column.name == "protocol_id":
        return Cells(column.type, resolved.protocol_id[values], null=values < 0)
    if column.name == "platform_id":
        return Cells(column.type, resolved.platform_id[values])
    if column.name == "evidence":
        return Cells(column.type, values, texts=resolved.texts.as_jsonb(values))
    if values.dtype == np.int8:
        texts, codes = _ENUM_TEXTS[column.field]
        return Cells(column.type, codes[values], texts=texts)  # -1 takes the last code, which is NULL
    return Cells(column.type, values, texts=resolved.texts)


def _number_cells(column: TableColumn, field: Field, values: NDArray[Any]) -> Cells:
    if column.name == "quality":
        return Cells(column.type, np.maximum(values, 0))
    if field.typecode != "f":
        return Cells(column.type, values, null=values == field.null)
    null = np.isnan(values)
    if column.type is not Type.NUMERIC_2:
        return Cells(column.type, values, null)
    hundredths = np.rint(np.where(null, 0, values).astype(np.float64) * 100)
    return Cells(column.type, hundredths.astype(np.int32), null)


_BY_NAME: Mapping[str, Mapping[str, Field]] = {
    kind: {field.name: field for field in fields} for kind, fields in FIELDS.items()
}


def hours(rows: Iterable[tuple[str, Rows]], probe_id: NDArray[np.int16]) -> list[tuple[str, int, int]]:
    """The distinct (series, hour, probe) that these rows make dirty; the hour in microseconds since 1970."""
    marks: list[tuple[str, int, int]] = []
    for series, part in rows:
        hour = part.measured_at_us // _HOUR_US
        distinct = np.unique(hour * _PROBES + probe_id[part.batch])
        marks += [(series, int(key // _PROBES) * _HOUR_US, int(key % _PROBES)) for key in distinct]
    return marks


_HOUR_US = 3_600_000_000
_PROBES = 1 << 15  # probe_id is a positive smallint
