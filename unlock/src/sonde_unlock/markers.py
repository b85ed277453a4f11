"""What counts as having seen something, and what any page would show."""

from collections.abc import Iterator
from typing import TypeGuard

from sonde_unlock.answer import json_at, read_json
from sonde_unlock.match import passes, scalar
from sonde_unlock.model import (
    Answers,
    Atom,
    Capture,
    Condition,
    Group,
    JsonIs,
    Matches,
    Quantifier,
    Rule,
    Test,
    VariableIs,
)
from sonde_unlock.template import PLACEHOLDER

Evidence = tuple[str, Matches | JsonIs | Capture]
"""Id of the step, and what is found in its answer: an atom that `evidence_of` counts, or a capture."""

_PAGE = b"""<!doctype html><html lang="en-US"><head><meta charset="utf-8"><title>Home</title>
<link rel="stylesheet" href="/a.css"><script src="/b.js"></script></head><body><div id="root" class="app">
<h1>Welcome</h1><p>Please enable JavaScript.</p><a href="https://example.com/help">Help</a> Sign in Sign up
</div></body></html>"""
_CONSENT = b"""<html lang="en"><head><title>Before you continue</title></head><body>
<form action="/save" method="post"><p>We use cookies and data. To continue, choose.</p>
<button name="set">Accept all</button><button>Reject all</button><input type="hidden" name="gl" value="DE">
</form></body></html>"""
_ERROR_PAGE = b"""<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1>
<hr><center>nginx</center>Error 404 Not Found 500 Internal Server Error 503 Unavailable</body></html>"""
_ERROR = b'{"status":"error","code":1000,"success":false,"error":{"code":"E","message":"internal error"}}'
_ERRORS = b'{"data":null,"errors":[{"message":"bad request","path":["a"],"extensions":{}}]}'
DECOYS = (
    ("anything at all", b""),
    ("an empty JSON document", b"{}"),
    ("any JSON error", _ERROR),
    ("any JSON error", _ERRORS),
    ("any page", _PAGE),
    ("a consent page", _CONSENT),
    ("an error page", _ERROR_PAGE),
)


def evidence_of(condition: Condition, rule: Rule) -> list[list[Evidence]]:
    """Give what must have been seen in answers where a condition holds. **Pure.**

    Returns:
        Groups: of each, one part was seen. Empty = nothing need have been seen.
    """
    if isinstance(condition, Answers) and condition.quantifier is not Quantifier.NONE:
        return [[(condition.step, atom)] for atom in condition.atoms if _sees(atom)]
    if isinstance(condition, VariableIs) and _positive(condition.test):
        captures = [(step.id, capture) for step in rule.steps for capture in step.captures]
        found: list[Evidence] = [(step, one) for step, one in captures if one.name == condition.name]
        return [found] if found else []
    if isinstance(condition, Group) and condition.quantifier is not Quantifier.NONE:
        parts = [evidence_of(part, rule) for part in condition.conditions]
        if condition.quantifier is Quantifier.ALL:
            return [group for part in parts for group in part]
        if all(parts):
            return [[one for part in parts for group in part for one in group]]
    return []


def _sees(atom: Atom) -> TypeGuard[Matches | JsonIs]:
    return isinstance(atom, Matches) or (isinstance(atom, JsonIs) and _positive(atom.test))


def _positive(test: Test) -> bool:
    return test.operator != "exists" or test.expected


def too_weak(evidence: Evidence, rule: Rule) -> str:
    """Say why a marker proves nothing; "" = it does. **Pure.**"""
    step, part = evidence
    if isinstance(part, JsonIs):
        documents = [(name, json_at(read_json(text), part.path)) for name, text in DECOYS]
        shown = (name for name, found in documents if passes(part.test, scalar(found), {}))
        return next((f"json {'.'.join(part.path)} is so in {name}" for name in shown), "")
    if isinstance(part, Capture):
        found, source, what = part.pattern, part.source, f"the capture {part.name!r}"
    elif isinstance(part, Matches):
        found, source, what = part.pattern, part.part, f"{part.part} {part.pattern.text!r}"
    if source in ("final_url", "url_path"):
        urls = _own(rule.step(step).request.url, source)
        if found is None or any(found.search(url.encode()) for url in urls):
            return f"{what} is found in the URL that step {step!r} asks: it holds where nothing redirects"
    decoys = DECOYS if source == "body" else DECOYS[:1]
    return next((f"{what} is found in {name}" for name, text in decoys if found and found.search(text)), "")


def _own(url: str, source: str) -> Iterator[str]:
    for filling in ("x", "xx", "1"):
        filled = PLACEHOLDER.sub(filling, url)
        yield "/" + filled.partition("://")[2].partition("/")[2] if source == "url_path" else filled
