"""Requests by Python's own TLS and HTTP/1.1: for a host without curl_cffi. Its greeting is no browser's."""

import errno
import http.client
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Sequence

from sonde_agent.net.dial import Deadline
from sonde_agent.net.trust import Trust
from sonde_agent.net.web import MOST_HEADERS, Place, failed
from sonde_unlock.exchange import Error, Exchange, Request

PLAIN = "plain"
_READ_BYTES = 65_536
_BY_ERRNO = {
    errno.ECONNREFUSED: Error.REFUSED,
    errno.ECONNRESET: Error.RESET,
    errno.EPIPE: Error.RESET,
    errno.ECONNABORTED: Error.RESET,
    errno.ETIMEDOUT: Error.TIMEOUT,
}
# A browser's words with this program's greeting: better than no words, and `FIDELITY_PLAIN_TLS` says so.
_USER_AGENTS = {
    "browser": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36",
    "android": "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Mobile Safari/537.36",
}


class PlainWeb:
    """Carries requests by the standard library, over connections of our own.

    Args:
        trust: whose certificates are believed.
    """

    browser_tls = False

    def __init__(self, trust: Trust) -> None:
        self._context = trust.context()
        self._context.set_alpn_protocols(["http/1.1"])

    def greeting(self, _profile: str) -> str:
        """Give whose TLS greeting a profile gets: always this program's."""
        return PLAIN

    def fetch(self, request: Request, place: Place, within_s: float) -> Exchange:
        """Ask once, see `Web.fetch`."""
        deadline, began = Deadline(within_s), time.monotonic()
        over = threading.Timer(within_s, deadline.cancel)  # wakes what waits, however slowly bytes drip
        over.daemon = True
        over.start()
        hop = _Hop(request, place, deadline)
        try:
            return hop.ask(self._context)
        except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
            kind, words = _kind(error)
            try:
                deadline.left()
            except TimeoutError:
                kind, words = Error.TIMEOUT, "no answer in time"
            ms = (time.monotonic() - began) * 1000
            return failed(request, kind, words, ms=ms, address=hop.address, phases=hop.phases())
        finally:
            over.cancel()
            hop.close()


class _Hop:
    """One request over one connection."""

    def __init__(self, request: Request, place: Place, deadline: Deadline) -> None:
        self._request, self._place, self._deadline = request, place, deadline
        self._socket: socket.socket | None = None
        self._marks: list[tuple[str, float]] = [("", time.monotonic())]
        self._cut = False
        self.address = ""

    def ask(self, context: ssl.SSLContext) -> Exchange:
        """Ask, and read the answer."""
        request, place = self._request, self._place
        stream = self._connect(place.addresses)
        self._mark("connect")
        if place.scheme == "https":
            self._socket = stream = context.wrap_socket(stream, server_hostname=place.host)
            self._mark("tls")
        connection = http.client.HTTPConnection(place.host, place.port)
        connection.sock = stream
        connection.putrequest(request.method, place.target, skip_host=True, skip_accept_encoding=True)
        for name, value in _headers(request, place):
            connection.putheader(name, value)
        connection.endheaders(request.body or None)
        answer = connection.getresponse()
        self._mark("first_byte")
        body, truncated = self._read(answer)
        self._mark("transfer")
        return Exchange(
            request,
            status=answer.status,
            headers=tuple((name.lower(), value) for name, value in answer.getheaders()[:MOST_HEADERS]),
            body=body,
            truncated=truncated,
            elapsed_ms=round((self._marks[-1][1] - self._marks[0][1]) * 1000, 3),
            phases=self.phases(),
            address=self.address,
            http_version="1.1" if answer.version == 11 else "1.0",  # noqa: PLR2004 -- as http.client counts
            tls_version=(stream.version() or "") if isinstance(stream, ssl.SSLSocket) else "",
        )

    def _connect(self, addresses: Sequence[str]) -> socket.socket:
        for number, address in enumerate(addresses):
            self.address = address
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self._socket = stream = socket.socket(family, socket.SOCK_STREAM)
            self._deadline.watch(stream)
            share = len(addresses) - number  # one that is silent must not take the time of the others
            stream.settimeout(self._deadline.left() / share)
            try:
                stream.connect((address, self._place.port))
            except OSError:
                stream.close()
                if share == 1:
                    raise
            else:
                stream.settimeout(self._deadline.left())
                return stream
        raise OSError(errno.EHOSTUNREACH, "no address")

    def _read(self, answer: http.client.HTTPResponse) -> tuple[bytes, bool]:
        most, body = self._request.max_body, bytearray()
        coding = (answer.getheader("content-encoding") or "").strip().lower()
        unpack = _unpacker(coding)
        while data := self._next(answer, began=bool(body)):
            self._deadline.left()
            body += data if unpack is None else unpack.decompress(data, most + 1 - len(body))
            if len(body) > most:
                return bytes(body[:most]), True
        self._deadline.left()  # a cancel looks like an end of the stream
        return bytes(body), self._cut or bool(answer.length)

    def _next(self, answer: http.client.HTTPResponse, *, began: bool) -> bytes:
        """Give what comes next; an answer that ends early is one, cut."""
        try:
            return answer.read1(_READ_BYTES)
        except (ConnectionError, ssl.SSLEOFError, http.client.IncompleteRead):
            self._deadline.left()
            if not began:
                raise
            self._cut = True
            return b""

    def _mark(self, phase: str) -> None:
        self._marks.append((phase, time.monotonic()))

    def phases(self) -> dict[str, float]:
        """Give how long each phase took that ended [ms]."""
        pairs = zip(self._marks, self._marks[1:], strict=False)
        return {name: round((end - begin) * 1000, 3) for (_, begin), (name, end) in pairs}

    def close(self) -> None:
        """Close, also after an error."""
        self._deadline.watch(None)
        if self._socket is not None:
            self._socket.close()


def _headers(request: Request, place: Place) -> list[tuple[str, str]]:
    given = {name.lower() for name, _ in request.headers}
    own = {
        "Host": place.authority,
        "User-Agent": _USER_AGENTS.get(request.profile, "sonde"),
        "Accept": "*/*",
        "Accept-Encoding": "gzip, deflate",
        "Connection": "close",
    }
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        own["Content-Length"] = str(len(request.body))
    return [*((name, value) for name, value in own.items() if name.lower() not in given), *request.headers]


def _unpacker(coding: str) -> "zlib._Decompress | None":
    if coding in ("", "identity"):
        return None
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"the body comes in a coding that was not asked for: {coding[:40]}")
    return zlib.decompressobj(zlib.MAX_WBITS | 32)  # takes both headers


def _kind(error: Exception) -> tuple[Error, str]:
    """Give what an exception means, in words too."""
    match error:
        case ssl.SSLCertVerificationError():
            told = Error.CERTIFICATE, f"the certificate: {error.verify_message}"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | http.client.RemoteDisconnected():
            told = Error.RESET, "the peer closed the connection early"
        case http.client.IncompleteRead():
            told = Error.RESET, "less came than was announced"
        case ssl.SSLError():
            told = Error.TLS, (error.reason or str(error)).replace("_", " ").lower()
        case TimeoutError():
            told = Error.TIMEOUT, "no answer in time"
        case OSError():
            told = _BY_ERRNO.get(error.errno or 0, Error.UNREACHABLE), error.strerror or str(error)
        case _:
            told = Error.PROTOCOL, str(error) or type(error).__name__
    return told
