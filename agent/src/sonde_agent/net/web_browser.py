"""Requests with the TLS greeting and headers of a browser, by curl_cffi: libcurl on BoringSSL.

Each request has a connection of its own, so that its phases are its own.
"""

import errno
import io
import time
from typing import Any

from curl_cffi import Curl, CurlError, CurlInfo, CurlOpt
from curl_cffi.requests.impersonate import DEFAULT_CHROME, DEFAULT_CHROME_ANDROID

from sonde_agent.net.trust import Trust
from sonde_agent.net.web import MOST_HEADERS, Place, failed
from sonde_unlock.exchange import Error, Exchange, Request

PLAIN = "plain"
_GREETINGS = {"browser": DEFAULT_CHROME, "android": DEFAULT_CHROME_ANDROID}
_USER_AGENT = "sonde"

_STOP = 0xFFFFFFFF  # CURL_WRITEFUNC_ERROR: the transfer ends there
_IPV4, _IPV6 = 1, 2  # CURL_IPRESOLVE_*
_HTTP_VERSIONS = {1: "1.0", 2: "1.1", 3: "2", 30: "3"}

# CURLcode -> what it means. Source: libcurl-errors(3).
_ERRORS = {
    6: Error.DNS,
    28: Error.TIMEOUT,
    35: Error.TLS,
    51: Error.CERTIFICATE,
    52: Error.RESET,  # nothing came before the end
    55: Error.RESET,
    56: Error.RESET,
    58: Error.TLS,
    59: Error.TLS,
    60: Error.CERTIFICATE,
    83: Error.CERTIFICATE,
    91: Error.CERTIFICATE,
    101: Error.TLS,
}
_BY_ERRNO = {
    errno.ECONNREFUSED: Error.REFUSED,
    errno.ECONNRESET: Error.RESET,
    errno.EPIPE: Error.RESET,
    errno.ETIMEDOUT: Error.TIMEOUT,
    errno.EHOSTUNREACH: Error.UNREACHABLE,
    errno.ENETUNREACH: Error.UNREACHABLE,
    errno.EPERM: Error.UNREACHABLE,
}
_CUT = (16, 18, 56, 92)  # in the body: less than was announced, a reset, a broken stream of HTTP/2
_OWN = (2, 27, 43, 48, 77)  # no memory, an option or a file that can't be used: our own side's fault
_COULDNT_CONNECT, _WRITE_ERROR, _TLS_ERROR, _RECEIVE_ERROR = 7, 23, 35, 56


class BrowserWeb:
    """Carries requests by curl_cffi.

    Args:
        trust: whose certificates are believed.
    """

    browser_tls = True

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def greeting(self, profile: str) -> str:
        """Give whose TLS greeting a profile gets."""
        return _GREETINGS.get(profile, PLAIN)

    def fetch(self, request: Request, place: Place, within_s: float) -> Exchange:
        """Ask once, see `Web.fetch`.

        Raises:
            CurlError: libcurl could not even begin.
        """
        answer = _Answer(request.max_body)
        began = time.monotonic()
        curl = Curl()
        try:
            self._prepare(curl, request, place, answer, within_s)
            try:
                curl.perform()
            except CurlError as error:
                # An answer that ends early is one, cut; what was cut at our own bound is no error at all.
                if int(error.code) in _OWN:
                    raise
                if answer.began and int(error.code) in _CUT:
                    answer.truncated = True
                elif not (int(error.code) == _WRITE_ERROR and answer.truncated):
                    return _failed(curl, error, request, (time.monotonic() - began) * 1000)
            return Exchange(
                request,
                status=answer.status,
                headers=tuple(answer.headers),
                body=answer.body.getvalue(),
                truncated=answer.truncated,
                elapsed_ms=_info(curl, CurlInfo.TOTAL_TIME_T) / 1000,
                phases=_phases(curl),
                address=_address(curl),
                http_version=_HTTP_VERSIONS.get(int(_info(curl, CurlInfo.HTTP_VERSION)), ""),
            )
        finally:
            curl.close()

    def _prepare(self, curl: Any, request: Request, place: Place, answer: "_Answer", within_s: float) -> None:
        browser = _GREETINGS.get(request.profile)
        own_agent = any(name.lower() == "user-agent" for name, _ in request.headers)
        if (
            browser is not None
        ):  # beside a rule's own user agent, an app's, a browser's headers would contradict it
            code = curl.impersonate(browser, default_headers=not own_agent)
            if code:
                raise CurlError(f"this curl_cffi can't greet as {browser}", code)
        timeout_ms = max(round(within_s * 1000), 1)
        host = f"[{place.host}]" if ":" in place.host else place.host
        addresses = ",".join(f"[{one}]" if ":" in one else one for one in place.addresses)
        options: dict[Any, Any] = {
            CurlOpt.URL: place.url,
            CurlOpt.RESOLVE: [f"{host}:{place.port}:{addresses}"],
            CurlOpt.IPRESOLVE: _IPV6 if place.family == 6 else _IPV4,  # noqa: PLR2004 -- IPv6
            CurlOpt.PROXY: "",  # not even one of the environment
            CurlOpt.NOPROXY: "*",
            CurlOpt.FOLLOWLOCATION: 0,
            CurlOpt.PATH_AS_IS: 1,
            CurlOpt.NOSIGNAL: 1,  # libcurl must not touch signals in a thread
            CurlOpt.TIMEOUT_MS: timeout_ms,
            CurlOpt.CONNECTTIMEOUT_MS: timeout_ms,
            CurlOpt.HEADERFUNCTION: answer.take_header,
            CurlOpt.WRITEFUNCTION: answer.take_body,
            CurlOpt.HTTPHEADER: _headers(request, as_browser=browser is not None),
        }
        if place.scheme == "https":
            options[CurlOpt.CAINFO] = self._trust.file()
        # A browser's header alone would not make libcurl unpack what comes: the codings are Chrome's own.
        options[CurlOpt.ACCEPT_ENCODING] = "gzip, deflate" if browser is None else "gzip, deflate, br, zstd"
        for option, value in options.items():
            curl.setopt(option, value)
        _set_method(curl, request)


class _Answer:
    """An answer, as libcurl hands it over: a line of the head, and a piece of the body, at a time."""

    def __init__(self, max_body: int) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = io.BytesIO()  # gives its whole without a copy
        self.truncated = False
        self._max_body = max_body

    @property
    def began(self) -> bool:
        """Whether a part of the body came."""
        return bool(self.body.tell())

    def take_header(self, line: bytes) -> int:
        text = line.decode("latin-1").rstrip("\r\n")
        if text.startswith("HTTP/"):
            self.headers.clear()  # what came before was an interim answer
            self.status = int(text.split(" ", 2)[1])
        elif ":" in text and len(self.headers) < MOST_HEADERS:
            name, _, value = text.partition(":")
            self.headers.append((name.strip().lower(), value.strip()))
        return len(line)

    def take_body(self, data: bytes) -> int:
        room = self._max_body - self.body.tell()
        self.body.write(data[:room])
        if len(data) > room:
            self.truncated = True
            return _STOP
        return len(data)


def _headers(request: Request, *, as_browser: bool) -> list[bytes]:
    """Give the rule's own headers; libcurl adds those of the browser that it does not name."""
    given = list(request.headers)
    names = {name.lower() for name, _ in given}
    if not as_browser and "user-agent" not in names:
        given.append(("User-Agent", _USER_AGENT))
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in given]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        # Unasked, libcurl says that a body is a form, and waits for leave to send a long one.
        lines += [f"{name}:" for name in ("Content-Type", "Expect") if name.lower() not in names]
    return [line.encode("latin-1", "replace") for line in lines]


def _set_method(curl: Any, request: Request) -> None:
    if request.method == "HEAD":
        curl.setopt(CurlOpt.NOBODY, 1)
    elif request.body or request.method in ("POST", "PUT", "PATCH"):
        curl.setopt(CurlOpt.POST, 1)
        curl.setopt(CurlOpt.POSTFIELDSIZE, len(request.body))
        curl.setopt(CurlOpt.POSTFIELDS, request.body)
        curl.setopt(CurlOpt.CUSTOMREQUEST, request.method)
    elif request.method != "GET":
        curl.setopt(CurlOpt.CUSTOMREQUEST, request.method)


def _failed(curl: Any, error: CurlError, request: Request, ms: float) -> Exchange:
    code, number = int(error.code), int(_info(curl, CurlInfo.OS_ERRNO))
    words = str(error).partition(f"curl: ({code}) ")[2].partition(". See https://")[0] or str(error)
    kind = _ERRORS.get(code, Error.PROTOCOL)
    if code == _COULDNT_CONNECT:
        kind = _BY_ERRNO.get(number, Error.UNREACHABLE)
    elif code == _TLS_ERROR and (number in _BY_ERRNO or "reset" in words.lower() or "SYSCALL" in words):
        kind = Error.RESET
    elif code == _RECEIVE_ERROR and "ALERT" in words.upper():
        kind = Error.TLS
    phases = _phases(curl)
    phases.pop("transfer", None)  # it did not end, whatever the whole took
    return failed(request, kind, words, ms=ms, address=_address(curl), phases=phases)


def _phases(curl: Any) -> dict[str, float]:
    """Give how long each phase took [ms]; libcurl tells when each ended, from the start."""
    ends = {
        "connect": _info(curl, CurlInfo.CONNECT_TIME_T),
        "tls": _info(curl, CurlInfo.APPCONNECT_TIME_T),
        "first_byte": _info(curl, CurlInfo.STARTTRANSFER_TIME_T),
        "transfer": _info(curl, CurlInfo.TOTAL_TIME_T),
    }
    phases, before = {}, _info(curl, CurlInfo.NAMELOOKUP_TIME_T)
    for name, end in ends.items():
        if end:
            phases[name] = round(max(end - before, 0) / 1000, 3)
            before = end
    return phases


def _address(curl: Any) -> str:
    address = curl.getinfo(CurlInfo.PRIMARY_IP)
    return address.decode("ascii", "replace") if isinstance(address, bytes) else str(address)


def _info(curl: Any, what: Any) -> float:
    value = curl.getinfo(what)
    return value if isinstance(value, int | float) else 0
