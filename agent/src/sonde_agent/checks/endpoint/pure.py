"""Decisions of the endpoint check about addresses of things: URLs, ports, redirects. No socket, no clock."""

from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

MAX_URL = 2048
PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_PORT = 65_535


class Url(NamedTuple):
    """A URL as a client uses it: user info and fragment are gone."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the Host header holds: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what credentials and `connect_to` belong to."""
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """Take a URL apart. **Pure.**

    Raises:
        ValueError: when it is no http or https URL with a host, saying what is wrong.
    """
    if len(text) > MAX_URL:
        raise ValueError(f"the URL is longer than {MAX_URL} characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no URL: {error}") from None
    if parts.scheme not in PORTS:
        raise ValueError(f"{text!r} is no http:// or https:// URL")
    if port == 0:
        raise ValueError(f"{text!r}: port 0 can't be connected to")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(parts.scheme, ascii_host(parts.hostname or ""), port or PORTS[parts.scheme], target)


def ascii_host(host: str) -> str:
    """A host name as it travels: lower case, IDNA. **Pure.**

    Raises:
        ValueError: when it is empty or no host name.
    """
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not name or any(char <= " " or char in "/\\@[]\x7f" for char in name):
        raise ValueError(f"{host!r} is no host name")
    return name.lower()


def parse_host_port(text: str, default_port: int | None = None) -> tuple[str, int]:
    """`host:port`, `[v6]:port`, or the host alone where there is a default port. **Pure.**

    Raises:
        ValueError: when host or port is missing or malformed.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
        if rest and not rest.startswith(":"):
            raise ValueError(f"{text!r} is no [address]:port")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not port and default_port is not None and not text.endswith(":"):
        return ascii_host(host), default_port
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _MAX_PORT):
        raise ValueError(f"{text!r} needs a port from 1 to 65535, as in example.net:443 or [2001:db8::1]:443")
    return ascii_host(host), int(port)


class Redirect(NamedTuple):
    """Where an answer sends us, or why it is not followed."""

    url: Url | None
    method: str
    refusal: str


def next_hop(url: Url, method: str, status: int, location: str | None) -> Redirect | None:
    """What a redirect asks for; None when the answer is none. **Pure.**

    Plain http after https is never followed: whoever sits on the path could then answer for the target.

    Source: RFC 9110 section 15.4.
    """
    if status not in _REDIRECTS or location is None:
        return None
    try:
        where = parse_url(urljoin(str(url), location.strip()))
    except ValueError as error:
        return Redirect(None, method, f"the redirect can't be followed: {error}")
    if url.scheme == "https" and where.scheme == "http":
        return Redirect(
            None, method, f"the redirect leads from https to plain http ({where}) and is not followed"
        )
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):  # noqa: PLR2004 - See Other
        method = "GET"
    return Redirect(where, method, "")
