"""A rule with mistakes gets a message for each, and nothing but messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.unlock_language import GOLDEN, HEAD, ONE_STEP, SLUGS, document, golden, rule

from sonde_unlock.document import Problem, RuleError
from sonde_unlock.model import Rule
from sonde_unlock.parse import parse
from sonde_unlock.parse_cassette import parse_cassettes
from sonde_unlock.reading import read_cassettes, read_rule

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6), inner, max_size=3)
        | st.dictionaries(st.integers() | st.none(), inner, max_size=1)
    ),
    max_leaves=12,
)


def only_rule_or_rule_error(changed: dict[str, Any]) -> bool:
    """Parse a rule so changed; whether it is a rule or has its mistakes listed."""
    try:
        return isinstance(rule(**changed), Rule)
    except RuleError as error:
        return bool(error.problems)


def problems(text: str) -> tuple[Problem, ...]:
    """Return the mistakes in a rule's YAML."""
    with pytest.raises(RuleError) as caught:
        read_rule(text, "broken.yaml")
    return caught.value.problems


def test_three_mistakes_are_three_messages_with_their_lines() -> None:
    """An unknown key, a broken pattern and an undefined name are told at once, each where it stands."""
    text = (GOLDEN / "bbc-iplayer.yaml").read_text()
    text = text.replace("confidence: high", "confidense: high").replace('\'"result"', '\'("result"')
    text = text.replace("region: {const: GB}", "region: country")
    found = problems(text)
    lines = text.splitlines()
    assert [(lines[one.line - 1].split()[0], one.text.split(":")[0]) for one in found] == [
        ("confidense:", "confidense"),
        ("-", "verdicts[0].when[0].body"),
        ("-", "verdicts[1].region"),
    ]
    assert [one.line for one in found] == [10, 21, 22]
    assert "did you mean 'confidence'?" in found[0].text
    assert "RE2" in found[1].text
    assert "nothing captures 'country'" in found[2].text


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{any_of: page,", "{any_of: pages,", "no step is 'pages'"),
        ("https://www.example.com/", "https://www.example.com/{titel}", "'titel' is not defined"),
        ("https://www.example.com/", "www.example.com", "must begin with https://"),
        ("method: GET", "method: get", "must be one of: GET"),
        ("method: GET", "method: GET, json: {a: b}", "GET has no body"),
        ("method: GET", "method: POST, json: {a: b}, raw: c", "more than one body"),
        ("method: GET", "method: GET, follow: 99", "must be 0 to 10"),
        ("method: GET", "method: GET, headers: {Cookie: a=b}", "set by the engine"),
        ("method: GET", "method: GET, headers: {'a b': c}", "no name of a header"),
        ("id: page,", "id: page, allow_host: '\\.example\\.com$',", "no pattern is meant"),
        ("id: page,", "id: page, fallback: other,", "no earlier step is called 'other'"),
        ("id: page,", "id: page, run_if: {any_of: page, status: 200},", "no earlier step is 'page'"),
        ("id: page,", "id: page, run_if: {secret: key},", "no secret is called 'key'"),
        ("id: page,", "id: page, for_each: {var: a, in: b},", "no list, nor earlier capture, is 'b'"),
        ("id: page,", "id: page, for_each: {var: a},", "'in' is missing"),
        ("id: page,", "id: page, capture: [{name: a, from: json}],", "needs a path"),
        ("id: page,", "id: page, capture: [{name: a, from: body, path: b}],", "needs a regex"),
        ("id: page,", "id: page, capture: [{name: a, from: env}],", "must be one of: json, body"),
        ("id: page,", "id: page, capture: [{name: a, from: 'var:b'}],", "'b' is not defined"),
        ("id: page,", "id: page, capture: [{name: A, from: location}],", "is no name"),
        ("id: page,", "id: page, capture: [{name: a, from: body, regex: '(a)(b)'}],", "more than one group"),
        (
            "id: page,",
            "id: page, capture: [{name: a, from: location, transform: rot13}],",
            "must be one of: upper",
        ),
        ("body: 'marker-of-a-player'", "status: 2", "must be 100 to 599"),
        ("body: 'marker-of-a-player'", "status: 9xx", "must be a status"),
        ("body: 'marker-of-a-player'", "error: dns", "must be one of: timeout"),
        ("body: 'marker-of-a-player'", "json: {path: a}", "exactly one of: eq"),
        ("body: 'marker-of-a-player'", "json: {path: a..b, eq: 1}", "must be keys and indexes"),
        ("{any_of: page, body: 'marker-of-a-player'}", "{any_of: page}", "says nothing of the answers"),
        ("{any_of: page, body: 'marker-of-a-player'}", "{var: a, eq: b}", "'a' is not defined"),
        ("{any_of: page, body: 'marker-of-a-player'}", "{body: a}", "exactly one of: any_of"),
        ("{any_of: page, body: 'marker-of-a-player'}", "page", "must be a table"),
        ("[{any_of: page, body: 'marker-of-a-player'}]", "[]", "must have 1 to"),
        ("verdict: available", "verdict: yes", "must be one of: available"),
        ("verdict: available", "verdict: network_error", "is the engine's to give"),
        ("verdict: available", "verdict: available, region: {const: UKX}", "is no country"),
        ("verdict: available", "verdict: available, default: true", "unknown key"),
        ("\nsteps:", "\nvariables: {a: '{b}'}\nsteps:", "a text holds no {NAME}"),
        ("\nsteps:", "\nvariables: {a: {md5: '{b}'}}\nsteps:", "'b' is not defined"),
        ("\nsteps:", "\nvariables: {a: {hex: 0}}\nsteps:", "must be 1 to 128"),
        ("\nsteps:", "\nvariables: {a: b}\nlists: {a: [c]}\nsteps:", "'a' is defined twice"),
        ("\nsteps:", "\nsecrets: {a: {env: HOME}}\nsteps:", "unknown key"),
        ("\nsteps:", "\nslug: twice\nsteps:", "stands here twice"),
        ("checked_on: 2026-11-21", "checked_on: 2026-11-31", "is no day"),
        ("slug: example", "slug: Ex_ample", "is no slug"),
        ('version: "1"', "version: 1", "must be text"),
        ("enabled: true", "enabled: yes", "must be true or false"),
        ("{level: geo-api", "{level: certain", "must be one of: geo-api"),
        ("unlock-rule/1", "unlock-rule/2", "must be one of: unlock-rule/1"),
        ("{profile: browser}", "{profile: browser, max_body: 99999999}", "must be 1000 to"),
        ("provenance: [{source: invented, date: 2026-11-21}]", "provenance: []", "must have 1 to 30"),
    ],
)
def test_a_mistake_is_told(old: str, new: str, said: str) -> None:
    """Each says what is wrong, at a line of the file."""
    text = HEAD + ONE_STEP
    assert old in text
    found = problems(text.replace(old, new))
    assert any(said in one.text for one in found), found
    assert all(0 < one.line <= len(text.splitlines()) + 1 for one in found)


def test_the_golden_rules_are_read_whole() -> None:
    """What a rule says is in the model."""
    hbo = golden("hbo-max")
    assert [step.id for step in hbo.steps] == ["token", "boot", "me", "home", "play"]
    assert hbo.steps[2].allow_host == ("hbomax.com", "max.com")
    assert hbo.secrets[0].optional
    assert golden("bbc-iplayer").families == {4: "expected", 6: "unsupported"}
    assert golden("netflix").client.headers == (("accept-language", "en-US,en;q=0.9"),)


def test_a_document_without_lines_is_a_rule_too() -> None:
    """Packs hold documents; a rule is the same from both."""
    for slug in SLUGS:
        one = golden(slug)
        assert parse(one.document, {}) == one


@given(document=values)
def test_no_document_makes_parse_raise_anything_else(document: Any) -> None:
    """A document is a rule or a RuleError; as a file of cassettes too."""
    for read in (parse, parse_cassettes):
        with pytest.raises(RuleError) as caught:
            read(document, {})
        assert caught.value.problems


@given(key=st.sampled_from([*document(), "variables", "secrets", "lists", "regions"]), value=values)
def test_no_part_makes_parse_raise_anything_else(key: str, value: Any) -> None:
    """Whatever stands in one place of a good rule, the outcome is a rule or a RuleError."""
    assert only_rule_or_rule_error({key: value})


@given(
    place=st.sampled_from(["for_each", "run_if", "fallback", "capture", "allow_host", "request", "id"]),
    value=values
    | st.fixed_dictionaries({"name": values, "from": values, "transform": values, "regex": values})
    | st.fixed_dictionaries({"method": st.just("POST"), "url": values, "json": values, "cookies": values})
    | st.lists(st.fixed_dictionaries({"any_of": values, "json": values, "status": values}), max_size=2),
)
def test_no_step_makes_parse_raise_anything_else(place: str, value: Any) -> None:
    """The same, within a step and within the conditions of a verdict."""
    step = {"id": "page", "request": {"method": "GET", "url": "https://www.example.com/"}}
    for changed in (
        {"steps": [{**step, place: value}]},
        {"verdicts": [{"when": value, "verdict": "available"}]},
    ):
        assert only_rule_or_rule_error(changed)


@given(text=st.text(max_size=200) | st.from_regex(r"([a-z]{1,3}: [\[{&*!a-z'\"#-]{0,5}\n){1,5}"))
def test_no_text_makes_reading_raise_anything_else(text: str) -> None:
    """A file is YAML of a rule or a RuleError that names the file."""
    for read in (read_rule, read_cassettes):
        with pytest.raises(RuleError, match=r"some\.yaml"):
            read(text, "some.yaml")
