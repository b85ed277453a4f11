"""The markers on which an entry of a rule rests, and answers in which they are missing or different."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import attrs
from support.unlock_rules import Fetch

from sonde_unlock.cassette import Unmatched
from sonde_unlock.exchange import Exchange, Request
from sonde_unlock.model import (
    Answers,
    Atom,
    Capture,
    Condition,
    Entry,
    Group,
    HeaderMatches,
    JsonIs,
    Matches,
    Quantifier,
    Rule,
    StatusIs,
    VariableIs,
)

REDIRECTS = (301, 302, 303, 307, 308)


@attrs.frozen
class Mark:
    """Something that an answer of a step shows.

    Attributes:
        kind: body, final_url, location, header, cookie, json or status.
        what: pattern of the first four, the cookie's name, path of json.
        name: of the header.
    """

    step: str
    kind: str
    what: str = ""
    name: str = ""


def marks(rule: Rule, entry: Entry) -> list[tuple[Mark, ...]]:
    """Give what an entry needs to see; what stands together is different ways to say one thing."""
    return [group for condition in entry.when for group in _of_condition(rule, condition)]


def _of_condition(rule: Rule, condition: Condition) -> Iterator[tuple[Mark, ...]]:
    if isinstance(condition, Answers):
        if condition.quantifier is not Quantifier.NONE:
            for atom in condition.atoms:
                yield (_of_atom(condition.step, atom),)
    elif isinstance(condition, VariableIs):
        for name in (condition.name, condition.test.other):
            found = [
                _of_capture(step.id, one) for step in rule.steps for one in step.captures if one.name == name
            ]
            if found:
                yield tuple(found)
    elif isinstance(condition, Group):
        for part in condition.conditions:
            yield from _of_condition(rule, part)


def _of_atom(step: str, atom: Atom) -> Mark:
    if isinstance(atom, StatusIs):
        return Mark(step, "status")
    if isinstance(atom, Matches):
        return Mark(step, atom.part, atom.pattern.text)
    if isinstance(atom, HeaderMatches):
        return Mark(step, "header", atom.pattern.text, atom.name)
    assert isinstance(atom, JsonIs), "no shipped rule rests on an error"
    return Mark(step, "json", ".".join(atom.path))


def _of_capture(step: str, capture: Capture) -> Mark:
    pattern = capture.pattern.text if capture.pattern else ""
    if capture.source == "json":
        return Mark(step, "json", ".".join(capture.path))
    if capture.source == "cookie":
        return Mark(step, "cookie", name=capture.of)
    kind = {"url_path": "final_url"}.get(capture.source, capture.source)
    return Mark(step, kind, pattern if capture.source != "url_path" else "/title/", capture.of)


@attrs.define
class Alteration:
    """Answers without some marks, or with others in their place.

    Attributes:
        marks: of which each is altered.
        how: "drop" or "change".
        only: number of the one answer that is altered, from 1; 0 = all.
        altered: how many answers had any of them.
    """

    marks: tuple[Mark, ...]
    how: str
    only: int = 0
    altered: int = attrs.field(default=0, init=False)
    _moved: dict[str, Exchange] = attrs.field(factory=dict, init=False)

    def __call__(self, fetch: Fetch) -> Fetch:
        """Put itself between a run and its answers."""
        fetch = known_or_not(fetch)

        def asking(request: Request) -> Exchange:
            if request.url in self._moved:
                return attrs.evolve(self._moved.pop(request.url), request=request)
            exchange = fetch(request)
            after = exchange
            for mark in self.marks:
                if mark.step == request.step and after.status:
                    after = self._without(mark, after)
            if after == exchange:
                return exchange
            self.altered += 1
            return after if self.only in (0, self.altered) else exchange

        return asking

    def _without(self, mark: Mark, exchange: Exchange) -> Exchange:
        if mark.kind == "body":
            return attrs.evolve(exchange, body=self._text(mark.what, exchange.body))
        if mark.kind == "json":
            return self._json(mark.what.split("."), exchange)
        if mark.kind == "status":
            return attrs.evolve(exchange, status=500)
        if mark.kind == "final_url":
            return self._moved_to(mark.what, exchange)
        names = {"location": "location", "cookie": "set-cookie"}
        return self._header(names.get(mark.kind, mark.name), mark, exchange)

    def _text(self, pattern: str, text: bytes) -> bytes:
        def changed(match: "re.Match[bytes]") -> bytes:
            return b"" if self.how == "drop" else re.sub(rb"[A-Za-z0-9]", b"q", match[0])

        return re.sub(pattern.encode(), changed, text)

    def _json(self, path: list[str], exchange: Exchange) -> Exchange:
        try:
            document = json.loads(exchange.body)
        except ValueError:
            return exchange
        if not _alter(document, path, self.how):
            return exchange
        return attrs.evolve(exchange, body=json.dumps(document).encode())

    def _header(self, name: str, mark: Mark, exchange: Exchange) -> Exchange:
        kept = []
        for key, value in exchange.headers:
            if key != name or not re.search(mark.what or f"^{mark.name}=", value):
                kept.append((key, value))
            elif self.how == "change":
                kept.append((key, "/changed" if key == "location" else f"{value.partition('=')[0]}=changed"))
        return attrs.evolve(exchange, headers=tuple(kept))

    def _moved_to(self, pattern: str, exchange: Exchange) -> Exchange:
        """Let the same page stand at another address."""
        url = exchange.request.url
        if exchange.status in REDIRECTS or not re.search(pattern, url):
            return exchange
        host = f"https://{urlsplit(url).hostname}/"
        moved = f"{host}changed" if self.how == "change" else re.sub(pattern, "", url)
        if not moved.startswith(host) or moved == url:
            return exchange
        self._moved[moved] = exchange
        return Exchange(exchange.request, 302, (("location", moved),))


def _alter(document: Any, path: list[str], how: str) -> bool:
    for part in path[:-1]:
        document = document.get(part) if isinstance(document, dict) else None
    if not isinstance(document, dict) or path[-1] not in document:
        return False
    if how == "drop":
        del document[path[-1]]
    else:
        document[path[-1]] = "changed"
    return True


def known_or_not(fetch: Fetch) -> Fetch:
    """Give a page that nobody knows where a changed answer leads out of the cassette."""

    def asking(request: Request) -> Exchange:
        try:
            return fetch(request)
        except Unmatched:
            return Exchange(request, 404, (("content-type", "text/html"),), b"<html>nothing here</html>")

    return asking


def counted(change: Callable[[Exchange], Exchange], only: int = 0) -> Callable[[Fetch], Fetch]:
    """Change all answers, or only the one of that number, from 1."""

    def between(fetch: Fetch) -> Fetch:
        fetch, seen = known_or_not(fetch), 0

        def asking(request: Request) -> Exchange:
            nonlocal seen
            seen += 1
            exchange = fetch(request)
            return change(exchange) if only in (0, seen) else exchange

        return asking

    return between
