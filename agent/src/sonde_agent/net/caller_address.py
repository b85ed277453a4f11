"""Under which address others see us: asked of a URL that answers with the caller's address in plain text."""

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from sonde_agent.net.dial import Deadline, Wire
from sonde_agent.net.resolve import resolve

_MOST_BYTES = 16_384
_HTTP_PORT = 80
_OK = "200"


class CallerAddress(NamedTuple):
    """What a server saw us as, and how long it took from nothing to the first byte of its answer [ms]."""

    address: str
    first_byte_ms: float


class NoCallerAddress(Exception):
    """Nobody said under which address we come; the text says what happened instead, for a person.

    Args:
        detail: the text.
        first_byte_ms: of an answer that came, though it names no address; None = there was no answer.
    """

    def __init__(self, detail: str, first_byte_ms: float | None = None) -> None:
        super().__init__(detail)
        self.first_byte_ms = first_byte_ms


def ask_caller_address(
    url: str, family: int, deadline: Deadline, refuse: Callable[[str, int | None], str | None]
) -> CallerAddress:
    """Ask `url` (http://) over IPv4 (4), IPv6 (6) or whichever its host has first (0). Blocks.

    Raises:
        NoCallerAddress: no answer until the deadline, the policy forbids its address, or no address in it.
    """
    parts = urlsplit(url)
    host, port, start_ns = parts.hostname or "", parts.port or _HTTP_PORT, time.monotonic_ns()
    try:
        address = resolve(host, family, deadline).addresses[0]
        refused = refuse(address, port)
        if refused is not None:
            raise NoCallerAddress(refused)
        wire = Wire(address, port, deadline)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            wire.send(f"GET {target} HTTP/1.0\r\nHost: {parts.netloc}\r\nUser-Agent: sonde\r\n\r\n".encode())
            answer = wire.receive()
            first_byte_ms = (time.monotonic_ns() - start_ns) / 1e6
            while len(answer) < _MOST_BYTES and (more := wire.receive()):
                answer += more
        finally:
            wire.close()
    except socket.gaierror as error:
        raise NoCallerAddress(f"{host}: {error.strerror}") from None
    except TimeoutError:
        raise NoCallerAddress(f"no answer from {url}") from None
    except OSError as error:
        raise NoCallerAddress(f"{url}: {error.strerror or error}") from None
    if not answer:
        raise NoCallerAddress(f"{url}: the connection is closed without an answer")
    try:
        return CallerAddress(address_in(answer), first_byte_ms)
    except NoCallerAddress as none:
        raise NoCallerAddress(str(none), first_byte_ms) from None


def address_in(answer: bytes) -> str:
    """Give the address that the body of an HTTP answer begins with, as it is usually written. **Pure.**

    Raises:
        NoCallerAddress: it has no body that begins with one.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(maxsplit=2)[1:2]
    if status != [_OK.encode()]:
        said = status[0][:20].decode("ascii", "replace") if status else "no HTTP"
        raise NoCallerAddress(f"the exit URL answers with {said}, not with 200")
    words = body.decode("ascii", "replace").split(maxsplit=1)
    try:
        return str(ipaddress.ip_address(words[0] if words else ""))
    except ValueError:
        raise NoCallerAddress("the exit URL answers with something that is no address") from None
