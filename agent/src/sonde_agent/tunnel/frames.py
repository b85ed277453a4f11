"""Frames between agent, helper and box: a 32-bit big-endian length, and so many bytes, at most 1 MiB."""

import asyncio
import os
import struct
from typing import Protocol

MOST_BYTES = 1 << 20
_LENGTH = struct.Struct(">I")


class BadFrame(Exception):
    """The other side broke the protocol: too long, cut short, or no message of the kind expected."""


class Message(Protocol):
    """What can be a frame's content."""

    def SerializeToString(self) -> bytes:  # noqa: N802 -- protobuf's name
        """Give its bytes."""


def encode(content: Message | bytes) -> bytes:
    """Give the frame around a message, or around bytes. **Pure.**

    Raises:
        BadFrame: it is longer than a frame may be.
    """
    data = content if isinstance(content, bytes) else content.SerializeToString()
    if len(data) > MOST_BYTES:
        raise BadFrame(f"a message of {len(data)} bytes is longer than a frame may be ({MOST_BYTES})")
    return _LENGTH.pack(len(data)) + data


class Splitter:
    """Whole frames out of a stream of bytes, without looking into them. Pure."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read; give the contents of the frames that are now whole.

        Raises:
            BadFrame: a length beyond the bound; the stream can't be followed any further.
        """
        self._held += data
        whole = []
        while len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            if length > MOST_BYTES:
                raise BadFrame(f"a frame claims {length} bytes, more than {MOST_BYTES}")
            end = _LENGTH.size + length
            if len(self._held) < end:
                break
            whole.append(bytes(self._held[_LENGTH.size : end]))
            del self._held[:end]
        return whole

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not whole."""
        return bool(self._held)


def send(fd: int, content: Message | bytes) -> None:
    """Write a frame to a blocking descriptor.

    Raises:
        OSError: the reader is gone.
    """
    data = memoryview(encode(content))
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int) -> bytes | None:
    """Read one frame from a blocking descriptor; None where it ends before the first byte.

    Raises:
        BadFrame: it ends in the middle, or is too long.
    """
    head = _exactly(fd, _LENGTH.size)
    if not head:
        return None
    (length,) = _LENGTH.unpack(head) if len(head) == _LENGTH.size else (0,)
    if length > MOST_BYTES:
        raise BadFrame(f"a frame claims {length} bytes, more than {MOST_BYTES}")
    body = _exactly(fd, length)
    if len(head) < _LENGTH.size or len(body) < length:
        raise BadFrame("the stream ended in the middle of a frame")
    return body


def _exactly(fd: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return bytes(data)


async def read(reader: asyncio.StreamReader) -> bytes | None:
    """Read one frame; None where the stream ended, whether between frames or in the middle of one.

    Raises:
        BadFrame: a length beyond the bound.
    """
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MOST_BYTES:
            raise BadFrame(f"a frame claims {length} bytes, more than {MOST_BYTES}")
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
