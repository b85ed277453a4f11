"""Conditions are certain, or conclude nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.unlock_language import Fetch, answer, by_path, failing, in_turn, judged, rule

from sonde_unlock.exchange import Error
from sonde_unlock.match import every, quantified, some
from sonde_unlock.model import Quantifier
from sonde_unlock.verdict import Verdict

TRUTHS = (True, False, None)
# What stands for `not_in_region` here says: the condition under test held.
CASE = """
lists: {served: [GB, "7"], rounds: [a, b]}
secrets: {key: {optional: true}}
steps:
  - id: page
    for_each: {var: round, in: rounds}
    request: {method: GET, url: "https://www.example.com/{round}", follow: 3}
    capture:
      - {name: country, from: json, path: country}
      - {name: flag, from: json, path: flag}
      - {name: many, from: json, path: many, all: true}
  - {id: spare, run_if: {secret: key}, request: {method: GET, url: "https://www.example.com/s"}}
verdicts:
  - {when: WHEN, verdict: not_in_region}
"""
GB = answer('{"country": "GB", "flag": true, "many": [1, "FR"], "deep": [{"a": null, "b": 7, "c": {}}]}')
NOTHING = answer("{}")
EMPTY = answer("")
CUT = answer('{"country": "GB"}', truncated=True)
CHALLENGE = answer("<title>Just a moment...</title>")
LOST = failing(Error.RESET)
UNRESOLVED = failing(Error.DNS)


def holds(when: str, first: Fetch, second: Fetch | None = None) -> bool:
    """Whether a condition holds after the step's two rounds."""
    judgement = judged(rule(CASE.replace("WHEN", when)), in_turn(first, second or first))
    return judgement.verdict is Verdict.NOT_IN_REGION


@given(truths=st.lists(st.sampled_from(TRUTHS), max_size=5))
def test_unknown_is_neither_yes_nor_no(truths: list[bool | None]) -> None:
    """A quantifier is certain exactly where every way of settling the unknown gives the same."""

    def settled(left: list[bool | None]) -> list[list[bool]]:
        if not left:
            return [[]]
        heads = (True, False) if left[0] is None else (left[0],)
        return [[head, *tail] for head in heads for tail in settled(left[1:])]

    for join, certain in ((every, all), (some, any)):
        outcomes = {certain(case) for case in settled(truths)}
        assert join(truths) is (outcomes.pop() if len(outcomes) == 1 else None)
    if truths:
        none = quantified(Quantifier.NONE, truths)
        assert none is (None if some(truths) is None else not some(truths))


@pytest.mark.parametrize(
    ("when", "first", "second", "expected"),
    [
        ("{any_of: page, status: 2xx}", GB, LOST, True),
        ("{all_of: page, status: 2xx}", GB, LOST, False),
        ("{all_of: page, status: [200, 404]}", GB, GB, True),
        ("{none_of: page, status: 403}", GB, GB, True),
        ("{none_of: page, status: 403}", GB, LOST, False),
        ("{none_of: page, status: 403}", GB, CHALLENGE, False),
        ("{any_of: page, status: 200}", CHALLENGE, CHALLENGE, False),
        ("{none_of: page, body: absent}", GB, GB, True),
        ("{none_of: page, body: absent}", GB, EMPTY, False),
        ("{none_of: page, body: absent}", GB, CUT, False),
        ("{any_of: page, body: country}", CUT, CUT, False),
        ("{none_of: [{any_of: page, body: absent}]}", GB, EMPTY, False),
        ("{none_of: [{any_of: page, body: absent}]}", GB, GB, True),
        ("{any_of: [{any_of: page, body: absent}, {any_of: page, status: 200}]}", GB, GB, True),
        ("{all_of: [{any_of: page, body: absent}, {any_of: page, status: 200}]}", GB, GB, False),
        ("{any_of: page, error: true}", LOST, GB, True),
        ("{any_of: page, error: [timeout, reset]}", LOST, GB, True),
        ("{any_of: page, error: timeout}", LOST, GB, False),
        ("{any_of: page, error: true}", UNRESOLVED, GB, False),
        ("{none_of: page, error: true}", UNRESOLVED, GB, False),
        ("{any_of: page, json: {path: country, eq: GB}}", GB, GB, True),
        ("{any_of: page, json: {path: deep.0.b, in: [6, 7]}}", GB, GB, True),
        ("{any_of: page, json: {path: deep.0.b, in_var: served}}", GB, GB, False),
        ("{any_of: page, json: {path: deep.0.a, exists: false}}", GB, GB, True),
        ("{any_of: page, json: {path: deep.1, exists: true}}", GB, GB, False),
        ("{any_of: page, json: {path: absent, exists: false}}", answer("<html>"), EMPTY, False),
        ("{any_of: page, json: {path: country, matches: '^G'}}", GB, GB, True),
        ("{var: country, eq: GB}", GB, GB, True),
        ("{var: country, eq: GB}", NOTHING, GB, True),
        ("{var: country, in_var: served}", GB, GB, True),
        ("{var: country, in: [FR, DE]}", GB, GB, False),
        ("{var: country, matches: '^[A-Z]{2}$'}", GB, GB, True),
        ("{var: country, exists: true}", GB, GB, True),
        ("{var: country, exists: false}", NOTHING, NOTHING, True),
        ("{var: country, exists: false}", NOTHING, EMPTY, False),
        ("{var: country, exists: false}", NOTHING, CUT, False),
        ("{var: country, exists: false}", NOTHING, LOST, False),
        ("{none_of: [{var: country, eq: GB}]}", NOTHING, NOTHING, False),
        ("{var: flag, eq: true}", GB, GB, True),
        ("{var: flag, eq: 1}", GB, GB, False),
        ("{var: flag, eq: 'true'}", GB, GB, False),
        ("{var: many, in: [FR]}", GB, GB, True),
        ("{var: many, eq: 1}", GB, GB, True),
        ("{any_of: spare, status: 200}", GB, GB, False),
        ("{all_of: spare, status: 200}", GB, GB, False),
        ("{none_of: spare, status: 200}", GB, GB, True),
        ("{any_of: page, header: {x-a: '^b$'}}", answer("x", x_a="b"), GB, True),
        ("{any_of: page, header: {x-a: '.'}}", GB, GB, False),
        ("{any_of: page, status: 200, body: country}", GB, GB, True),
        ("{any_of: page, status: 404, body: country}", GB, GB, False),
        ("[{any_of: page, status: 200}, {var: country, eq: FR}]", GB, GB, False),
    ],
)
def test_a_condition_holds_only_where_it_certainly_does(
    when: str, first: Fetch, second: Fetch, *, expected: bool
) -> None:
    """Each kind of condition, over answers that say something and answers that do not."""
    assert holds(when, first, second) is expected


def test_any_hop_may_be_looked_at() -> None:
    """`location` is any hop's, `final_url` the last's, `status` and `body` those of the last."""
    hops: dict[str, Fetch] = {
        "/a": answer("", 302, location="/gb/"),
        "/b": answer("", 302, location="/gb/"),
        "/gb/": answer("home", 404),
    }
    for when in (
        "{all_of: page, location: '^/gb/'}",
        "{all_of: page, final_url: '^https://www\\.example\\.com/gb/$'}",
        "{all_of: page, status: 404, body: home}",
    ):
        judgement = judged(rule(CASE.replace("WHEN", when)), by_path(hops))
        assert judgement.verdict is Verdict.NOT_IN_REGION


@pytest.mark.parametrize(
    ("source", "given", "region"),
    [
        ("{name: r, from: json, path: a.0.b}", answer('{"a": [{"b": "gb"}]}'), "GB"),
        ("{name: r, from: json, path: a, transform: alpha3to2}", answer('{"a": "gbr"}'), "GB"),
        ("{name: r, from: json, path: a, transform: {map: {England: GB}}}", answer('{"a": "England"}'), "GB"),
        ("{name: r, from: json, path: a, transform: {map: {England: GB}}}", answer('{"a": "France"}'), ""),
        ("{name: r, from: json, path: a, transform: [base64, upper]}", answer('{"a": "Z2I"}'), "GB"),
        ("{name: r, from: json, path: a, transform: base64}", answer('{"a": "###"}'), ""),
        ("{name: r, from: json, path: a, transform: lower}", answer('{"a": "GB"}'), "GB"),
        ("{name: r, from: json, path: a}", answer('{"a": {"b": 1}}'), ""),
        ("{name: r, from: json, path: a}", answer('{"a": "Atlantis"}'), ""),
        ("{name: r, from: json, path: a}", answer('{"a": "UK"}'), ""),
        ("{name: r, from: body, regex: 'c=([A-Z]+)'}", answer("c=GB; c=FR"), "GB"),
        ("{name: r, from: 'header:X-Country'}", answer("x", x_country="gb"), "GB"),
        ("{name: r, from: 'cookie:cc'}", answer("x", set_cookie="cc=GB; Path=/"), "GB"),
        ("{name: r, from: 'cookie:cc', regex: '^.{2}'}", answer("x", set_cookie="cc=GB1; Path=/"), "GB"),
        ("{name: r, from: location, regex: '^/([a-z]{2})/'}", answer("x", 302, location="/gb/x"), "GB"),
        ("{name: r, from: url_path, regex: '^/([a-z]{2})$'}", answer("x"), "GB"),
        ("{name: r, from: final_url, regex: '/([a-z]{2})$'}", answer("x"), "GB"),
    ],
)
def test_a_region_is_captured_from_each_source(source: str, given: Fetch, region: str) -> None:
    """From body, JSON, header, cookie or URL; what is no country is told as none."""
    text = """
steps:
  - {id: page, request: {method: GET, url: "https://www.example.com/gb"}, capture: [SOURCE]}
verdicts:
  - {when: [{any_of: page, error: reset}], verdict: blocked}
  - {when: [{any_of: page, status: [200, 302]}], verdict: not_in_region, region: r}
"""
    assert judged(rule(text.replace("SOURCE", source)), given).region == region


def test_what_was_captured_can_be_looked_into() -> None:
    """Base64 of JSON in a page, as some players have it, is a capture of a capture."""
    text = """
steps:
  - id: page
    request: {method: GET, url: "https://www.example.com/"}
    capture:
      - {name: config, from: body, regex: 'id="config">([^<]+)<', transform: base64, required: true}
      - {name: market, from: "var:config", path: market}
      - {name: first, from: "var:config", regex: '"market":"(.)'}
verdicts:
  - {when: [{var: market, exists: true}, {var: first, eq: G}], verdict: available, region: market}
"""
    judgement = judged(rule(text), answer('<script id="config">eyJtYXJrZXQiOiJHQiJ9<'))
    assert (judgement.verdict, judgement.region) == (Verdict.AVAILABLE, "GB")


def test_the_first_capture_of_a_name_that_finds_something_wins() -> None:
    """Later ones are tried only where earlier ones found nothing."""
    text = CASE.replace("- {name: flag", "- {name: country, from: json, path: other}\n      - {name: flag")
    one = rule(text.replace("WHEN", "{var: country, eq: FR}"))
    answers: Any = {"/a": answer('{"other": "FR"}'), "/b": answer('{"country": "GB"}')}
    assert judged(one, by_path(answers)).verdict is Verdict.NOT_IN_REGION
