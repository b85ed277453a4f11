#!/usr/bin/env python3
"""Freeze the wire of a minor version: its .proto files and recorded messages, for later versions' tests.

usage: python proto/freeze.py MAJOR.MINOR

Run at a release. What was frozen stays as it is: a directory that is there already is not written again.
"""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from sonde_proto import columns
from sonde_proto.v1 import control_pb2, enrol_pb2, ingest_pb2, results_pb2

SOURCE = Path(__file__).parent / "src"
FROZEN = Path(__file__).parents[1] / "tests" / "golden" / "wire"
FILES = ("control", "enrol", "ingest", "results")
"""What crosses the network; tunnel.proto is spoken within one host by one version."""
_ROWS = 3
_F = FieldDescriptor
_DEEPEST = 3


def filled(message: Message, seed: int = 1, deep: int = 0) -> Message:
    """Set every field to a value that follows from its number; of a oneof the field that `seed` falls on."""
    for field in message.DESCRIPTOR.fields:
        oneof = field.containing_oneof
        several = oneof is not None and len(oneof.fields) > 1
        if (several and oneof.fields[seed % len(oneof.fields)] is not field) or deep > _DEEPEST:
            continue
        value: Any = None
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[f"key {field.number}"] = f"value {field.number}"
        elif field.message_type is not None:
            target = getattr(message, field.name)
            target = target.add() if field.is_repeated else target
            target.SetInParent()
            filled(target, seed, deep + 1)
        else:
            value = _scalar(field, seed)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
    return message


def _scalar(field: FieldDescriptor, seed: int) -> Any:
    if field.type == _F.TYPE_STRING:
        return f"{field.name} {seed}"
    if field.type == _F.TYPE_BYTES:
        return hashlib.sha256(f"{field.full_name} {seed}".encode()).digest()[:16]
    if field.type == _F.TYPE_BOOL:
        return True
    if field.type == _F.TYPE_ENUM:
        values = field.enum_type.values
        return values[1 + seed % (len(values) - 1)].number  # not the first, which is left out
    if field.type == _F.TYPE_FLOAT:
        return field.number + seed / 8
    return field.number * 100 + seed


def _alternatives(descriptor: Descriptor, above: frozenset[str] = frozenset()) -> int:
    """How many messages it takes to see every field of every oneof below."""
    above |= {descriptor.full_name}
    kinds = [field.message_type for field in descriptor.fields if field.message_type is not None]
    below = [_alternatives(kind, above) for kind in kinds if kind.full_name not in above]
    return max([1, *(len(oneof.fields) for oneof in descriptor.oneofs), *below])


def recorded() -> Iterator[dict[str, Any]]:
    """Give each message as it is recorded: name of its type, bytes in hex, and what it says."""
    for module in (control_pb2, enrol_pb2, ingest_pb2, results_pb2):
        for name, descriptor in module.DESCRIPTOR.message_types_by_name.items():
            if name == "Batch" or name.endswith("Columns"):
                continue  # below, as they travel
            for seed in range(_alternatives(descriptor)):
                message = filled(getattr(module, name)(), seed)
                yield _record(descriptor.full_name, message, json_format.MessageToDict(message))
    for kind in columns.KINDS:
        yield _batch(kind)


def _batch(kind: str) -> dict[str, Any]:
    rows = []
    for seed in range(1, _ROWS + 1):
        result = results_pb2.Result(measured_at_us=1_700_000_000_000_000 + seed, target=f"target {seed}")
        payload = getattr(result, kind)
        payload.SetInParent()
        if seed < _ROWS:  # the last says nothing: every column has a NULL
            filled(payload, seed)
        rows.append((seed, result))
    header = ingest_pb2.Batch(
        vantage="ams1", copied=True, epoch=b"e" * 16, instance=b"i" * 16, first_seq=1, last_seq=_ROWS + 1,
        chain=b"c" * 32, database_id=b"d" * 16, agent_version="0.1.0", config_revision=7, sent_at_us=1,
        clock_offset_us=-5, gaps=[filled(ingest_pb2.Gap(first_seq=_ROWS + 1, last_seq=_ROWS + 1))],
    )  # fmt: skip
    header.gaps[0].first_seq = header.gaps[0].last_seq = _ROWS + 1
    says = {
        "header": json_format.MessageToDict(header),
        "rows": [[seq, json_format.MessageToDict(result)] for seq, result in rows],
    }
    return _record("sonde.v1.Batch", columns.encode(header, rows), says)


def _record(name: str, message: Message, says: Any) -> dict[str, Any]:
    return {"type": name, "hex": message.SerializeToString(deterministic=True).hex(), "says": says}


def main() -> int:
    """Return the exit code: 2 for bad usage, 1 where that version is frozen already."""
    if len(sys.argv) != 2 or not re.fullmatch(r"\d+\.\d+", sys.argv[1]):  # noqa: PLR2004  # the program and it
        print(__doc__, file=sys.stderr)
        return 2
    into = FROZEN / sys.argv[1]
    if into.exists():
        print(f"{into} is there already: what was frozen stays as it is", file=sys.stderr)
        return 1
    room = into / "sonde_proto" / "v1"
    room.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(SOURCE / "sonde_proto" / "v1" / f"{name}.proto", room / f"{name}.proto")
    lines = [json.dumps(one, ensure_ascii=False, sort_keys=True) for one in recorded()]
    (into / "messages.jsonl").write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
