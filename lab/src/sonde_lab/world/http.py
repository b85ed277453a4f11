"""HTTP/1.1 as a server speaks it, no more than clients of one request at a time need."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

MOST_BODY = 1 << 20
MOST_HEAD = 1 << 16
_REQUEST = re.compile(r"([A-Z]+) (\S+) HTTP/1\.([01])")
_OWN = {"content-length", "transfer-encoding", "connection"}
"""Headers that a reply can't set: they are the connection's."""


class NotHttp(Exception):
    """What came is no request."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        method: upper case.
        target: path with query.
        headers: in order; names in lower case.
        body: whole.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """Give the first header of that lower-case name; "" = there is none."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def host(self) -> str:
        """Whom it is for, lower case, without the port."""
        return self.header("host").lower().rpartition(":")[0] or self.header("host").lower()


async def read(reader: asyncio.StreamReader) -> Asked | None:
    """Give the next request; None = the client has left.

    Raises:
        NotHttp: it is none, or too large.
        OSError: the connection is lost.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip("\r\n").split("\r\n")
        said = _REQUEST.fullmatch(first)
        headers = tuple(
            (name.strip().lower(), value.strip())
            for name, _, value in (line.partition(":") for line in lines)
        )
        length = int(dict(headers).get("content-length", "0"))
        if said is None or not 0 <= length <= MOST_BODY or "transfer-encoding" in dict(headers):
            raise NotHttp(first)
        return Asked(said[1], said[2], headers, await reader.readexactly(length))
    except asyncio.IncompleteReadError as cut:
        if cut.partial:
            raise NotHttp("half a request") from None
        return None
    except (asyncio.LimitOverrunError, ValueError) as error:
        raise NotHttp(str(error)) from None


def head(status: int, headers: Sequence[tuple[str, str]], length: int) -> bytes:
    """Give what goes before a body of `length` bytes. **Pure.**"""
    try:
        words = HTTPStatus(status).phrase
    except ValueError:
        words = "Unknown"
    lines = [f"HTTP/1.1 {status} {words}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _OWN]
    lines += [f"content-length: {length}"]
    return "\r\n".join((*lines, "", "")).encode("latin-1")
