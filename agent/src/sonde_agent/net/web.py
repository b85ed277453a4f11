"""What carries the requests of unlock rules: where one goes, and what every carrier offers."""

from collections.abc import Mapping
from typing import Protocol

from attrs import frozen

from sonde_unlock.exchange import Error, Exchange, Request

PORTS = {"http": 80, "https": 443}
MOST_HEADERS = 500
MOST_ADDRESSES = 4
"""Of a name's addresses, how many are tried."""


@frozen
class Place:
    """Where a request goes. Nothing else is looked up, and nothing else is connected to.

    Attributes:
        scheme: http or https.
        host: name or address, as it travels.
        port: to connect to.
        target: path and query, in ASCII.
        addresses: of one family, allowed by the policy; the first that answers is used.
    """

    scheme: str
    host: str
    port: int
    target: str
    addresses: tuple[str, ...]

    @property
    def authority(self) -> str:
        """What the Host header holds."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole, as it was judged."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.addresses[0] else 4


class Web(Protocol):
    """A carrier. It follows no redirect, keeps no cookie, and knows no proxy."""

    @property
    def browser_tls(self) -> bool:
        """Whether it greets as a browser does, where the profile asks for that."""

    def greeting(self, profile: str) -> str:
        """Give whose TLS greeting a profile gets, e.g. "chrome152"; "plain" = this program's own."""

    def fetch(self, request: Request, place: Place, within_s: float) -> Exchange:
        """Ask once. Blocks, at most `within_s`; whatever goes wrong is in the answer."""


def failed(
    request: Request,
    error: Error,
    detail: str,
    *,
    ms: float = 0.0,
    address: str = "",
    phases: Mapping[str, float] | None = None,
) -> Exchange:
    """Give the exchange of a request that got no answer; the phases are those that ended. **Pure.**"""
    return Exchange(
        request, error=error, detail=detail[:200], elapsed_ms=ms, address=address, phases=phases or {}
    )


def connected(exchange: Exchange) -> bool:
    """Whether there was a connection, whatever came of it. **Pure.**"""
    return "connect" in exchange.phases


def with_resolve(exchange: Exchange, took_ms: float | None) -> Mapping[str, float]:
    """Give the phases of an exchange with the look-up before it; None = nobody was asked. **Pure.**"""
    return exchange.phases if took_ms is None else {"resolve": round(took_ms, 3), **exchange.phases}
