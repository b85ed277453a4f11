"""A rule that could lie is told so before it is packed."""

import pytest
from support.unlock_language import HEAD, ONE_STEP, SLUGS, golden

from sonde_unlock.lint import lint
from sonde_unlock.reading import read_rule

WHEN = "[{any_of: page, body: 'marker-of-a-player'}]"
STEP = '  - {id: page, request: {method: GET, url: "https://www.example.com/"}}'
VERDICT = "  - {when: [{any_of: page, body: 'marker-of-a-player'}], verdict: available}"
CAPTURE = '{id: page, capture: [CAPTURE], request: {method: GET, url: "https://www.example.com/"}}'


def found(text: str) -> list[str]:
    """Return what lint says of a rule."""
    return [problem.text for problem in lint(read_rule(text, "example.yaml"))]


@pytest.mark.parametrize("slug", SLUGS)
def test_lint_has_nothing_against_the_golden_rules(slug: str) -> None:
    """They are what a rule should be."""
    assert lint(golden(slug)) == []


@pytest.mark.parametrize(
    "when",
    [
        "[{any_of: page, status: 200}]",
        "[{none_of: page, body: 'geo-blocked'}]",
        "[{none_of: [{any_of: page, body: 'geo-blocked'}]}, {any_of: page, status: 2xx}]",
        "[{any_of: page, header: {server: nginx}}]",
        "[{any_of: page, json: {path: error, exists: false}}]",
        "[{any_of: page, error: reset}]",
        "[{any_of: [{any_of: page, body: 'marker-of-a-player'}, {any_of: page, status: 200}]}]",
    ],
)
def test_availability_needs_something_that_was_seen(when: str) -> None:
    """A status, an error, a header, or that something is absent, is no evidence."""
    assert any("rests on no marker" in text for text in found(HEAD + ONE_STEP.replace(WHEN, when)))


@pytest.mark.parametrize(
    ("when", "where"),
    [
        ("[{any_of: page, body: '.*'}]", "anything at all"),
        ("[{any_of: page, body: '<html'}]", "any page"),
        ("[{any_of: page, body: '(?i)accept all'}]", "a consent page"),
        ("[{any_of: page, body: '\\d{3}'}]", "any JSON error"),
        ("[{any_of: page, json: {path: status, exists: true}}]", "any JSON error"),
        ("[{any_of: page, final_url: 'example'}]", "where nothing redirects"),
        ("[{any_of: page, location: 'x*'}]", "anything at all"),
    ],
)
def test_a_marker_that_any_page_shows_is_none(when: str, where: str) -> None:
    """Pages of no meaning are looked through; beside a good marker a weak one does no harm."""
    assert any(where in text for text in found(HEAD + ONE_STEP.replace(WHEN, when)))
    both = when[:-1] + ", {any_of: page, body: 'marker-of-a-player'}]"
    assert found(HEAD + ONE_STEP.replace(WHEN, both)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            VERDICT,
            VERDICT.replace("available", "not_in_region"),
            "no entry can say that the platform is available",
        ),
        (VERDICT, VERDICT.replace("available", "partial"), "needs a scope"),
        (
            VERDICT,
            f"{VERDICT}\n{VERDICT.replace('available', 'available, scope: other')}",
            "never reached: entry 1",
        ),
        (STEP, STEP + "\n" + STEP.replace("page", "more"), "'more' serves no verdict"),
        (STEP, "  - " + CAPTURE.replace("CAPTURE", "{name: a, from: location}"), "nothing uses 'a'"),
        ("\nsteps:", "\nvariables: {a: b}\nsteps:", "nothing uses 'a'"),
        ("\nsteps:", "\nsecrets: {a: {}}\nsteps:", "nothing uses 'a'"),
        ("\nsteps:", "\nlists: {a: [b]}\nsteps:", "nothing uses 'a'"),
        ("\nsteps:", "\nregions: [GB, UK]\nsteps:", "'UK' is no country"),
        ("verdict: available", "verdict: available, region: {const: ZZ}", "'ZZ' is no country"),
        ("date: 2026-11-21", "date: yesterday", "must be YYYY"),
        ("https://", "http://", "must be https"),
        ("www.example.com", "192.0.2.1", "no domain name"),
        ("www.example.com", "localhost", "no domain name"),
        ("www.example.com", "www.example.com:8443", "names a port"),
        ("method: GET", "method: GET, headers: {User-Agent: x}", "gives it away"),
        ("id: page,", "id: page, allow_host: example.net,", "not among example.net"),
    ],
)
def test_what_makes_a_rule_doubtful_is_told(old: str, new: str, said: str) -> None:
    """Each objection names itself, at a line."""
    text = HEAD + ONE_STEP
    assert old in text
    assert any(said in one for one in found(text.replace(old, new))), found(text.replace(old, new))
    assert all(problem.line for problem in lint(read_rule(text.replace(old, new), "x")))


def test_an_offer_that_may_be_passed_over_shadows_nothing_weaker() -> None:
    """Available is passed over where a required capture is missing: the same conditions may then say no."""
    verdicts = f"{VERDICT}\n{VERDICT.replace('available', 'not_in_region')}"
    assert found(HEAD + ONE_STEP.replace(VERDICT, verdicts)) == []


CHAIN = """
secrets: {key: {}}
steps:
  - id: first
    request: {method: GET, url: "https://www.example.com/", headers: {x-key: "{key}"}}
    capture: [{name: host, from: json, path: host, required: true}, {name: region, from: json, path: country}]
  - {id: next, allow_host: example.com, request: {method: GET, url: "https://{host}/"}}
verdicts:
  - {when: [{any_of: next, body: 'marker-of-a-player'}], verdict: available, region: region}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("allow_host: example.com, ", "", "the step needs allow_host"),
        (", required: true", "", "a later step needs 'host'"),
        ("path: country", "path: country, all: true", "one, not all"),
        ("path: country", "path: country, transform: {map: {x: England}}", "'England' is no country"),
        ("https://{host}/", "https://{key}.example.com/", "a secret (key) must not"),
    ],
)
def test_what_comes_from_answers_is_bounded(old: str, new: str, said: str) -> None:
    """A captured host, value or region is held to what the rule states."""
    assert found(HEAD + CHAIN) == []
    assert any(said in one for one in found(HEAD + CHAIN.replace(old, new)))
