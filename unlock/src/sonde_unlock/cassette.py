"""What a platform answers, written down: to replay a rule against, in process or from the lab's world server.

A cassette is one behaviour of one platform ("full-gb", "banned"). Its exchanges are tried in order; the first
whose matcher fits answers, as often as it is asked. Tokens are stateful: a reply that `mints` NAME holds a
fresh token wherever its header or body says <<NAME>>; an exchange that `consumes` NAME fits only a request
that carries one of the tokens minted so. What no exchange fits is no 404 but a mistake: None.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, unquote_plus, urlsplit

import attrs

from sonde_unlock.exchange import Error, Exchange, Request
from sonde_unlock.pattern import Pattern
from sonde_unlock.verdict import Verdict

MAX_TOKENS = 64
"""Of one name that stay good; older ones are forgotten."""
PLAIN_REFUSED = 403


class FaultKind(StrEnum):
    """What happens instead of an answer."""

    TIMEOUT = "timeout"
    """The connection is taken, and nothing comes."""
    REFUSED = "refused"
    RESET = "reset"
    """The connection ends after the request."""
    TLS_ALERT = "tls_alert"
    DNS_NXDOMAIN = "dns_nxdomain"
    NO_ADDRESS = "no_address"
    """The name exists, without an address of the family asked for."""
    SLOW_BODY = "slow_body"
    """Head and half of the body come, then nothing."""
    TRUNCATED = "truncated"
    """The connection ends in the middle of the body: a status is known, and that the body is cut."""


ERRORS: Mapping[FaultKind, Error] = {
    FaultKind.TIMEOUT: Error.TIMEOUT,
    FaultKind.REFUSED: Error.REFUSED,
    FaultKind.RESET: Error.RESET,
    FaultKind.TLS_ALERT: Error.TLS,
    FaultKind.DNS_NXDOMAIN: Error.DNS,
    FaultKind.NO_ADDRESS: Error.NO_ADDRESS,
    FaultKind.SLOW_BODY: Error.TIMEOUT,
}


@attrs.frozen
class Reply:
    """An answer; header names as they go out, in order, repeated where they repeat."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen
class Fault:
    """No answer, or half of one: `reply` is that of slow_body and truncated."""

    kind: FaultKind
    reply: Reply | None = None


@attrs.frozen
class Matcher:
    """Which requests an exchange answers: all that is stated must fit.

    Attributes:
        host: lower case.
        method: upper case.
        path: literally, without query; or `path_pattern`, which must cover it.
        query: parameters that must be there with these values; others may be.
        headers: lower-case name -> pattern that must cover the value.
        cookies: name -> pattern that must cover the value.
        body: texts that the body must hold, as sent or with %xx and + decoded.
    """

    host: str
    method: str = "GET"
    path: str = ""
    path_pattern: Pattern | None = None
    query: Mapping[str, str] = attrs.field(factory=dict)
    headers: Mapping[str, Pattern] = attrs.field(factory=dict)
    cookies: Mapping[str, Pattern] = attrs.field(factory=dict)
    body: tuple[str, ...] = ()


@attrs.frozen
class Recorded:
    """One exchange of a cassette."""

    match: Matcher
    outcome: Reply | Fault
    mints: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()


@attrs.frozen
class Expected:
    """What the rule must make of it."""

    verdict: Verdict
    scope: str = ""
    region: str = ""


@attrs.frozen
class Cassette:
    """One behaviour of one platform.

    Attributes:
        country: of the exit that sees it.
        family: 4, 6, or 0 for both.
        provenance: recorded, from-tool-source or synthetic.
        captured_at: day (YYYY-MM-DD).
        rule_version: that it was made with.
        client: profile that asked.
        tls: "any", or "browser": whoever shows no browser's ClientHello gets `plain` instead of everything.
        secrets: that the rule is given for it; invented.
        scrubbed: what was replaced in it.
    """

    slug: str
    behaviour: str
    country: str
    provenance: str
    exchanges: tuple[Recorded, ...]
    expect: Expected
    family: int = 0
    captured_at: str = ""
    rule_version: str = ""
    client: str = "browser"
    tls: str = "any"
    plain: Reply = Reply(PLAIN_REFUSED)
    secrets: Mapping[str, str] = attrs.field(factory=dict)
    scrubbed: tuple[str, ...] = ()

    @property
    def hosts(self) -> frozenset[str]:
        """All hosts that answer in it. **Pure.**"""
        return frozenset(recorded.match.host for recorded in self.exchanges)


@attrs.frozen
class Incoming:
    """A request, as a server sees it.

    Attributes:
        host: lower case, without a port.
        headers: names in lower case.
        browser_tls: its ClientHello was a browser's.
    """

    method: str
    host: str
    path_with_query: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    browser_tls: bool = True


class Unmatched(Exception):
    """A rule asked for what no exchange of its cassette answers."""


class Player:
    """Answers requests from cassettes, and remembers the tokens that it gave. One for each caller."""

    def __init__(self, cassettes: Iterable[Cassette]) -> None:
        """Take the cassettes; of one platform there should be one."""
        self._cassettes = tuple(cassettes)
        self._tokens: dict[tuple[str, str], list[str]] = {}
        self._minted = 0

    def answer(self, incoming: Incoming) -> Reply | Fault | None:
        """Answer a request; None = no exchange fits it."""
        for cassette in self._cassettes:
            if cassette.tls == "browser" and not incoming.browser_tls and incoming.host in cassette.hosts:
                return cassette.plain
            for recorded in cassette.exchanges:
                if _fits(recorded.match, incoming) and self._carries(
                    cassette.slug, recorded.consumes, incoming
                ):
                    return self._given(cassette.slug, recorded)
        return None

    def _carries(self, slug: str, names: tuple[str, ...], incoming: Incoming) -> bool:
        sent = (
            incoming.path_with_query,
            *(value for _, value in incoming.headers),
            incoming.body.decode(errors="replace"),
        )
        return all(
            any(token in part for token in self._tokens.get((slug, name), ()) for part in sent)
            for name in names
        )

    def _given(self, slug: str, recorded: Recorded) -> Reply | Fault:
        if not recorded.mints or isinstance(recorded.outcome, Fault):
            return recorded.outcome
        reply = recorded.outcome
        for name in recorded.mints:
            self._minted += 1
            token = f"sonde-token-{name}-{self._minted:06d}"
            kept = self._tokens.setdefault((slug, name), [])
            kept.append(token)
            del kept[:-MAX_TOKENS]
            mark = f"<<{name}>>"
            reply = Reply(
                reply.status,
                tuple((key, value.replace(mark, token)) for key, value in reply.headers),
                reply.body.replace(mark.encode(), token.encode()),
            )
        return reply


def _fits(match: Matcher, incoming: Incoming) -> bool:
    path, _, query = incoming.path_with_query.partition("?")
    if (match.host, match.method) != (incoming.host, incoming.method):
        return False
    if not (match.path_pattern.covers(path.encode()) if match.path_pattern else match.path == path):
        return False
    stated = dict(parse_qsl(query, keep_blank_values=True))
    if any(stated.get(name) != value for name, value in match.query.items()):
        return False
    headers: dict[str, str] = {}
    for name, value in incoming.headers:
        headers.setdefault(name, value)
    if not _covered(match.headers, headers) or not _covered(
        match.cookies, _cookies(headers.get("cookie", ""))
    ):
        return False
    body = incoming.body.decode(errors="replace")
    forms = (body, unquote(body), unquote_plus(body))
    return all(any(text in form for form in forms) for text in match.body)


def _covered(wanted: Mapping[str, Pattern], there: Mapping[str, str]) -> bool:
    return all(name in there and known.covers(there[name].encode()) for name, known in wanted.items())


def _cookies(header: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return {name: value for name, equals, value in pairs if equals}


def fetcher(player: Player, *, plain_tls: bool = False) -> Callable[[Request], Exchange]:
    """Give what carries requests to a player, in process.

    Args:
        player: that answers.
        plain_tls: play a transport that can't show a browser's TLS.

    Raises:
        Unmatched: by what is given, when no exchange fits.
    """

    def fetch(request: Request) -> Exchange:
        parts = urlsplit(request.url)
        incoming = Incoming(
            method=request.method,
            host=parts.hostname or "",
            path_with_query=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers=tuple((name.lower(), value) for name, value in request.headers),
            body=request.body,
            browser_tls=request.profile == "browser" and not plain_tls,
        )
        outcome = player.answer(incoming)
        if outcome is None:
            raise Unmatched(f"{request.step}: {request.method} {incoming.host}{incoming.path_with_query}")
        if isinstance(outcome, Fault) and outcome.kind in ERRORS:
            return Exchange(request, error=ERRORS[outcome.kind], detail=f"played: {outcome.kind}")
        cut = isinstance(outcome, Fault)
        reply = (outcome.reply or Reply(200)) if isinstance(outcome, Fault) else outcome
        body = reply.body[: len(reply.body) // 2] if cut else reply.body
        return Exchange(
            request,
            status=reply.status,
            headers=tuple((name.lower(), value) for name, value in reply.headers),
            body=body[: request.max_body],
            truncated=cut or len(body) > request.max_body,
        )

    return fetch
