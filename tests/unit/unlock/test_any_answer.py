"""Whatever is answered, a run ends with a judgement, and chance says yes to nothing."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.unlock_language import SLUGS, answer, golden, inputs

from sonde_unlock import model
from sonde_unlock.engine import run
from sonde_unlock.exchange import Error, Exchange, Request
from sonde_unlock.guards import refused
from sonde_unlock.verdict import Judgement, Verdict

RULES = {slug: golden(slug) for slug in SLUGS}
header_names = st.sampled_from(["location", "set-cookie", "content-type", "retry-after", "cf-mitigated", "x"])
texts = st.text(max_size=60) | st.sampled_from(
    [
        "/",
        "https://www.netflix.com/gb/",
        "//",
        "http://[",
        "a=b; Path=/; Domain=.com",
        "a=b; Max-Age=-",
        "9" * 30,
    ]
)
bodies = st.binary(max_size=300) | st.sampled_from(
    [
        b'{"data":{"attributes":{"token":true}}}',
        b'{"routing":[]}',
        b"[]",
        b"null",
        b'{"assertion":{"a":1}}',
        b"\xff\xfe",
    ]
)


@st.composite
def exchanges(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what may become of a request."""
    return {
        "status": draw(st.sampled_from([0, 200, 204, 301, 302, 307, 403, 404, 429, 451, 500, 999, -1])),
        "headers": tuple(draw(st.lists(st.tuples(header_names, texts), max_size=4))),
        "body": draw(bodies),
        "truncated": draw(st.booleans()),
        "error": draw(st.none() | st.sampled_from(list(Error))),
        "detail": draw(texts),
    }


@given(
    slug=st.sampled_from(SLUGS),
    drawn=st.lists(exchanges(), min_size=1, max_size=8),
    family=st.sampled_from([4, 6]),
)
def test_whatever_comes_a_run_ends_with_a_judgement(
    slug: str, drawn: list[dict[str, Any]], family: int
) -> None:
    """No answer makes the engine raise, go on for ever, or say more than it may."""
    asked: list[Request] = []

    def fetch(request: Request) -> Exchange:
        asked.append(request)
        return Exchange(request, **drawn[len(asked) % len(drawn)])

    judgement = run(RULES[slug], inputs(family), fetch)
    assert isinstance(judgement, Judgement)
    assert len(asked) == len(judgement.trace) <= model.MAX_REQUESTS
    assert len(judgement.detail) <= 200
    assert all(not refused(request.url, ()) for request in asked)


@given(
    slug=st.sampled_from(SLUGS),
    body=st.binary(max_size=2000) | st.text(max_size=500).map(str.encode),
    status=st.integers(100, 599),
)
def test_no_random_body_is_available(slug: str, body: bytes, status: int) -> None:
    """Whatever a stranger answers to every request, a linted rule never says yes to it."""
    assert run(RULES[slug], inputs(), answer(body, status)).verdict not in (
        Verdict.AVAILABLE,
        Verdict.PARTIAL,
    )
