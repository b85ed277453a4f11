"""A recording becomes a cassette that its rule judges as it judged the platform, or none at all."""

import json
from typing import Any

import pytest

from sonde_collector.rules import recorder
from sonde_collector.rules.recorder import NotRecordable
from sonde_collector.rules.recording import About
from sonde_unlock.cassette import Cassette
from sonde_unlock.exchange import Error, Exchange, Request
from sonde_unlock.model import Rule
from sonde_unlock.parse import parse
from sonde_unlock.reading import read_cassettes

HOST = "https://api.acme.example"
TOKEN = "Zm9vYmFyMTIzNDU2Nzg5MHF3ZXJ0eXVpb3A"
DAY = "2026-11-28"
NAMED = About("", "", 4, DAY)


def rule(steps: list[dict[str, Any]], verdicts: list[dict[str, Any]], **more: Any) -> Rule:
    """Return a rule of these steps and verdicts."""
    document = {
        "schema": "unlock-rule/1", "slug": "acme-tv", "name": "Acme", "version": "1", "checked_on": DAY,
        "confirmed_live": None, "enabled": False, "provenance": [{"source": "invented", "date": DAY}],
        "confidence": "low", "evidence": {"level": "geo-api", "shows": "x", "cannot_show": "y"},
        "families": {"v4": "expected", "v6": "expected"}, "client": {"profile": "plain"},
        "steps": steps, "verdicts": verdicts, **more,
    }  # fmt: skip
    return parse(document, {})


def answer(step: str, url: str, body: str, status: int = 200, **headers: str) -> Exchange:
    """Return an exchange as it was recorded."""
    kind = {"content-type": "application/json" if body.startswith("{") else "text/html"}
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Exchange(
        Request(step, "GET", HOST + url), status, tuple({**kind, **named}.items()), body=body.encode()
    )


def made(of: Rule, *exchanges: Exchange, about: About = NAMED) -> Cassette:
    """Return the cassette that is made of a recording, as it reads back."""
    (cassette,) = read_cassettes(recorder.make(of, exchanges, about).text, "x")
    return cassette


PAGE = rule(
    [{"id": "page", "request": {"method": "GET", "url": f"{HOST}/title", "follow": 2}}],
    [
        {
            "when": [{"any_of": "page", "body": "play-now-button"}],
            "verdict": "available",
            "region": {"const": "SE"},
        }
    ],
)


def test_a_long_page_keeps_what_the_rule_looks_at() -> None:
    """Of a page of a megabyte some lines stay, and the verdict with them."""
    page = "<html>" + "<p>nothing here</p>\n" * 20_000 + "<b>play-now-button</b>" + "<p>more</p>" * 20_000
    (recorded,) = recorder.make(PAGE, [answer("page", "/title", page)], NAMED).text.split("cassettes:")[1:]
    assert len(recorded) < 3000
    assert "play-now-button" in recorded
    assert "was trimmed to" in recorded


def test_what_only_the_whole_page_shows_is_left_whole() -> None:
    """Where the trimmed page is judged otherwise, the page stays as it was."""
    spread = rule(
        [{"id": "page", "request": {"method": "GET", "url": f"{HOST}/title"}}],
        [{"when": [{"any_of": "page", "body": "(?s)acme-(b)egin.*until-here"}], "verdict": "available"}],
    )
    page = "<html>" + "x y z " * 100 + "acme-begin" + "x y z " * 4000 + "until-here" + "x y z " * 100
    (recorded,) = made(spread, answer("page", "/title", page)).exchanges
    assert len(recorded.outcome.body) == len(page)  # type: ignore[union-attr]


def test_every_hop_of_a_redirect_is_there() -> None:
    """A redirect and where it leads are two exchanges, which lead to each other after scrubbing too."""
    away = f"{HOST}/se/{'d41d8cd98f00b204e9800998ecf8427e'}?sessionId=abcdef123456"
    cassette = made(
        PAGE,
        answer("page", "/title", "", 302, location=away, set_cookie="who=me"),
        answer("page", away.removeprefix(HOST), "<html>play-now-button</html>"),
    )
    told = repr(cassette)
    assert len(cassette.exchanges) == 2
    assert cassette.expect.verdict.value == "available"
    for secret in ("abcdef123456", "d41d8cd98f", "who=me"):
        assert secret not in told


def test_a_token_in_a_path_and_a_made_up_id_are_patterns() -> None:
    """What is another in each run is matched by a pattern; what the answer gave must come back."""
    session = rule(
        [
            {"id": "open", "request": {"method": "GET", "url": f"{HOST}/d/{{device}}/open"},
             "capture": [{"name": "session", "from": "json", "path": "token", "required": True}]},
            {"id": "ask", "request": {"method": "GET", "url": f"{HOST}/s/{{session}}/where?f=1"},
             "capture": [{"name": "country", "from": "json", "path": "country"}]},
        ],
        [{"when": [{"var": "country", "in": ["SE", "NO"]}], "verdict": "available", "region": "country"}],
        variables={"device": {"uuid": True}},
    )  # fmt: skip
    device = "6f0e4a52-5e4f-4c5b-9d2b-0a3c5f3f9a10"
    cassette = made(
        session,
        answer("open", f"/d/{device}/open", json.dumps({"token": TOKEN})),
        answer("ask", f"/s/{TOKEN}/where?f=1", '{"country": "SE"}'),
    )
    first, second = cassette.exchanges
    assert first.mints == second.consumes == ("session",)
    assert second.match.query == {"f": "1"}
    assert (cassette.behaviour, cassette.country) == ("available-se", "SE")
    assert TOKEN not in repr(cassette)
    assert device not in repr(cassette)


@pytest.mark.parametrize("error", [Error.CERTIFICATE, Error.POLICY, Error.UNREACHABLE, Error.PROTOCOL])
def test_a_failure_of_our_own_is_no_behaviour_of_a_platform(error: Error) -> None:
    """What the platform never saw makes no cassette."""
    failed = Exchange(Request("page", "GET", f"{HOST}/title"), error=error)
    with pytest.raises(NotRecordable, match="was not the platform"):
        made(PAGE, failed)


def test_a_timeout_is_a_behaviour() -> None:
    """What a platform does to a client can be played: it is a fault of the cassette."""
    failed = Exchange(Request("page", "GET", f"{HOST}/title"), error=Error.TIMEOUT)
    assert made(PAGE, failed).expect.verdict.value == "network_error"


def test_half_a_recording_is_none() -> None:
    """A rule that asks more than was recorded makes no cassette."""
    with pytest.raises(NotRecordable, match="no answer to page"):
        made(PAGE, answer("page", "/title", "", 302, location=f"{HOST}/else"))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"schema": "unlock-exchanges/2"}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_recording_is_one_line(data: bytes) -> None:
    """Another version's, or anybody's file: a reason, no traceback."""
    with pytest.raises(NotRecordable, match="no recording that is known here") as caught:
        recorder.read(data, PAGE, 4)
    assert "\n" not in str(caught.value)
