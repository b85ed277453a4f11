"""Answers without one marker: what a rule makes of them shows whether it believes too easily. **Pure**."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from sonde_collector.rules import words
from sonde_unlock import model
from sonde_unlock.exchange import Exchange
from sonde_unlock.model import Quantifier
from sonde_unlock.pattern import Pattern

Change = Callable[[Exchange], Exchange]
_STATUSES = (299, 399, 499, 599)  # that no rule names for what it knows
_TRIES = 100


@attrs.frozen
class Marker:
    """Something that a verdict rests on, and how to take it out of an answer.

    Attributes:
        words: what it is.
        steps: ids of the steps in whose answers it is looked for.
        drop: gives the answer without it; the same object where it is not in it.
    """

    words: str
    steps: frozenset[str]
    drop: Change

    def without(self, exchange: Exchange) -> Exchange:
        """Give the answer without the marker, if it is of one of the steps."""
        return self.drop(exchange) if exchange.request.step in self.steps else exchange


def markers(rule: model.Rule, entry: model.Entry) -> list[Marker]:
    """Give what an entry of the rule's verdicts looks for; what must be absent is no marker."""
    return list(_of_conditions(rule, entry.when))


def _of_conditions(rule: model.Rule, conditions: Sequence[model.Condition]) -> Iterator[Marker]:
    for condition in conditions:
        match condition:
            case model.Answers(quantifier, step, atoms) if quantifier is not Quantifier.NONE:
                for atom in atoms:
                    if not _wants_absence(atom):
                        yield Marker(f"{step}: {words.atom(atom)}", frozenset((step,)), _without_atom(atom))
            case model.Group(quantifier, inner) if quantifier is not Quantifier.NONE:
                yield from _of_conditions(rule, inner)
            case model.VariableIs(name, test) if test.operator != "exists" or test.expected:
                for variable in filter(None, (name, test.other)):
                    yield from _of_variable(rule, variable)


def _wants_absence(atom: model.Atom) -> bool:
    return isinstance(atom, model.JsonIs) and atom.test.operator == "exists" and not atom.test.expected


def _of_variable(rule: model.Rule, name: str) -> Iterator[Marker]:
    """Give one marker for a captured variable: all that fills it."""
    names, found = {name}, []
    for step in reversed(rule.steps):
        for capture in reversed(step.captures):
            if capture.name in names:
                names |= {capture.of} if capture.source == "var" else set()
                found.append((step.id, capture))
    if found:
        drops = [(step, _without_capture(capture)) for step, capture in found]

        def drop(exchange: Exchange) -> Exchange:
            for step, each in drops:
                exchange = each(exchange) if step == exchange.request.step else exchange
            return exchange

        yield Marker(f"what {name} is taken from", frozenset(step for step, _ in found), drop)


def _without_atom(atom: model.Atom) -> Change:
    match atom:
        case model.StatusIs(ranges):
            other = next(
                (code for code in _STATUSES if not any(low <= code <= high for low, high in ranges)), 100
            )
            return lambda exchange: attrs.evolve(exchange, status=other) if exchange.status else exchange
        case model.Matches("body", pattern):
            return lambda exchange: _without_text(exchange, pattern)
        case model.Matches(_, pattern):
            return lambda exchange: _elsewhere(exchange, pattern)
        case model.HeaderMatches(name, _):
            return lambda exchange: _without_header(exchange, name)
        case model.JsonIs(path, _):
            return lambda exchange: _without_json(exchange, path)
        case model.ErrorIs():
            return answered


def _without_capture(capture: model.Capture) -> Change:
    match capture.source:
        case "json":
            return lambda exchange: _without_json(exchange, capture.path)
        case "header":
            return lambda exchange: _without_header(exchange, capture.of)
        case "cookie":
            return lambda exchange: _without_header(exchange, "set-cookie", f"{capture.of}=")
        case "body":
            return lambda exchange: _without_text(exchange, capture.pattern)
        case "location" | "final_url" | "url_path":
            return lambda exchange: _elsewhere(exchange, None)
        case _:
            return lambda exchange: exchange


def answered(exchange: Exchange) -> Exchange:
    """Give an answer that says nothing in the place of an error."""
    if exchange.error is None:
        return exchange
    return attrs.evolve(
        exchange, error=None, detail="", status=_STATUSES[0], body=b"<html><body>Hello.</body></html>"
    )


def _without_text(exchange: Exchange, pattern: Pattern | None) -> Exchange:
    body = exchange.body
    if pattern is None or not pattern.search(body):
        return exchange
    for _ in range(_TRIES):
        found = {text.encode() for text in pattern.every(body)}
        shorter = body
        for text in found:
            shorter = shorter.replace(text, b"")
        if shorter == body or not pattern.search(shorter):
            body = shorter
            break
        body = shorter
    return attrs.evolve(exchange, body=b"<html></html>" if pattern.search(body) else body)


def _elsewhere(exchange: Exchange, pattern: Pattern | None) -> Exchange:
    """Give a redirect that leads to no place of the rule's."""
    location = exchange.header("location")
    if not location or (pattern and not pattern.search(location.encode())):
        return exchange
    headers = tuple((key, "/-" if key == "location" else value) for key, value in exchange.headers)
    return attrs.evolve(exchange, headers=headers)


def _without_header(exchange: Exchange, name: str, begins: str = "") -> Exchange:
    headers = tuple(
        (key, value) for key, value in exchange.headers if key != name or not value.startswith(begins)
    )
    return exchange if headers == exchange.headers else attrs.evolve(exchange, headers=headers)


def _without_json(exchange: Exchange, path: Sequence[str]) -> Exchange:
    try:
        document = json.loads(exchange.body)
    except (ValueError, RecursionError):
        return exchange
    if not _cut(document, path):
        return exchange
    return attrs.evolve(exchange, body=json.dumps(document).encode())


def _cut(document: Any, path: Sequence[str]) -> bool:
    """Take out what stands at `path`; tell whether anything did."""
    head, *rest = path
    if isinstance(document, list):
        if not head.isdigit() or int(head) >= len(document):
            return False
        if rest:
            return _cut(document[int(head)], rest)
        document[int(head)] = None
        return True
    if not isinstance(document, dict) or head not in document:
        return False
    if rest:
        return _cut(document[head], rest)
    del document[head]
    return True
