"""What a platform really answered, made a cassette: matchers, stateful tokens, nobody's data. **Pure**."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus, urlsplit

import attrs

from sonde_collector.rules import trim
from sonde_collector.rules.scrub import Scrubber
from sonde_unlock.answer import Answer
from sonde_unlock.capture import captured
from sonde_unlock.cassette import FaultKind
from sonde_unlock.engine import Inputs, run
from sonde_unlock.exchange import Error, Exchange, Request
from sonde_unlock.model import Rule, Step
from sonde_unlock.parse_cassette import SCHEMA
from sonde_unlock.template import PLACEHOLDER, names
from sonde_unlock.verdict import Judgement

_FAULTS = {
    Error.TIMEOUT: FaultKind.TIMEOUT,
    Error.REFUSED: FaultKind.REFUSED,
    Error.RESET: FaultKind.RESET,
    Error.TLS: FaultKind.TLS_ALERT,
    Error.DNS: FaultKind.DNS_NXDOMAIN,
    Error.NO_ADDRESS: FaultKind.NO_ADDRESS,
}
_HEADERS = frozenset(
    {"content-type", "location", "retry-after", "cf-mitigated", "x-amzn-waf-action", "x-datadome"}
)
_TOKEN = 8  # characters; what is shorter is a country or a flag, and no token


class NotRecordable(Exception):
    """These answers make no cassette; the message says why."""


@attrs.frozen
class About:
    """What a recording is called.

    Attributes:
        behaviour: its name within the platform's cassettes.
        country: of the exit; "" = unknown.
        family: 4 or 6.
        day: YYYY-MM-DD.
    """

    behaviour: str
    country: str
    family: int
    day: str


def rejudge(rule: Rule, exchanges: Sequence[Exchange], family: int) -> Judgement:
    """Give what a rule makes of answers that are given back in their order.

    Raises:
        NotRecordable: the rule asks more, or something else.
    """
    left = list(exchanges)

    def fetch(request: Request) -> Exchange:
        if not left or left[0].request.step != request.step:
            raise NotRecordable(
                f"the recording has no answer to {request.step}: {request.method} {request.url}"
            )
        return attrs.evolve(left.pop(0), request=request)

    given = {secret.name: "invented" for secret in _given(rule, exchanges)}
    inputs = Inputs(family=family, secrets=given, now_s=0.0, random_bytes=bytes)
    return run(rule, inputs, fetch)


def _given(rule: Rule, exchanges: Sequence[Exchange]) -> list[Any]:
    """Give the operator's secrets that were there: what needs them was asked."""
    asked = {exchange.request.step for exchange in exchanges}
    used = {name for step in rule.steps if step.id in asked for name in names(_texts(step))}
    return [secret for secret in rule.secrets if secret.name in used and not secret.default]


def _texts(step: Step) -> list[Any]:
    spec = step.request
    return [spec.url, [text for _, text in spec.headers], [text for _, text in spec.cookies], spec.body]


def document(
    rule: Rule, exchanges: Sequence[Exchange], judgement: Judgement, about: About, *, whole: bool
) -> dict[str, Any]:
    """Give a file of one cassette, as a plain document.

    Args:
        rule: that asked.
        exchanges: as they came, in order.
        judgement: of the rule on them.
        about: its name and origin.
        whole: leave long pages whole instead of trimming them.

    Raises:
        NotRecordable: a failure of the network is among them that no platform has.
    """
    maker = _Maker(rule, exchanges, whole=whole)
    recorded = [maker.exchange(exchange) for exchange in exchanges]
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(maker.scrubber.counts.items()))
    cassette = {
        "behaviour": about.behaviour,
        "country": about.country,
        "family": about.family,
        "provenance": "recorded",
        "captured_at": about.day,
        "rule_version": rule.version,
        "client": rule.client.profile,
        "secrets": {secret.name: f"invented-{secret.name}" for secret in _given(rule, exchanges)},
        "exchanges": _distinct(recorded),
        "expect": _without_empty(
            {
                "verdict": judgement.verdict.value,
                "scope": judgement.scope,
                "region": judgement.region,
            }
        ),
        "scrubbed": [*maker.notes, *([f"stand-ins: {counts}"] if counts else [])],
    }
    return {"schema": SCHEMA, "slug": rule.slug, "cassettes": [_without_empty(cassette)]}


def _without_empty(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if value not in ("", {}, [])}


def _distinct(recorded: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what is there already: the first that fits answers as often as it is asked."""
    kept: list[dict[str, Any]] = []
    for each in recorded:
        if each not in kept:
            kept.append(each)
    return kept


class _Maker:
    """Makes the exchanges of one recording, with one set of stand-ins."""

    def __init__(self, rule: Rule, exchanges: Sequence[Exchange], *, whole: bool) -> None:
        self.rule, self.whole = rule, whole
        self.notes: list[str] = []
        self.patterns = {step.id: trim.patterns(rule, step.id) for step in rule.steps}
        keep = {
            found
            for exchange in exchanges
            for found in trim.markers(_decoded(exchange), self.patterns[exchange.request.step])
        }
        self.tokens = _tokens(rule, exchanges)
        self.scrubber = Scrubber(keep - set(self.tokens))
        self.cookies = {
            capture.of for step in rule.steps for capture in step.captures if capture.source == "cookie"
        }
        self.headers = _HEADERS | {
            capture.of for step in rule.steps for capture in step.captures if capture.source == "header"
        }
        self.begun: set[str] = set()
        self.leads_to = ""  # the last answer's redirect

    def exchange(self, exchange: Exchange) -> dict[str, Any]:
        """Give one exchange of the cassette."""
        first = exchange.request.step not in self.begun or not self._followed(exchange.request)
        self.begun.add(exchange.request.step)
        made: dict[str, Any] = {"match": self._match(exchange.request, first=first)}
        request = _sent(exchange.request)
        consumes = sorted({name for value, name in self.tokens.items() if value in request})
        if exchange.error is not None:
            if exchange.error not in _FAULTS:
                raise NotRecordable(
                    f"{exchange.request.step}: {exchange.error.value}: that was not the platform"
                )
            made["fault"] = _FAULTS[exchange.error].value
        else:
            made["reply"] = reply = self._reply(exchange)
            told = json.dumps(reply, ensure_ascii=False)
            mints = sorted({name for name in self.tokens.values() if f"<<{name}>>" in told})
            if mints:
                made["mints"] = mints
            self.leads_to = exchange.header("location")
        if consumes:
            made["consumes"] = consumes
        return made

    def _followed(self, request: Request) -> bool:
        """Whether a request is the next hop of a redirect."""
        return bool(self.leads_to) and urlsplit(request.url).path == urlsplit(self.leads_to).path

    def _match(self, request: Request, *, first: bool) -> dict[str, Any]:
        parts = urlsplit(request.url)
        match: dict[str, Any] = {"host": parts.hostname or ""}
        if request.method != "GET":
            match["method"] = request.method
        template = self.rule.step(request.step).request.url if first else ""
        path = parts.path or "/"
        pattern = self._path_pattern(template, path)
        match |= {"path_pattern": pattern} if pattern else {"path": self._text(path)}
        stated = dict(parse_qsl(urlsplit(template).query, keep_blank_values=True))
        asked = dict(parse_qsl(parts.query, keep_blank_values=True))
        query = {name: asked[name] for name, text in stated.items() if name in asked and self._is_fixed(text)}
        if query:
            match["query"] = query
        return match

    def _is_fixed(self, text: str) -> bool:
        """Whether a text of the rule is the same in each run: no generated value, secret or capture."""
        rounds = {step.for_each.variable for step in self.rule.steps if step.for_each}
        texts = {variable.name for variable in self.rule.variables if variable.kind == "text"}
        return all(name in rounds | texts for name in names(text))

    def _path_pattern(self, template: str, path: str) -> str:
        """Give a pattern for a path that is another in each run; "" = it is always the same."""
        wanted = re.sub(r"^https?://[^/?#]*", "", template).partition("?")[0]
        if not wanted or self._is_fixed(wanted):
            return ""
        parts = PLACEHOLDER.split(wanted)
        pattern = "".join(re.escape(part) if index % 2 == 0 else "[^/]+" for index, part in enumerate(parts))
        return pattern if re.fullmatch(pattern, path) else ""

    def _reply(self, exchange: Exchange) -> dict[str, Any]:
        headers: dict[str, list[str]] = {}
        for key, value in exchange.headers:
            if key == "set-cookie":
                name, equals, rest = value.partition("=")
                if equals and name.strip() in self.cookies:
                    headers.setdefault(key, []).append(self._cookie(name.strip(), rest))
            elif key in self.headers:
                headers.setdefault(key, []).append(self._text(value))
        reply: dict[str, Any] = {"status": exchange.status}
        if headers:
            reply["headers"] = {
                key: values if len(values) > 1 else values[0] for key, values in headers.items()
            }
        if exchange.body:
            reply |= self._body(exchange)
        return reply

    def _cookie(self, name: str, rest: str) -> str:
        value, semicolon, attributes = rest.partition(";")
        put = self._text(value) if value in self.tokens else self.scrubber.stand_in(value, "cookie")
        kept = [each for each in attributes.split(";") if not each.strip().lower().startswith("expires")]
        return f"{name}={put}{semicolon}{';'.join(kept)}"

    def _body(self, exchange: Exchange) -> dict[str, Any]:
        text, step = _decoded(exchange), exchange.request.step
        if "json" in exchange.header("content-type").lower():
            try:
                return {"json": json.loads(self._text(text))}
            except (ValueError, RecursionError):
                pass
        short = text if self.whole else trim.trimmed(text, self.patterns[step])
        if short != text:
            self.notes.append(f"{step}: a page of {len(text)} characters was trimmed to {len(short)}")
        return {"text": _printable(self._text(short))}

    def _text(self, text: str) -> str:
        """Give a text with <<NAME>> for tokens, and without what is somebody's."""
        for value, name in sorted(self.tokens.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(value, f"<<{name}>>")
        return self.scrubber.text(text)


def _tokens(rule: Rule, exchanges: Sequence[Exchange]) -> dict[str, str]:
    """Give captured values that a later request brings, but for hosts: value -> name of the capture."""
    found: dict[str, str] = {}
    hosts = "\n".join(urlsplit(exchange.request.url).netloc for exchange in exchanges)
    for number, exchange in enumerate(exchanges):
        later = [_sent(each.request) for each in exchanges[number + 1 :]]
        for capture in rule.step(exchange.request.step).captures:
            if capture.source == "var" or capture.transforms:
                continue
            value = captured(capture, Answer((exchange,)), {})
            if not isinstance(value, str) or len(value) < _TOKEN or value in hosts:
                continue
            if any(value in request for request in later):
                found.setdefault(value, capture.name)
    return found


def _sent(request: Request) -> str:
    """Give all that a request carries, as sent and decoded, to look for tokens in it."""
    body = request.body.decode(errors="replace")
    parts = [request.url, unquote(request.url), body, unquote_plus(body)]
    return "\n".join([*parts, *(value for _, value in request.headers)])


def _decoded(exchange: Exchange) -> str:
    return exchange.body.decode(errors="replace")


def _printable(text: str) -> str:
    """Give a text as cassettes may hold it: no control character but line ends and tabs."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)
