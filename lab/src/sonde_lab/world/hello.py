"""Reads a ClientHello: whom a client wants to talk to, and whether it is a browser. **Pure.**

Source: RFC 8446 §4.1.2 (the message), RFC 6066 §3 (the name), RFC 8701 (GREASE).
"""

from collections.abc import Iterator
from dataclasses import dataclass

RECORD_HEAD = 5
"""Bytes before a record's content."""
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME = 0
_RECORD_SIZE_LIMIT, _DELEGATED_CREDENTIALS = 28, 34
_FIREFOX = {_RECORD_SIZE_LIMIT, _DELEGATED_CREDENTIALS}
"""No TLS library offers these two by itself; Firefox, which sends no GREASE cipher, always does."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a client said first.

    Attributes:
        name: of the host it wants, lower case; "" = it gave none.
        ciphers, extensions: their numbers, in order.
    """

    name: str
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...]

    @property
    def browser(self) -> bool:
        """Whether a browser's TLS speaks: Chrome and Safari mix in GREASE, Firefox has its own set."""
        return any(map(is_grease, (*self.ciphers, *self.extensions))) or set(self.extensions) >= _FIREFOX


def is_grease(number: int) -> bool:
    """Tell whether a cipher or an extension has one of the numbers that mean nothing: 0x0A0A, 0x1A1A …"""
    high, low = divmod(number, 256)
    return high == low and low % 16 == 10  # noqa: PLR2004 -- the pattern of RFC 8701


def record_size(head: bytes) -> int:
    """Give how many bytes the first record has, its head too; 0 = this is no TLS.

    Args:
        head: at least `RECORD_HEAD` bytes.
    """
    if head[0] != _HANDSHAKE or head[1] != 3:  # noqa: PLR2004 -- the major version of all TLS
        return 0
    return RECORD_HEAD + int.from_bytes(head[3:5], "big")


def parse(record: bytes) -> Hello | None:
    """Read a client's first record.

    Args:
        record: all of it, its head too.

    Returns:
        None when it is no whole ClientHello.
    """
    try:
        return _hello(record)
    except (IndexError, UnicodeDecodeError):
        return None


def _hello(record: bytes) -> Hello | None:
    if record[RECORD_HEAD] != _CLIENT_HELLO:
        return None
    rest = _Reader(record, RECORD_HEAD + 4 + 2 + 32)  # head of the message, version, random
    rest.block(1)  # session
    ciphers = tuple(_Reader(rest.block(2)).numbers())
    rest.block(1)  # compression
    name, found = "", []
    extensions = _Reader(rest.block(2))
    while extensions.left:
        kind = extensions.number(2)
        body = extensions.block(2)
        found.append(kind)
        if kind == _SERVER_NAME:
            name = _Reader(body, 3).block(2).decode("ascii").lower()
    return Hello(name, ciphers, tuple(found))


class _Reader:
    """Takes numbers and blocks off the front; IndexError when too little is left."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self._at = data, at

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def block(self, size_of_length: int) -> bytes:
        return self._take(self.number(size_of_length))

    def numbers(self) -> Iterator[int]:
        while self.left:
            yield self.number(2)

    def _take(self, size: int) -> bytes:
        if size > self.left:
            raise IndexError
        self._at += size
        return self._data[self._at - size : self._at]
