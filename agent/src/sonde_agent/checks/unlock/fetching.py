"""Carries the requests of one rule: judged by the policy, looked up by ourselves, one at a time a host."""

import time
from urllib.parse import quote

from attrs import evolve

from sonde_agent.addresses import parse_address
from sonde_agent.checks.base import Context
from sonde_agent.checks.endpoint.pure import Url, parse_url
from sonde_agent.net.dial import Deadline
from sonde_agent.net.names import Names, NoAnswer
from sonde_agent.net.trust import Trust
from sonde_agent.net.web import MOST_ADDRESSES, Place, Web, failed, with_resolve
from sonde_unlock.exchange import Error, Exchange, Request

_URL_SAFE = "%/:?#[]@!$&'()*+,;=-._~|^`{}\\\"<>"


def carrier(trust: Trust) -> Web:
    """Give the best carrier that this host has."""
    try:
        from sonde_agent.net.web_browser import BrowserWeb  # noqa: PLC0415 -- 40 MB that not every host installs
    except ImportError:
        from sonde_agent.net.web_plain import PlainWeb  # noqa: PLC0415 -- as above

        return PlainWeb(trust)
    return BrowserWeb(trust)


class Fetcher:
    """Gives the exchange of each request; whatever goes wrong is in it.

    Args:
        web: the carrier.
        names: who is asked for addresses.
        family: 4 or 6; nothing goes by the other.
        context: policy and courtesy.
        deadline: of the rule.
    """

    def __init__(self, web: Web, names: Names, family: int, context: Context, deadline: Deadline) -> None:
        self._web, self._names, self._family = web, names, family
        self._context, self._deadline = context, deadline

    def __call__(self, request: Request) -> Exchange:
        """Ask once. Blocks."""
        try:
            url = parse_url(request.url)
            target = quote(url.target, safe=_URL_SAFE)
        except ValueError as error:
            return failed(request, Error.PROTOCOL, str(error))
        try:
            place, took_ms = self._place(url, target, request)
        except _NotAsked as not_asked:
            return not_asked.exchange
        try:
            with self._context.courtesy.turn(url.host, self._deadline.left()):
                within_s = min(request.timeout_s, self._deadline.left())
                exchange = self._web.fetch(request, place, within_s)
        except TimeoutError:
            return failed(request, Error.TIMEOUT, "the time of the rule was over")
        phases = with_resolve(exchange, took_ms)
        return evolve(exchange, phases=phases, elapsed_ms=exchange.elapsed_ms + (took_ms or 0.0))

    def _place(self, url: Url, target: str, request: Request) -> tuple[Place, float | None]:
        """Give where the request may go, and how long the look-up took [ms]."""
        if reason := self._context.refuse_name(url.host, url.port):
            raise _NotAsked(failed(request, Error.POLICY, reason))
        host, took_ms = url.host, None
        addresses: tuple[str, ...]
        if (literal := parse_address(url.host)) is not None:
            host, addresses = str(literal), (str(literal),)
            if literal.version != self._family:
                raise _NotAsked(failed(request, Error.NO_ADDRESS, f"{host} is not IPv{self._family}"))
        else:
            addresses, took_ms = self._look_up(host, request)
        refusals = [self._context.refuse(address, url.port) for address in addresses]
        allowed = [one for one, refusal in zip(addresses, refusals, strict=True) if refusal is None]
        if not allowed:
            raise _NotAsked(failed(request, Error.POLICY, f"{host}: {refusals[0]}"))
        return Place(url.scheme, host, url.port, target, tuple(allowed[:MOST_ADDRESSES])), took_ms

    def _look_up(self, host: str, request: Request) -> tuple[tuple[str, ...], float | None]:
        began = time.monotonic()
        try:
            return self._names.look_up(host, self._family, self._deadline.left())
        except NoAnswer as none:
            kind, words = (Error.NO_ADDRESS if none.no_address else Error.DNS), str(none)
        except TimeoutError:
            kind, words = Error.TIMEOUT, "the time of the rule was over"
        took_ms = (time.monotonic() - began) * 1000
        raise _NotAsked(failed(request, kind, f"{host}: {words}", ms=took_ms))


class _NotAsked(Exception):
    """No connection is made; the exchange says why."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange.detail)
        self.exchange = exchange
