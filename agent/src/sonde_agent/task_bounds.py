"""What a task may ask for at most, whatever the collector says: numbers, lengths, characters. **Pure.**

They are those of `fleet.toml`, or wider: no plan that can be written meets them. The helper holds the tasks
of a tunnel against the same.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

MOST_TASK_MS = 3_600_000
MOST_INSIDE = 64
_LONGEST = 4096
LONGEST_NAME = 512
"""Keys and targets stand in every row, log line and refusal."""
_MOST_REPEATED = 64
_MOST_RULES = 512
_LONGEST_SHOWN = 80
_LARGEST_KEPT = 16 << 20
"""Of a body that is searched, which has to be in memory."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CLASSES = frozenset(control_pb2.TaskClass.values())
_FAMILIES = frozenset((0, 4, 6))
_LEAST_SPACING_MS = 10

_MOST: Mapping[str, Mapping[str, int]] = {
    "ping": {"count": 1000, "spacing_ms": 60_000, "wait_ms": 60_000, "payload_bytes": 1400},
    "endpoint": {"max_redirects": 20, "max_body_bytes": 100_000_000},
    "connection": {"handshake_ms": 120_000},
    "throughput": {"seconds": 60, "ramp_ms": 60_000, "streams": 64, "max_bytes": 10**12},
    "unlock": {},
}
_MANY = {"rules": _MOST_RULES, "inside": MOST_INSIDE}


def shown(text: str, most: int = _LONGEST_SHOWN) -> str:
    """Give foreign text for a line that a person reads: bounded, and without what moves a cursor."""
    short = text if len(text) <= most else text[: most - 1] + "…"
    return short if short.isprintable() else short.encode("unicode_escape").decode("ascii")


def beyond(task: control_pb2.Task) -> str | None:
    """What `task` asks for beyond every bound, in words; None = nothing. Not of tasks inside."""
    return next(_beyond(task), None)


def _beyond(task: control_pb2.Task) -> Iterator[str]:
    if task.timeout_ms > MOST_TASK_MS:
        yield f"timeout_ms is beyond {MOST_TASK_MS}"
    if getattr(task, "class") not in _CLASSES:
        yield "this agent is too old for its class"
    for name in (task.key, task.target, task.group):
        if len(name) > LONGEST_NAME or _CONTROL.search(name):
            yield f"a name is no line of at most {LONGEST_NAME} characters: {shown(name)}"
    kind = task.WhichOneof("spec") or ""
    yield from _of_spec(kind, getattr(task, kind))


def _of_spec(kind: str, spec: Any) -> Iterator[str]:
    for field, most in _MOST[kind].items():
        if getattr(spec, field) > most:
            yield f"{kind}.{field} is beyond {most}"
    if getattr(spec, "family", 0) not in _FAMILIES:
        yield f"{kind}.family is none of 4, 6, or 0 for any"
    yield from _texts(kind, spec)
    match kind:
        case "ping" if spec.count > 1 and spec.spacing_ms < _LEAST_SPACING_MS:
            yield f"ping.spacing_ms is below {_LEAST_SPACING_MS}"
        case "endpoint" if spec.expect.body_contains or spec.expect.body_regex:
            if spec.max_body_bytes > _LARGEST_KEPT:
                yield f"endpoint.max_body_bytes is beyond {_LARGEST_KEPT}, for a body that is searched"
        case "throughput" if spec.engine not in pb.Engine.values():
            yield "this agent is too old for its engine"
        case "unlock" if not _FAMILIES.issuperset(spec.families):
            yield "unlock.families holds none of 4 and 6"


def _texts(where: str, message: Message) -> Iterator[str]:
    """Look at every text and list of a message, and of the messages in it but tasks."""
    for field, value in message.ListFields():
        name = f"{where}.{field.name}"
        many = _many(field, value)
        if many is None:
            if isinstance(value, Message):
                yield from _texts(name, value)
            elif isinstance(value, str) and (wrong := _wrong(name, value)):
                yield wrong
            continue
        most = _MANY.get(field.name, _MOST_REPEATED)
        if len(many) > most:
            yield f"{name} holds {len(many)}, {most} at most"
        for one in many:
            if isinstance(one, control_pb2.Task):
                break
            if isinstance(one, Message):
                yield from _texts(name, one)
            elif isinstance(one, str) and (wrong := _wrong(name, one)):
                yield wrong


def _many(field: Any, value: Any) -> list[Any] | None:
    """Give what a list or map holds, keys and values alike; None = the field is neither."""
    if isinstance(value, (str, bytes, int, float, bool, Message)):
        return None
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return [one for pair in value.items() for one in pair]
    return list(value)


def _wrong(name: str, text: str) -> str | None:
    if len(text) > _LONGEST:
        return f"{name} is longer than {_LONGEST} characters"
    if _CONTROL.search(text) and not name.startswith("endpoint.expect."):
        return f"{name} holds a control character: {shown(text)}"
    return None
