"""Small unlock rules to test the language with."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sonde_unlock.engine import Inputs, run
from sonde_unlock.exchange import Error, Exchange, Request
from sonde_unlock.model import Rule
from sonde_unlock.parse import parse
from sonde_unlock.reading import read_document, read_rule
from sonde_unlock.verdict import Judgement

Fetch = Callable[[Request], Exchange]
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "unlock"
SLUGS = ("bbc-iplayer", "disney-plus", "hbo-max", "netflix")
HEAD = """
schema: unlock-rule/1
slug: example
name: Example
version: "1"
checked_on: 2026-11-21
confirmed_live: null
enabled: true
provenance: [{source: invented, date: 2026-11-21}]
confidence: low
evidence: {level: geo-api, shows: nothing, cannot_show: anything}
families: {v4: expected, v6: expected}
client: {profile: browser}
"""
ONE_STEP = """
steps:
  - {id: page, request: {method: GET, url: "https://www.example.com/"}}
verdicts:
  - {when: [{any_of: page, body: 'marker-of-a-player'}], verdict: available}
"""


def golden(slug: str) -> Rule:
    """Return one of the golden rules."""
    return read_rule((GOLDEN / f"{slug}.yaml").read_text(), f"{slug}.yaml")


def rule(text: str = ONE_STEP, **changed: Any) -> Rule:
    """Return the rule with this YAML below the usual head, and these keys changed."""
    return parse(document(text, **changed), {})


def document(text: str = ONE_STEP, **changed: Any) -> dict[str, Any]:
    """Return the same before it is parsed."""
    whole: dict[str, Any] = read_document(HEAD + text, "test", 100_000)[0]
    return {**whole, **changed}


def inputs(family: int = 4, secrets: Mapping[str, str] | None = None, *, plain_tls: bool = False) -> Inputs:
    """Return inputs without chance."""
    return Inputs(family, secrets or {}, 1.7e9, lambda count: b"\x07" * count, plain_tls)


def answer(body: bytes | str = b"", status: int = 200, *, truncated: bool = False, **headers: str) -> Fetch:
    """Return what answers every request alike; `set_cookie=…` becomes a set-cookie header."""
    raw = body.encode() if isinstance(body, str) else body
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return lambda request: Exchange(request, status=status, headers=pairs, body=raw, truncated=truncated)


def failing(error: Error, detail: str = "") -> Fetch:
    """Return what never answers."""
    return lambda request: Exchange(request, error=error, detail=detail)


def in_turn(*fetches: Fetch) -> Fetch:
    """Return what answers one request after the other."""
    left = iter(fetches)

    def fetch(request: Request) -> Exchange:
        return next(left)(request)

    return fetch


def by_path(answers: Mapping[str, Fetch]) -> Fetch:
    """Return what answers by the URL without its scheme, or by its path."""

    def fetch(request: Request) -> Exchange:
        whole = request.url.partition("://")[2]
        key = whole if whole in answers else "/" + whole.partition("/")[2]
        return answers[key](request)

    return fetch


def judged(one: Rule, fetch: Fetch, **given: Any) -> Judgement:
    """Run a rule."""
    return run(one, inputs(**given), fetch)
