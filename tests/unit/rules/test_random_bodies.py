"""Answers that nobody wrote for a rule never make its platform available."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.unlock_rules import SLUGS, cassettes, inputs, rule

from sonde_unlock.cassette import Reply
from sonde_unlock.engine import run
from sonde_unlock.exchange import Exchange, Request
from sonde_unlock.verdict import Verdict

OFFERED = (Verdict.AVAILABLE, Verdict.PARTIAL)
KIN = ({"hbo-max", "discovery-plus"},)
"""Platforms of one house, that speak alike."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-500, 500) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300).map(str.encode),
    VALUES.map(lambda v: json.dumps(v).encode()),
)
STATUSES = st.sampled_from([200, 200, 200, 201, 204, 301, 302, 307, 400, 401, 403, 404, 429, 451, 500, 503])
HEADERS = st.sampled_from(
    [
        (),
        (("content-type", "text/html"),),
        (("content-type", "application/json"),),
        (("location", "/"), ("set-cookie", "a=b")),
        (("location", "https://www.example.com/elsewhere"),),
    ]
)
ANSWERS = st.tuples(STATUSES, HEADERS, BODIES)


def _judged(slug: str, answers: list[tuple[int, tuple[tuple[str, str], ...], bytes]]) -> Verdict:
    left = iter(answers * 30)

    def fetch(request: Request) -> Exchange:
        status, headers, body = next(left)
        return Exchange(request, status, headers, body)

    return run(rule(slug), inputs(), fetch).verdict


def _bodies_of_others(slug: str) -> list[bytes]:
    kin = next((house for house in KIN if slug in house), {slug})
    replies = [
        recorded.outcome
        for other in SLUGS
        if other not in kin
        for cassette in cassettes(other)
        for recorded in cassette.exchanges
        if isinstance(recorded.outcome, Reply)
    ]
    return sorted({reply.body for reply in replies})


@pytest.mark.parametrize("slug", SLUGS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_answers_never_offer_anything(slug: str, data: st.DataObject) -> None:
    """Bytes, texts and JSON without a thought, at every step."""
    answers = data.draw(st.lists(ANSWERS, min_size=1, max_size=8))
    assert _judged(slug, answers) not in OFFERED


@pytest.mark.parametrize("slug", SLUGS)
def test_pages_of_other_platforms_never_offer_anything(slug: str) -> None:
    """Each body that another platform's cassette holds, at every step; then several in turn."""
    others = _bodies_of_others(slug)
    assert len(others) > 50
    for first, second in zip(others, others[1:] + others[:1], strict=True):
        assert _judged(slug, [(200, (), first)]) not in OFFERED, first
        assert _judged(slug, [(200, (), first), (200, (), second)]) not in OFFERED, (first, second)
