"""Rules and answers of strangers cost a bounded amount of everything, and reach nothing they should not."""

import json
import re
import tracemalloc

import pytest
from support.unlock_language import answer, by_path, judged, rule

from sonde_unlock import model
from sonde_unlock.answer import MAX_JSON_PARTS, read_json
from sonde_unlock.capture import MAX_CHARACTERS, MAX_VALUES
from sonde_unlock.compose import MAX_BODY
from sonde_unlock.document import RuleError
from sonde_unlock.engine import MAX_READ_BYTES
from sonde_unlock.exchange import Exchange, Request
from sonde_unlock.guards import refused
from sonde_unlock.pattern import BadPattern, pattern
from sonde_unlock.reading import read_document, read_rule
from sonde_unlock.template import PLACEHOLDER, CannotFill, fill
from sonde_unlock.verdict import Verdict

WHERE_TO = """
steps:
  - id: first
    request: {method: GET, url: "https://www.example.com/first"}
    capture: [{name: where, from: json, path: where, required: true}]
  - {id: next, request: {method: GET, url: "URL"}, allow_host: [example.com]}
verdicts:
  - {when: [{any_of: next, body: 'marker-of-a-player'}], verdict: available}
"""
LOOP = """
lists: {titles: ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]}
steps:
STEPS
verdicts:
  - {when: [{any_of: page0, body: 'marker-of-a-player'}], verdict: available}
"""


@pytest.mark.parametrize(
    "where",
    [
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://2130706433/",
        "https://localhost/",
        "https://metadata/",
        "https://evil.net/",
        "https://example.com.evil.net/",
        "https://evilexample.com/",
        "https://user@example.com/",
        "https://example.com@evil.net/",
        "https://example.com\\@evil.net/",
        "https://example.com:8443/",
        "https://example.com:x/",
        "https://exämple.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "//example.com/",
        "javascript:alert(1)",
        "https://",
        "",
        "https://a.example.com/ x",
        "https://" + "a" * 9000 + ".example.com/",
    ],
)
def test_no_answer_chooses_whom_we_ask_beyond_allow_host(where: str) -> None:
    """A link from an answer is followed only to a named host below the allowed domains, on the usual port."""
    judgement = judged(rule(WHERE_TO.replace("URL", "{where}")), answer(json.dumps({"where": where})))
    assert [hop.request.step for hop in judgement.trace] == ["first"]
    assert judgement.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "host", ["evil.net/", "evil.net#", "evil.net?", "a@evil.net", "10.0.0.1", "x y", "a\r\nb", ""]
)
def test_no_answer_leaves_the_host_that_it_is_part_of(host: str) -> None:
    """What stands in the host of a URL stays part of a host below the allowed domains."""
    text = WHERE_TO.replace("URL", "https://{where}/x")
    judgement = judged(
        rule(text),
        lambda request: Exchange(request, status=200, body=b'{"where": %s}' % json.dumps(host).encode()),
    )
    assert [hop.request.step for hop in judgement.trace] == ["first"]


def test_an_allowed_host_is_asked() -> None:
    """The guard lets through what the rule means."""
    text = WHERE_TO.replace("URL", "https://api.{where}/x")
    fetch = by_path(
        {
            "/first": answer('{"where": "eu.example.com"}'),
            "api.eu.example.com/x": answer("marker-of-a-player"),
        }
    )
    assert judged(rule(text), fetch).verdict is Verdict.AVAILABLE


def test_a_captured_host_without_allow_host_is_not_asked() -> None:
    """Even where nobody linted the rule."""
    text = WHERE_TO.replace("URL", "https://{where}/x").replace(", allow_host: [example.com]", "")
    judgement = judged(rule(text), answer('{"where": "www.example.com"}'))
    assert len(judgement.trace) == 1
    assert "allow_host" in judgement.detail


def test_a_captured_value_adds_no_header_cookie_or_parameter() -> None:
    """Line ends and semicolons make a step unaskable; in a path or query they are escaped."""
    text = """
steps:
  - id: first
    request: {method: GET, url: "https://www.example.com/first"}
    capture: [{name: t, from: json, path: t, required: true}]
  - {id: head, request: {method: GET, url: "https://www.example.com/h", headers: {x-t: "{t}"}}}
  - {id: cook, request: {method: GET, url: "https://www.example.com/c", cookies: {t: "{t}"}}}
  - {id: path, request: {method: GET, url: "https://www.example.com/p/{t}?q={t}"}}
  - {id: form, request: {method: POST, url: "https://www.example.com/f", form: {t: "{t}"}}}
verdicts:
  - {when: [{any_of: path, body: 'marker-of-a-player'}], verdict: available}
"""
    judgement = judged(rule(text), answer('{"t": "a;b\\r\\nx: y&z=1#?"}'))
    assert [hop.request.step for hop in judgement.trace] == ["first", "path", "form"]
    written = "a%3Bb%0D%0Ax%3A%20y%26z%3D1%23%3F"
    assert judgement.trace[1].request.url == f"https://www.example.com/p/{written}?q={written}"
    assert judgement.trace[2].request.body == b"t=a%3Bb%0D%0Ax%3A+y%26z%3D1%23%3F"


@pytest.mark.parametrize(
    "location",
    [
        "ftp://www.example.com/",
        "https://127.0.0.1/",
        "http://u:p@www.example.com/",
        "https://x.example.com:22/",
        "//[::1]/",
    ],
)
def test_a_redirect_leaves_neither_http_nor_names(location: str) -> None:
    """It is kept as the answer that it is, and not followed."""
    text = """
steps:
  - {id: page, request: {method: GET, url: "https://www.example.com/", follow: 5}}
verdicts:
  - {when: [{any_of: page, body: 'marker-of-a-player'}], verdict: available}
"""
    judgement = judged(rule(text), answer(b"moved", 302, location=location))
    assert len(judgement.trace) == 1
    assert "not followed" in judgement.detail


def test_a_run_ends() -> None:
    """Redirects that lead in circles, in every round of every step, end with `MAX_REQUESTS`."""
    step = """
  - id: pageN
    for_each: {var: tN, in: titles}
    request: {method: GET, url: "https://www.example.com/{tN}", follow: 10}"""
    steps = "\n".join(step.replace("N", str(number)) for number in range(model.MAX_STEPS))
    judgement = judged(rule(LOOP.replace("STEPS", steps)), answer(b"again", 302, location="/again"))
    assert len(judgement.trace) == model.MAX_REQUESTS
    assert judgement.verdict is Verdict.INCONCLUSIVE


def test_a_run_reads_a_bounded_amount() -> None:
    """Large bodies in every round end with `MAX_READ_BYTES`; no request asks for more than is left."""
    step = '  - {id: page0, for_each: {var: t0, in: titles}, request: {method: GET, url: "https://www.example.com/{t0}"}}'
    asked: list[int] = []

    def fetch(request: Request) -> Exchange:
        asked.append(request.max_body)
        return Exchange(request, status=200, body=b"x" * (request.max_body + 10))

    judgement = judged(rule(LOOP.replace("STEPS", step)), fetch)
    assert sum(len(hop.body) for hop in judgement.trace) <= MAX_READ_BYTES
    assert all(hop.truncated for hop in judgement.trace)
    assert max(asked) == model.MAX_BODY_BYTES


def test_for_each_over_an_answer_is_bounded() -> None:
    """More values than rounds are asked by none."""
    text = """
steps:
  - id: first
    request: {method: GET, url: "https://www.example.com/first"}
    capture: [{name: many, from: json, path: many, all: true, required: true}]
  - {id: each, for_each: {var: one, in: many}, request: {method: GET, url: "https://www.example.com/{one}"}}
verdicts:
  - {when: [{any_of: each, body: 'marker-of-a-player'}], verdict: available}
"""
    few = judged(rule(text), answer('{"many": [1, 2, 3]}'))
    many = judged(rule(text), answer(b'{"many": [' + b",".join(b"%d" % n for n in range(11)) + b"]}"))
    assert (len(few.trace), len(many.trace)) == (4, 1)


@pytest.mark.parametrize(
    "text",
    ["a" * 1001, "(a{1000}){1000}", "((a{100}){100}){100}", "(", r"(a)\1", "(?=a)", r"[\pL]{1000}", "\ud800"],
)
def test_a_hostile_pattern_is_refused(text: str) -> None:
    """Too long, too large when repeated, malformed, or in need of backtracking."""
    with pytest.raises(BadPattern):
        pattern(text)


def test_a_pattern_that_backtracks_elsewhere_is_linear_here() -> None:
    """What would hang Python's own `re` for ever ends, on the largest body; in the time limit of a test."""
    body = b"a" * model.MAX_BODY_BYTES
    for text in ("(a+)+$b", "(a|aa)+b", "(.*)(.*)(.*)b", "a?" * 30 + "b"):
        assert not pattern(text).search(body)


def test_a_hostile_json_costs_bounded_memory() -> None:
    """What a small text makes of memory is bounded before it is parsed; deep nesting is no error of ours."""
    tracemalloc.start()
    assert read_json(b"[" + b"[]," * 900_000 + b"[]]") is None
    assert read_json(b"[" * 100_000 + b"]" * 100_000) is None
    assert read_json(b"[" * 90_000) is None
    assert read_json(b"9" * 100_000) is None
    assert read_json(b"[" + b"{}," * (MAX_JSON_PARTS // 2 - 2) + b"{}]") is not None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_captures_are_bounded() -> None:
    """A value that is too long is none; `all` keeps so many different values, and so many characters."""
    text = r"""
steps:
  - id: first
    request: {method: GET, url: "https://www.example.com/first"}
    capture: [{name: long, from: body, regex: '(a+)'}, {name: many, from: body, regex: '\d+', all: true}]
  - {id: next, request: {method: POST, url: "https://www.example.com/n", raw: "{long}"}}
  - {id: each, for_each: {var: one, in: many}, request: {method: GET, url: "https://www.example.com/{one}"}}
verdicts:
  - {when: [{any_of: next, body: 'marker-of-a-player'}], verdict: available}
"""
    exact = judged(rule(text), answer(b"a" * MAX_CHARACTERS))
    assert len(exact.trace[1].request.body) == MAX_CHARACTERS
    beyond = judged(rule(text), answer(b"a" * (MAX_CHARACTERS + 1)))
    assert len(beyond.trace) == 1
    numbers = b" ".join(b"%d" % number for number in range(MAX_VALUES * 3))
    assert len(judged(rule(text), answer(numbers)).trace) == 1


def test_a_template_expands_to_a_bounded_size() -> None:
    """A value repeated a thousand times is never written out."""
    tracemalloc.start()
    with pytest.raises(CannotFill):
        fill("{a}" * 5000, {"a": "x" * 60_000}, MAX_BODY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000
    assert fill("{a}-{a}{b}", {"a": "{b}", "b": 1}, 100) == "{b}-{b}1"


def test_yaml_can_neither_explode_nor_call() -> None:
    """Aliases count as what they expand to; tags, deep nesting and large files are refused."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    for text, said in (
        (bomb, "too large"),
        ("a: &a [*a]", "too large"),
        ("[" * 5000, "within each other"),
        ("a: !!python/object/apply:os.system ['true']", "tag"),
        ("a: !env HOME", "tag"),
        ("x" * 600_000, "longer"),
        ("a: [", "not YAML"),
        ("", "empty"),
        ("\x00", "not YAML"),
    ):
        with pytest.raises(RuleError, match=re.escape(said)):
            read_rule(text, "hostile.yaml")


def test_words_are_what_they_say() -> None:
    """Norway is no falsehood, a day is a text, and an octal is no number."""
    read = read_document(
        "[NO, no, on, 2026-11-21, 0o7, 010, 1_000, 1e3, 1.5, 12, true, null, '12']", "x", 1000
    )[0]
    assert read == ["NO", "no", "on", "2026-11-21", "0o7", "010", "1_000", "1e3", 1.5, 12, True, None, "12"]


def test_a_rule_has_no_way_to_a_file_or_the_environment() -> None:
    """A placeholder names what the rule defines; nothing else is ever filled in."""
    assert not PLACEHOLDER.findall("{HOME} ${HOME} {/etc/passwd} {0} {a.b} {a!r} {__class__}")
    with pytest.raises(RuleError, match="not defined"):
        rule(WHERE_TO.replace("URL", "https://www.example.com/{home}"))


def test_the_guard_says_why() -> None:
    """Every refusal has its reason; what may be asked has none."""
    assert refused("https://www.example.com/a?b=c", ("example.com",)) == ""
    assert "not among" in refused("https://www.example.net/", ("example.com",))
