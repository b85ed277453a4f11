"""Cookies of one run: a host's own, and never another rule's."""

from urllib.parse import urlsplit

import attrs

from sonde_unlock.exchange import Exchange
from sonde_unlock.guards import below, host_of

MAX_COOKIES = 60
MAX_COOKIE = 8192
MAX_HEADER = 16_384


@attrs.frozen
class Cookie:
    """A cookie as RFC 6265 section 5.3 stores it, without its age: a run is short.

    Attributes:
        domain: the host, or the domain that it named.
        host_only: it named none.
        dead: it says that it is over (Max-Age of 0 or less).
    """

    name: str
    value: str = attrs.field(repr=False)
    domain: str
    path: str = "/"
    host_only: bool = True
    secure: bool = False
    dead: bool = False


def set_cookies(exchange: Exchange) -> list[Cookie]:
    """Give the cookies that an answer sets and may set. **Pure.**"""
    host, path = host_of(exchange.request.url), urlsplit(exchange.request.url).path
    lines = [value for key, value in exchange.headers if key == "set-cookie" and len(value) <= MAX_COOKIE]
    read = [_cookie(line, host, path) for line in lines[:MAX_COOKIES]]
    return [cookie for cookie in read if cookie is not None]


def _cookie(line: str, host: str, path: str) -> Cookie | None:
    first, *rest = line.split(";")
    name, equals, value = (part.strip() for part in first.partition("="))
    if not equals or not name or not (name + value).isprintable():
        return None
    attributes = {
        key.strip().lower(): text.strip() for key, _, text in (part.partition("=") for part in rest)
    }
    domain = attributes.get("domain", "").lower().lstrip(".")
    if domain and (not below(host, (domain,)) or "." not in domain):
        return None
    stated = attributes.get("path", "")
    age = attributes.get("max-age", "")
    return Cookie(
        name=name,
        value=value,
        domain=domain or host,
        path=stated if stated.startswith("/") else path.rpartition("/")[0] or "/",
        host_only=not domain,
        secure="secure" in attributes,
        dead=age == "0" or age.startswith("-"),
    )


class Jar:
    """The cookies of one run."""

    def __init__(self) -> None:
        self._cookies: dict[tuple[str, str, str], Cookie] = {}

    def take(self, exchange: Exchange) -> None:
        """Keep what an answer sets."""
        for cookie in set_cookies(exchange):
            key = (cookie.name, cookie.domain, cookie.path)
            self._cookies.pop(key, None)
            if not cookie.dead and len(self._cookies) < MAX_COOKIES:
                self._cookies[key] = cookie

    def header(self, url: str, own: tuple[tuple[str, str], ...]) -> str:
        """Give the Cookie header for a URL; "" = none.

        Args:
            url: that is asked.
            own: what the step itself sends; it wins over a kept cookie of the same name.
        """
        parts = urlsplit(url)
        pairs = dict(own)
        for cookie in self._cookies.values():
            if _goes_to(cookie, parts.hostname or "", parts.path or "/", secure=parts.scheme == "https"):
                pairs.setdefault(cookie.name, cookie.value)
        header, size = [], 0
        for name, value in pairs.items():
            size += len(name) + len(value) + 3
            if size > MAX_HEADER:
                break
            header.append(f"{name}={value}")
        return "; ".join(header)

    def values(self) -> tuple[str, ...]:
        """Give what no message may show."""
        return tuple(cookie.value for cookie in self._cookies.values())


def _goes_to(cookie: Cookie, host: str, path: str, *, secure: bool) -> bool:
    if cookie.secure and not secure:
        return False
    if host != cookie.domain if cookie.host_only else not below(host, (cookie.domain,)):
        return False
    return path == cookie.path or path.startswith(
        cookie.path if cookie.path.endswith("/") else cookie.path + "/"
    )
