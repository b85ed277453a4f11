"""The calls to the collector. Its answers come as bytes, and are believed once they were read here.

gRPC would give None for an answer that it can't decode, and print a traceback; and it would decode an answer
of any shape: two bytes of a message can take a hundred in memory.
"""

from collections.abc import Iterator
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from sonde_agent.uplink.backoff import Interrupted
from sonde_agent.uplink.send_errors import Action
from sonde_proto.v1 import control_pb2, ingest_pb2

Uplink = grpc.aio.StreamStreamCall[ingest_pb2.Batch, bytes]
Watch = grpc.aio.StreamStreamCall[control_pb2.AgentState, bytes]

MOST_TASKS = 20_000
MOST_TASK_BYTES = 64 << 10
_MOST_ELEMENTS = 200_000
"""Of all lists and maps in an assignment: some 20 MB."""
_MOST_REST_BYTES = 256 << 10
_MOST_ACK_BYTES = 1024
_MOST_REPLY_BYTES = 16 << 10
_LONGEST_ID = 64
_MOST_REVISION = 2**63 - 1  # SQLite's and PostgreSQL's
_TASKS = control_pb2.Assignment.TASKS_FIELD_NUMBER

_M = TypeVar("_M", bound=Message)
_Reply = TypeVar("_Reply", control_pb2.AcquireReply, control_pb2.RenewReply, control_pb2.ReleaseReply)


def stream(channel: grpc.aio.Channel) -> Uplink:
    """Begin `Ingest.Stream`; its answers are for `read_ack`."""
    method = "/sonde.v1.Ingest/Stream"
    call: grpc.aio.StreamStreamMultiCallable[ingest_pb2.Batch, bytes] = channel.stream_stream(
        method, request_serializer=ingest_pb2.Batch.SerializeToString, response_deserializer=bytes
    )
    return call()


def watch(channel: grpc.aio.Channel) -> Watch:
    """Begin `Control.Watch`; its answers are for `read_assignment`."""
    method = "/sonde.v1.Control/Watch"
    call: grpc.aio.StreamStreamMultiCallable[control_pb2.AgentState, bytes] = channel.stream_stream(
        method, request_serializer=control_pb2.AgentState.SerializeToString, response_deserializer=bytes
    )
    return call()


async def ask(
    channel: grpc.aio.Channel, method: str, request: Message, reply: type[_Reply], within_s: float
) -> _Reply:
    """Make one short call of Control.

    Raises:
        AioRpcError: there was no answer.
        Interrupted: the answer is none.
    """
    call: grpc.aio.UnaryUnaryMultiCallable[Message, bytes] = channel.unary_unary(
        f"/sonde.v1.Control/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=bytes,
    )
    return _read(reply, await call(request, timeout=within_s), _MOST_REPLY_BYTES)


def read_ack(data: bytes) -> ingest_pb2.Ack:
    """Give the ack that `data` is.

    Raises:
        Interrupted: it is none.
    """
    ack = _read(ingest_pb2.Ack, data, _MOST_ACK_BYTES)
    if max(len(ack.chain), len(ack.database_id)) > _LONGEST_ID:
        raise _refused("its ack holds an id that is none")
    return ack


def read_assignment(data: bytes) -> control_pb2.Assignment:
    """Give the assignment that `data` is. Its tasks are yet to be judged, but they fit into this host.

    Raises:
        Interrupted: it is none, or larger than any that this agent takes.
    """
    rest, tasks = bytearray(), []
    try:
        for number, start, value, end in _fields(data):
            if number != _TASKS:
                rest += data[start:end]
                continue
            tasks.append((value, end))
            if end - value > MOST_TASK_BYTES:
                raise _refused(f"task {len(tasks)} of its assignment has {end - value} bytes")
            if len(tasks) > MOST_TASKS:
                raise _refused(f"its assignment has more than {MOST_TASKS} tasks")
    except (IndexError, ValueError):
        raise _refused("its assignment can't be decoded") from None
    assignment = _read(control_pb2.Assignment, bytes(rest), _MOST_REST_BYTES)
    if assignment.revision > _MOST_REVISION or len(assignment.database_id) > _LONGEST_ID:
        raise _refused("its assignment has a revision or database that is none")
    elements = 0
    for value, end in tasks:
        task = _read(control_pb2.Task, data[value:end], MOST_TASK_BYTES)
        elements += _elements(task)
        if elements > _MOST_ELEMENTS:
            raise _refused(f"its assignment holds more than {_MOST_ELEMENTS} elements")
        assignment.tasks.append(task)
    return assignment


def _fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Give number, start, start of the value and end of each field on the top level.

    Raises:
        IndexError, ValueError: `data` is no message.
    """
    at = 0
    while at < len(data):
        start = at
        tag, at = _varint(data, at)
        value = at
        match tag & 7:
            case 0:
                _, at = _varint(data, at)
            case 1:
                at += 8
            case 2:
                size, value = _varint(data, at)
                at = value + size
            case 5:
                at += 4
            case _:
                raise ValueError("a wire type that we never send")
        if at > len(data):
            raise IndexError
        yield tag >> 3, start, value, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Give the number at `at`, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 -- the last byte
            return value, at
        shift += 7
        if shift > 63:  # noqa: PLR2004 -- bits
            raise ValueError("a number without an end")


def _elements(message: Message) -> int:
    """How many elements the lists and maps in `message` hold, and messages in it."""
    count = 1
    for field, value in message.ListFields():
        if isinstance(value, Message):
            count += _elements(value)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            count += sum(map(_elements, value))
        elif not isinstance(value, (str, bytes, int, float)):
            count += len(value)
    return count


def _read(kind: type[_M], data: bytes, most_bytes: int) -> _M:
    if len(data) > most_bytes:
        raise _refused(f"its {kind.DESCRIPTOR.name} has {len(data)} bytes")
    try:
        return kind.FromString(data)
    except DecodeError:
        raise _refused(f"its {kind.DESCRIPTOR.name} can't be decoded") from None


def _refused(why: str) -> Interrupted:
    return Interrupted(Action.RETRY, f"the collector's answer is not taken: {why}")
