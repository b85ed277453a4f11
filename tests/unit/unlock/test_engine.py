"""A rule makes of answers what its author wrote, and of anything else nothing."""

import hashlib
import json

import pytest
from support.unlock_language import (
    GOLDEN,
    Fetch,
    answer,
    by_path,
    failing,
    golden,
    in_turn,
    inputs,
    judged,
    rule,
)

from sonde_unlock.cassette import Cassette, Player, fetcher
from sonde_unlock.engine import run
from sonde_unlock.exchange import Error, Exchange, Request
from sonde_unlock.reading import read_cassettes
from sonde_unlock.verdict import Verdict

CASSETTES = read_cassettes((GOLDEN / "cassettes.yaml").read_text(), "cassettes.yaml")
MARKER = b"<html>marker-of-a-player</html>"
TWO_STEPS = """
steps:
  - id: first
    request: {method: GET, url: "https://www.example.com/first"}
    capture: [{name: token, from: json, path: token, required: true}]
  - id: second
    fallback: first
    request: {method: GET, url: "https://www.example.com/second"}
    capture: [{name: token, from: json, path: token, required: true}]
  - id: third
    request: {method: POST, url: "https://www.example.com/third", form: {token: "{token}"}}
verdicts:
  - {when: [{any_of: third, body: 'marker-of-a-player'}], verdict: available, scope: full}
  - {when: [{any_of: first, body: 'refused-here'}], verdict: not_in_region}
"""


@pytest.mark.parametrize("cassette", CASSETTES, ids=lambda one: one.behaviour)
def test_a_rule_judges_each_recorded_behaviour(cassette: Cassette) -> None:
    """What a cassette expects is what the rule makes of it."""
    judgement = judged(
        golden(cassette.slug),
        fetcher(Player([cassette])),
        secrets=cassette.secrets,
        family=cassette.family or 4,
    )
    expect = cassette.expect
    assert (judgement.verdict, judgement.scope, judgement.region) == (
        expect.verdict,
        expect.scope,
        expect.region,
    )


def test_a_verdict_names_what_decided() -> None:
    """Entry, step, marker, host and status stand in the judgement."""
    decided = judged(rule(), answer(MARKER)).decided
    assert (decided.by, decided.step, decided.host, decided.status) == (1, "page", "www.example.com", 200)
    assert decided.marker == "any_of page body marker-of-a-player"


@pytest.mark.parametrize(
    ("fetch", "verdict"),
    [
        (answer(b""), Verdict.INCONCLUSIVE),
        (answer(MARKER, truncated=True), Verdict.INCONCLUSIVE),
        (answer(b"<title>Just a moment...</title>" + MARKER), Verdict.BLOCKED),
        (answer(MARKER, cf_mitigated="challenge"), Verdict.BLOCKED),
        (answer(b"<title>Access Denied</title>", 403), Verdict.BLOCKED),
        (answer(b"forbidden", 403), Verdict.INCONCLUSIVE),
        (answer(b"slow down", 429, retry_after="77"), Verdict.RATE_LIMITED),
        (answer("dies ist etwas anderes"), Verdict.INCONCLUSIVE),
        (failing(Error.TIMEOUT), Verdict.NETWORK_ERROR),
        (failing(Error.NO_ADDRESS), Verdict.NETWORK_ERROR),
        (answer(MARKER, 0), Verdict.NETWORK_ERROR),
    ],
)
def test_nothing_is_available_without_a_readable_marker(fetch: Fetch, verdict: Verdict) -> None:
    """An empty, cut or challenging answer is never a yes; the engine says what it was."""
    assert judged(rule(), fetch).verdict is verdict


def test_retry_after_is_kept() -> None:
    """What the platform asked for goes with RATE_LIMITED."""
    assert judged(rule(), answer(b"slow", 429, retry_after="77")).retry_after_s == 77


def test_no_ipv6_address_is_no_fault_of_the_exit() -> None:
    """Where every name lacks an AAAA, the family is unsupported; over IPv4 that is an error."""
    assert judged(rule(), failing(Error.NO_ADDRESS), family=6).verdict is Verdict.UNSUPPORTED_FAMILY
    assert judged(rule(), failing(Error.DNS), family=6).verdict is Verdict.NETWORK_ERROR


def test_a_refusal_without_browser_tls_says_nothing() -> None:
    """Block and proxy verdicts of a browser-profile rule are inconclusive over plain TLS; others stand."""
    netflix = golden("netflix")
    assert judged(netflix, answer(b"no", 403)).verdict is Verdict.PROXY_DETECTED
    plain = judged(netflix, answer(b"no", 403), plain_tls=True)
    assert plain.verdict is Verdict.INCONCLUSIVE
    assert "plain TLS" in plain.detail
    assert judged(rule(), answer(MARKER), plain_tls=True).verdict is Verdict.AVAILABLE


def test_a_fallback_is_asked_only_where_its_step_gave_nothing() -> None:
    """It replaces the capture that was missing, and the run goes on."""
    asked: list[str] = []

    def fetch(request: Request) -> Exchange:
        asked.append(request.step)
        bodies = {"first": b"{}", "second": b'{"token": "t1"}', "third": MARKER}
        return Exchange(request, status=200, body=bodies[request.step])

    assert judged(rule(TWO_STEPS), fetch).verdict is Verdict.AVAILABLE
    assert asked == ["first", "second", "third"]
    asked.clear()
    all_good = by_path({"/first": answer('{"token":"t"}'), "/third": answer(MARKER)})
    assert judged(rule(TWO_STEPS), all_good).verdict is Verdict.AVAILABLE


def test_a_missing_required_capture_ends_the_run() -> None:
    """Steps behind it are not asked, and nothing is available; what the list knows of the answer counts."""
    asked: list[str] = []

    def fetch(request: Request) -> Exchange:
        asked.append(request.step)
        return Exchange(request, status=200, body=b'{"error": "refused-here"}')

    judgement = judged(rule(TWO_STEPS), fetch)
    assert (judgement.verdict, asked) == (Verdict.NOT_IN_REGION, ["first", "second"])
    judgement = judged(rule(TWO_STEPS), answer("{}"))
    assert judgement.verdict is Verdict.INCONCLUSIVE
    assert judgement.detail.startswith("token was not found; third was not asked")


def test_a_429_ends_the_run() -> None:
    """Who is asked too often is asked no more."""
    requests: list[Request] = []

    def fetch(request: Request) -> Exchange:
        requests.append(request)
        return Exchange(request, status=429)

    assert judged(golden("netflix"), fetch).verdict is Verdict.RATE_LIMITED
    assert len(requests) == 1


def test_rounds_that_were_not_asked_count_as_unknown() -> None:
    """`all_of` rests on every round: after a 429 in the second, the first alone is not all."""
    replies = in_turn(answer(b"no", 403), answer(b"slow", 429))
    judgement = judged(golden("netflix"), replies)
    assert judgement.verdict is Verdict.RATE_LIMITED


def test_cookies_come_back_to_their_host_and_no_other() -> None:
    """A cookie set by one hop goes with the next to the same host, within its path, and to no other host."""
    sent: dict[str, str] = {}
    text = """
steps:
  - {id: page, request: {method: GET, url: "https://a.example.com/", follow: 5, cookies: {own: "1"}}}
verdicts:
  - {when: [{any_of: page, body: 'marker-of-a-player'}], verdict: available}
"""
    hops = {
        "https://a.example.com/": (302, {"location": "/in", "set-cookie": "id=7; Path=/; Secure"}),
        "https://a.example.com/in": (
            302,
            {"location": "https://b.example.com/", "set-cookie": "w=9; Domain=example.com"},
        ),
        "https://b.example.com/": (
            302,
            {"location": "https://other.net/", "set-cookie": "x=1; Domain=a.example.com"},
        ),
        "https://other.net/": (200, {}),
    }

    def fetch(request: Request) -> Exchange:
        sent[request.url] = dict(request.headers).get("cookie", "")
        status, headers = hops[request.url]
        return Exchange(request, status=status, headers=tuple(headers.items()), body=MARKER)

    assert judged(rule(text), fetch).verdict is Verdict.AVAILABLE
    assert sent == {
        "https://a.example.com/": "own=1",
        "https://a.example.com/in": "id=7",
        "https://b.example.com/": "w=9",
        "https://other.net/": "",
    }


def test_a_redirect_takes_no_credentials_elsewhere() -> None:
    """Another host gets no Authorization; a POST becomes a GET after 302 and stays a POST after 307."""
    text = """
secrets: {key: {default: key-of-the-web-client}}
steps:
  - id: page
    request:
     {method: POST, url: "https://a.example.com/", follow: 5, headers: {authorization: "{key}"}, json: {a: 1}}
verdicts:
  - {when: [{any_of: page, body: 'marker-of-a-player'}], verdict: available}
"""
    seen: list[tuple[str, bool, bytes]] = []
    hops = [(307, "/again"), (302, "https://b.example.com/"), (200, "")]

    def fetch(request: Request) -> Exchange:
        seen.append((request.method, "authorization" in dict(request.headers), request.body))
        status, location = hops[len(seen) - 1]
        return Exchange(
            request, status=status, headers=(("location", location),) if location else (), body=MARKER
        )

    assert judged(rule(text), fetch).verdict is Verdict.AVAILABLE
    assert seen == [("POST", True, b'{"a":1}'), ("POST", True, b'{"a":1}'), ("GET", False, b"")]


def test_generators_and_secrets_fill_in_requests() -> None:
    """uuid, hex, now and md5 are what they say; the operator's secret wins over the default."""
    text = """
variables: {device: {uuid: true}, salt: {hex: 5}, at: {now: true}, sum: {md5: "{salt}-{key}"}}
secrets: {key: {default: public}}
steps:
  - id: page
    request:
      method: POST
      url: "https://www.example.com/{salt}"
      json: [{d: "{device}", t: "{at}", s: "{sum}", k: "{key}"}]
verdicts:
  - {when: [{any_of: page, body: 'marker-of-a-player'}], verdict: available}
"""
    seen: list[Request] = []

    def fetch(request: Request) -> Exchange:
        seen.append(request)
        return Exchange(request, status=200)

    judged(rule(text), fetch)
    judged(rule(text), fetch, secrets={"key": "mine"})
    first, second = (json.loads(request.body)[0] for request in seen)
    assert first["d"] == "07070707-0707-4707-8707-070707070707"
    assert (seen[0].url, first["t"], first["k"], second["k"]) == (
        "https://www.example.com/07070",
        "1700000000",
        "public",
        "mine",
    )
    assert first["s"] == hashlib.md5(b"07070-public").hexdigest()
    assert first["s"] != second["s"]


def test_a_secret_that_is_missing_is_named_by_its_file() -> None:
    """Without it nothing is asked; one that is optional leaves out its steps alone."""
    text = """
secrets: {key: {OPTIONAL}}
steps:
  - {id: page, request: {method: GET, url: "https://www.example.com/", headers: {x-key: "{key}"}}}
verdicts:
  - {when: [{any_of: page, body: 'marker-of-a-player'}], verdict: available}
"""
    for optional in ("", "optional: true"):
        judgement = judged(rule(text.replace("OPTIONAL", optional)), answer(MARKER))
        assert judgement.verdict is Verdict.NOT_CONFIGURED
        assert "example.key" in judgement.detail
        assert judgement.trace == ()
    assert (
        judged(rule(text.replace("OPTIONAL", "")), answer(MARKER), secrets={"key": "k"}).verdict
        is Verdict.AVAILABLE
    )


def test_no_detail_shows_a_secret_a_cookie_or_a_token() -> None:
    """Even where a transport's own message holds them."""
    text = """
secrets: {key: {}}
steps:
  - id: page
    request: {method: GET, url: "https://www.example.com/", headers: {x-key: "{key}"}}
    capture: [{name: token, from: json, path: token, required: true}]
  - {id: next, request: {method: GET, url: "https://www.example.com/n?t={token}"}}
verdicts:
  - {when: [{any_of: next, body: 'marker-of-a-player'}], verdict: available}
  - {when: [{any_of: page, header: {set-cookie: never}}], verdict: blocked}
"""
    said = "GET /n?t=tok%2Fen-12345678 with operators-key and cookie-value failed"
    replies = in_turn(
        answer('{"token": "tok/en-12345678"}', set_cookie="c=cookie-value"), failing(Error.RESET, said)
    )
    judgement = judged(rule(text), replies, secrets={"key": "operators-key"})
    assert judgement.verdict is Verdict.INCONCLUSIVE
    only = judged(rule(text), failing(Error.RESET, said), secrets={"key": "operators-key"})
    assert only.verdict is Verdict.NETWORK_ERROR
    assert "operators-key" not in only.detail + judgement.detail
    assert "[hidden]" in only.detail
    assert max(map(len, (only.detail, judgement.detail))) <= 200


def test_run_if_leaves_a_step_out_only_where_it_certainly_does_not_hold() -> None:
    """The second look of a rule is spared where the first saw the marker, taken where it did not."""
    netflix = golden("netflix")
    steps = [hop.request.step for hop in judged(netflix, answer(b"og:video")).trace]
    assert steps == ["lic", "lic"]
    steps = [hop.request.step for hop in judged(netflix, answer(b"Oh no!")).trace]
    assert steps == ["lic", "lic", "orig"]


def test_evaluation_is_a_generator_of_hops() -> None:
    """Whoever drives it sees each redirect as a request of its own."""
    hops = {
        "/title/70143836": answer(b"", 301, location="/gb/title/70143836"),
        "/gb/title/70143836": answer(b"og:video"),
    }
    hops["/title/81280792"] = answer(b"gone", 404)
    judgement = run(golden("netflix"), inputs(), by_path(hops))
    assert (judgement.verdict, judgement.region) == (Verdict.AVAILABLE, "GB")
    assert [hop.status for hop in judgement.trace] == [301, 200, 404]
