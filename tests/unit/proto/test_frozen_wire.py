"""What was released is still understood, and understands what is sent today, field by field."""

import copy
from importlib import metadata
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.message import Message
from support.frozen import VERSIONS, Files, Wire, broken, later, recorded, today, wire

from sonde_collector.versions import OLDEST
from sonde_proto import columns
from sonde_proto.v1 import ingest_pb2

every_version = pytest.mark.parametrize("version", VERSIONS)
INGEST, CONTROL, RESULTS = (f"sonde_proto/v1/{name}.proto" for name in ("ingest", "control", "results"))


@every_version
def test_nothing_that_was_released_changes_its_meaning(version: str) -> None:
    """No field is renumbered, retyped or removed without a reservation, no enum value or method moves."""
    assert broken(wire(version), today()) == []


def _retyped(files: Files) -> None:
    files[INGEST].message_type[1].field[0].type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES


def _renumbered(files: Files) -> None:
    files[CONTROL].message_type[0].field[0].number = 77


def _removed(files: Files) -> None:
    del files[CONTROL].message_type[0].field[0]


def _out_of_its_oneof(files: Files) -> None:
    files[CONTROL].message_type[0].field[0].ClearField("oneof_index")


def _value_moved(files: Files) -> None:
    files[RESULTS].enum_type[0].value[1].number = 99


def _method_gone(files: Files) -> None:
    del files[CONTROL].service[0].method[0]


def _message_gone(files: Files) -> None:
    del files[INGEST].message_type[0]


@pytest.mark.parametrize(
    "harm",
    [_retyped, _renumbered, _removed, _out_of_its_oneof, _value_moved, _method_gone, _message_gone],
)
def test_each_kind_of_harm_is_found(harm: Any) -> None:
    """The comparison can fail: one change of each kind is told."""
    changed = copy.deepcopy(dict(today()))
    harm(changed)
    assert broken(today(), changed)


def test_what_was_removed_stays_reserved() -> None:
    """A field may go if its number and name are reserved, and neither is used again."""
    old = copy.deepcopy(dict(today()))
    gone = copy.deepcopy(old)
    message = gone[CONTROL].message_type[1]
    field = message.field[0]
    message.reserved_name.append(field.name)
    message.reserved_range.add(start=field.number, end=field.number + 1)
    number, name = field.number, field.name
    del message.field[0]
    assert broken(old, gone) == []
    again = copy.deepcopy(gone)
    again[CONTROL].message_type[1].field.add(name=f"{name}_2", number=number, type=9, label=1)
    assert broken(gone, again)


@every_version
def test_recorded_messages_still_say_what_they_said(version: str) -> None:
    """Today's code reads the bytes of every message of that version as they were meant."""
    now = Wire(today())
    for one in recorded(version):
        data = bytes.fromhex(one["hex"])
        if one["type"] == "sonde.v1.Batch":
            _batch_says(data, one["says"])
            continue
        message = now.kind(one["type"].removeprefix("sonde.v1.")).FromString(data)
        assert json_format.MessageToDict(message) == one["says"], one["type"]
        assert message.SerializeToString(deterministic=True) == data


def _batch_says(data: bytes, says: dict[str, Any]) -> None:
    batch = columns.parse(data)
    (table,) = columns.decode(batch)
    rows = [
        [seq, json_format.MessageToDict(result)] for seq, result in columns.rows(table, list(batch.strings))
    ]
    assert rows == says["rows"]
    header = ingest_pb2.Batch.FromString(data)
    header.ClearField("strings")
    header.ClearField(table.kind)  # type: ignore[arg-type]  # a kind is a field of Batch
    assert json_format.MessageToDict(header) == says["header"]


@every_version
def test_every_message_and_field_was_recorded(version: str) -> None:
    """The record of a version leaves out no field of what crosses the network."""
    old = Wire(wire(version))
    seen: set[str] = set()
    for one in recorded(version):
        _seen(old.kind(one["type"].removeprefix("sonde.v1.")).FromString(bytes.fromhex(one["hex"])), seen)
    wanted = {
        f"sonde.v1.{message.name}.{field.name}"
        for file in wire(version).values()
        for message in file.message_type
        for field in message.field
    }
    assert wanted - seen == set()


def _seen(message: Message, seen: set[str]) -> None:
    for field, value in message.ListFields():
        seen.add(field.full_name)
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else (value,):
                _seen(one, seen)


@every_version
def test_an_old_peer_reads_what_a_later_one_adds_to(version: str) -> None:
    """Fields that it does not know change nothing that it knows, and are not lost when it passes them on."""
    old, new = Wire(wire(version)), Wire(later(today()))
    for one in recorded(version):
        name = one["type"].removeprefix("sonde.v1.")
        sent = new.kind(name).FromString(bytes.fromhex(one["hex"]))
        sent.future = "more"  # type: ignore[attr-defined]
        heard = old.kind(name).FromString(sent.SerializeToString())
        assert json_format.MessageToDict(heard) == json_format.MessageToDict(
            old.kind(name).FromString(bytes.fromhex(one["hex"]))
        )
        assert new.kind(name).FromString(heard.SerializeToString()) == sent


def test_two_minor_versions_back_are_served() -> None:
    """`OLDEST` is the second of the frozen minor versions before ours, or the first that there is."""
    ours = metadata.version("sonde-collector").rsplit(".", 1)[0]
    as_numbers = [tuple(int(part) for part in name.split(".")) for name in VERSIONS]
    mine = tuple(int(part) for part in ours.split("."))
    assert mine in as_numbers, f"`python proto/freeze.py {ours}` was not run"
    assert ([one for one in as_numbers if one < mine][-2:] or [mine])[0] == OLDEST
