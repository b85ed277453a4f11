"""Taking values out of answers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from sonde_unlock.answer import Answer, json_at, read_json
from sonde_unlock.jar import set_cookies
from sonde_unlock.model import Capture, Scalar, Value
from sonde_unlock.template import as_text
from sonde_unlock.transform import transformed

MAX_CHARACTERS = 65_536
"""Of one value. What is longer is not cut but not captured: half a token is no token."""
MAX_VALUES = 300
"""Of one capture with `all`, and no more than `MAX_CHARACTERS` together."""


def captured(capture: Capture, answer: Answer, values: Mapping[str, Value]) -> Value | None:
    """Give what a capture finds; None = nothing. **Pure.**

    Nothing is found in what is no answer, a challenge, or a truncated body.

    Args:
        capture: what to look for.
        answer: where.
        values: of earlier variables, for `from: var:NAME`.
    """
    if not answer.arrived or answer.challenge:
        return None
    found = (
        value
        for raw in _raw(capture, answer, values)
        if len(as_text(raw)) <= MAX_CHARACTERS
        and (value := transformed(raw, capture.transforms)) not in (None, "")
        and value is not None
    )
    if not capture.every:
        return next(found, None)
    return _distinct(found) or None


def says_nothing(capture: Capture, answer: Answer) -> bool:
    """Whether that a capture found nothing in an answer is no sign that nothing is there. **Pure.**"""
    if capture.source == "json":
        return answer.json is None
    return not answer.body if capture.source == "body" else not answer.readable


def _distinct(found: Iterable[Scalar]) -> tuple[Scalar, ...]:
    kept: dict[tuple[type, Scalar], Scalar] = {}
    left = MAX_CHARACTERS
    for value in found:
        left -= len(as_text(value))
        if left < 0 or len(kept) >= MAX_VALUES:
            break
        kept.setdefault((type(value), value), value)
    return tuple(kept.values())


def _raw(capture: Capture, answer: Answer, values: Mapping[str, Value]) -> Iterator[Scalar]:
    if capture.source == "json":
        yield from _scalars(json_at(answer.json, capture.path))
    elif capture.source == "var" and capture.path:
        value = values.get(capture.of)
        if isinstance(value, str):
            yield from _scalars(json_at(read_json(value), capture.path))
    elif capture.pattern is None:
        yield from _texts(capture, answer, values)
    elif capture.source == "body":
        yield from capture.pattern.every(answer.body)
    else:
        for text in _texts(capture, answer, values):
            yield from capture.pattern.every(text.encode(errors="replace"))


def _texts(capture: Capture, answer: Answer, values: Mapping[str, Value]) -> Iterator[str]:
    if capture.source == "location":
        yield from (hop.header("location") for hop in answer.hops if hop.header("location"))
    elif capture.source == "final_url":
        yield answer.final_url
    elif capture.source == "url_path":
        yield urlsplit(answer.final_url).path
    elif capture.source == "header":
        value = answer.header(capture.of)
        if value:
            yield value
    elif capture.source == "cookie":
        for hop in reversed(answer.hops):
            yield from (cookie.value for cookie in reversed(set_cookies(hop)) if cookie.name == capture.of)
    else:
        held = values.get(capture.of, ())
        yield from map(as_text, held if isinstance(held, tuple) else (held,))


def _scalars(found: Any) -> Iterator[Scalar]:
    if isinstance(found, list):
        yield from (part for part in found if isinstance(part, str | int | float))
    elif isinstance(found, str | int | float):
        yield found
