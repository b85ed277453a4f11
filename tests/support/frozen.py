"""The wire of versions that were released: their descriptors, made of their own .proto files."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from grpc_tools import protoc

from sonde_proto.v1 import control_pb2, enrol_pb2, ingest_pb2, results_pb2

FROZEN = Path(__file__).parents[1] / "golden" / "wire"
VERSIONS = tuple(
    sorted((path.name for path in FROZEN.iterdir()), key=lambda name: [int(part) for part in name.split(".")])
)
"""What was frozen, the oldest first."""
Files = Mapping[str, descriptor_pb2.FileDescriptorProto]


def wire(version: str) -> Files:
    """The files of a frozen version, by name, compiled anew."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "set")
        room = FROZEN / version
        names = [str(path) for path in sorted(room.rglob("*.proto"))]
        assert protoc.main(["protoc", f"--proto_path={room}", f"--descriptor_set_out={out}", *names]) == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return {file.name: file for file in files}


def today() -> Files:
    """The files of this tree."""
    files = {}
    for module in (control_pb2, enrol_pb2, ingest_pb2, results_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files[file.name] = file
    return files


def recorded(version: str) -> list[dict[str, Any]]:
    """The recorded messages of a version: `type`, `hex`, `says`."""
    lines = (FROZEN / version / "messages.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


class Wire:
    """Classes of a version's messages, which share nothing with the generated code.

    Args:
        files: from `wire` or `today`.
    """

    def __init__(self, files: Files) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        waiting = dict(files)
        while waiting:
            for name, file in list(waiting.items()):
                if not set(file.dependency) & waiting.keys():
                    self.pool.Add(file)  # type: ignore[no-untyped-call]
                    del waiting[name]

    def kind(self, name: str) -> type[Message]:
        """The class of a message, by its name in sonde.v1."""
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"sonde.v1.{name}"))

    def make(self, name: str, **values: Any) -> Message:
        """A message."""
        return self.kind(name)(**values)

    def number(self, value: str) -> int:
        """The number of an enum's value, by its name."""
        found = self.pool.FindEnumTypeByName(f"sonde.v1.{_enum_of(self.pool, value)}")
        return int(found.values_by_name[value].number)


def _enum_of(pool: descriptor_pool.DescriptorPool, value: str) -> str:
    words = value.split("_")
    for length in range(len(words), 0, -1):
        name = "".join(word.capitalize() for word in words[:length])
        try:
            pool.FindEnumTypeByName(f"sonde.v1.{name}")
        except KeyError:
            continue
        return name
    raise KeyError(value)


def later(files: Files, number: int = 5000) -> Files:
    """The same files as a later version might have them: every message has one more field, `future`."""
    out = {}
    for name, file in files.items():
        grown = descriptor_pb2.FileDescriptorProto()
        grown.CopyFrom(file)
        for message in grown.message_type:
            field = message.field.add(name="future", number=number)
            field.type, field.label = field.TYPE_STRING, field.LABEL_OPTIONAL
        out[name] = grown
    return out


def broken(old: Files, new: Files) -> list[str]:
    """What a peer of the old version would misread of the new one, in words; empty = nothing. **Pure.**"""
    return [told for name in old for told in _file(old[name], new.get(name))]


def _file(
    old: descriptor_pb2.FileDescriptorProto, new: descriptor_pb2.FileDescriptorProto | None
) -> Iterator[str]:
    if new is None:
        yield f"{old.name} is gone"
        return
    messages = {one.name: one for one in new.message_type}
    for message in old.message_type:
        yield from _message(message, messages.get(message.name))
    enums = {one.name: one for one in new.enum_type}
    for enum in old.enum_type:
        now = {value.number: value.name for value in enums[enum.name].value} if enum.name in enums else {}
        for value in enum.value:
            if now.get(value.number) != value.name:
                yield f"{enum.name}: {value.name} = {value.number} is not what it was"
    services = {one.name: one for one in new.service}
    for service in old.service:
        methods = {one.name: one for one in services[service.name].method} if service.name in services else {}
        for method in service.method:
            if method != methods.get(method.name):
                yield f"{service.name}.{method.name} is not what it was"


def _message(
    old: descriptor_pb2.DescriptorProto, new: descriptor_pb2.DescriptorProto | None
) -> Iterator[str]:
    if new is None:
        yield f"{old.name} is gone"
        return
    now = {field.number: field for field in new.field}
    for field in old.field:
        same = now.get(field.number)
        if same is None:
            if not (_reserved(new, field.number) and field.name in new.reserved_name):
                yield f"{old.name}.{field.name} = {field.number} is gone, and not reserved by number and name"
        elif _shape(old, field) != _shape(new, same):
            yield f"{old.name}.{field.name} = {field.number} is not what it was"
    known = {field.number for field in old.field}
    for field in new.field:
        if field.number not in known and (
            _reserved(old, field.number) or field.name in {*old.reserved_name, *(f.name for f in old.field)}
        ):
            yield f"{old.name}.{field.name} = {field.number} takes what was used before"


def _reserved(message: descriptor_pb2.DescriptorProto, number: int) -> bool:
    return any(each.start <= number < each.end for each in message.reserved_range)


def _shape(
    message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto
) -> tuple[object, ...]:
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return field.name, field.type, field.label, field.type_name, oneof, field.proto3_optional
