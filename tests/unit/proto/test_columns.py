"""Results survive the trip through columns, and malformed columns are named."""

import contextlib
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonde_proto import columns
from sonde_proto.v1 import ingest_pb2, results_pb2

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
_FLOAT = st.floats(width=32, allow_nan=False)
_BY_TYPE = {
    columns._F.TYPE_FLOAT: _FLOAT,
    columns._F.TYPE_BOOL: st.booleans(),
    columns._F.TYPE_UINT32: st.integers(0, 2**31 - 1),
    columns._F.TYPE_INT64: st.integers(-(2**63) + 1, 2**63 - 1),
    columns._F.TYPE_UINT64: st.integers(0, 2**63 - 1),
    columns._F.TYPE_STRING: _TEXT,
}


@st.composite
def _results(draw: st.DrawFn) -> results_pb2.Result:
    kind = draw(st.sampled_from(sorted(columns.KINDS)))
    result = results_pb2.Result(
        measured_at_us=draw(st.integers(-(2**62), 2**62)), target=draw(st.just("") | _TEXT)
    )
    payload = getattr(result, kind)
    payload.SetInParent()
    for field in columns.KINDS[kind][0].DESCRIPTOR.fields:
        if field.type == columns._F.TYPE_ENUM:
            values = st.sampled_from([value.number for value in field.enum_type.values])
        else:
            values = _BY_TYPE[field.type]
        value = draw(st.none() | values)
        if value is not None:
            setattr(payload, field.name, value)
    return result


@settings(suppress_health_check=[HealthCheck.too_slow])  # 31 optional fields a row
@given(st.lists(_results(), max_size=6))
def test_every_result_comes_back_as_it_was(results: list[results_pb2.Result]) -> None:
    """Whatever a result holds, decode(encode(it)) gives it back under its seq."""
    numbered = list(enumerate(results, start=1))
    batch = columns.encode(ingest_pb2.Batch(first_seq=1, last_seq=len(results)), numbered)
    again = columns.parse(batch.SerializeToString())
    back = dict(pair for table in columns.decode(again) for pair in columns.rows(table, again.strings))
    assert back == dict(numbered)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_batch_or_one_clear_error(data: bytes) -> None:
    """Bytes from the network are a batch with tables, or MalformedBatch; nothing else is raised."""
    with contextlib.suppress(columns.MalformedBatch):
        batch = columns.parse(data)
        for table in columns.decode(batch):
            list(columns.rows(table, batch.strings))


@pytest.mark.parametrize(
    ("column", "data", "message"),
    [
        ("ping_ms", b"\0" * 5, "performance.ping_ms is 5 bytes, not a multiple of 4"),
        ("ping_ms", b"\0" * 12, "performance.ping_ms has 3 rows, seq has 2"),
        ("target", b"", "performance.target has 0 rows, seq has 2"),
    ],
)
def test_a_column_of_the_wrong_length_is_named(column: str, data: bytes, message: str) -> None:
    """The error names the kind, the column and both lengths."""
    results = [results_pb2.Result(performance=results_pb2.Performance(ping_ms=1))] * 2
    batch = columns.encode(ingest_pb2.Batch(), list(enumerate(results)))
    setattr(batch.performance, column, data)
    with pytest.raises(columns.MalformedBatch, match=message):
        columns.decode(batch)


def test_not_a_number_on_the_wire_means_not_measured() -> None:
    """A NaN that a check yields arrives as an unset field, never as a figure."""
    result = results_pb2.Result(performance=results_pb2.Performance(ping_ms=math.nan, sent=3))
    batch = columns.encode(ingest_pb2.Batch(), [(1, result)])
    (table,) = columns.decode(batch)
    back = columns.row(table, 0, batch.strings)
    assert not back.performance.HasField("ping_ms")
    assert back.performance.sent == 3


def test_a_column_of_nulls_costs_nothing() -> None:
    """What no result of the batch has measured is not sent."""
    results = [results_pb2.Result(performance=results_pb2.Performance(sent=3))] * 100
    batch = columns.encode(ingest_pb2.Batch(), list(enumerate(results)))
    assert batch.performance.download_mbps == b""
    assert len(batch.performance.sent) == 400


def test_a_result_without_a_payload_is_refused() -> None:
    """Encoding says which result has nothing to say."""
    with pytest.raises(ValueError, match="result 7 has no payload"):
        columns.encode(ingest_pb2.Batch(), [(7, results_pb2.Result())])


def test_row_and_columns_messages_list_the_same_fields() -> None:
    """A field added to a row message stands in its columns message by the same name and number."""
    for row, packed in columns.KINDS.values():
        head = {"seq", "measured_at_us", "target"}
        ours = {field.name: field.number for field in row.DESCRIPTOR.fields}
        theirs = {f.name: f.number for f in packed.DESCRIPTOR.fields if f.name not in head}
        assert ours == theirs
    kinds = {field.name for field in results_pb2.Result.DESCRIPTOR.oneofs_by_name["payload"].fields}
    assert kinds == set(columns.KINDS)
    assert kinds <= {field.name for field in ingest_pb2.Batch.DESCRIPTOR.fields}
