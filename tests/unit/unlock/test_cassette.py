"""A cassette answers what it says it answers, and nothing else."""

import attrs
import pytest
from support.unlock_language import GOLDEN

from sonde_unlock.cassette import Fault, FaultKind, Incoming, Player, Reply, Unmatched, fetcher
from sonde_unlock.document import RuleError
from sonde_unlock.exchange import Error, Request
from sonde_unlock.reading import read_cassettes

FILE = """
schema: unlock-cassettes/1
slug: example
provenance: synthetic
captured_at: 2026-11-21
cassettes:
  - behaviour: one
    family: 6
    tls: browser
    exchanges:
      - match:
          host: www.example.com
          method: POST
          path: /start
          query: {a: "1"}
          headers: {Authorization: 'Bearer .+'}
          cookies: {id: '[0-9]+'}
          body: ["grant=a b", "x"]
        reply: {status: 201, headers: {Set-Cookie: [a=<<t>>, b=2]}, json: {token: <<t>>}}
        mints: [t]
      - match: {host: www.example.com, path_pattern: '/in/[a-z]+'}
        consumes: [t]
        reply: {status: 200, base64: aGk=}
      - {match: {host: www.example.com, path: /slow}, fault: slow_body, reply: {status: 200, text: abcdef}}
      - {match: {host: www.example.com, path: /cut}, fault: truncated, reply: {status: 200, text: abcdef}}
      - {match: {host: www.example.com, path: /gone}, fault: dns_nxdomain}
    expect: {verdict: available}
"""
GOOD = Incoming(
    "POST",
    "www.example.com",
    "/start?b=2&a=1",
    (("authorization", "Bearer k"), ("cookie", "id=7; other=1")),
    b"x=1&grant=a+b",
)


def player(text: str = FILE) -> Player:
    """Return a player of a file's cassettes."""
    return Player(read_cassettes(text, "example.yaml"))


def test_a_matcher_demands_all_that_it_states() -> None:
    """The good request is answered; each that differs in one thing is not."""
    assert isinstance(player().answer(GOOD), Reply)
    for changed in (
        {"method": "GET"},
        {"host": "example.com"},
        {"path_with_query": "/start?a=2"},
        {"path_with_query": "/start/?a=1"},
        {"headers": (("cookie", "id=7"),)},
        {"headers": (("authorization", "Basic x"), ("cookie", "id=7"))},
        {"headers": (("authorization", "Bearer k"), ("cookie", "id=x"))},
        {"body": b"x=1"},
    ):
        assert player().answer(attrs.evolve(GOOD, **changed)) is None


def test_a_token_is_fresh_and_must_come_back() -> None:
    """It opens the second exchange in a query, header or body; nothing else does, nor another player's."""
    playing = player()
    inside = Incoming("GET", "www.example.com", "/in/a")
    assert playing.answer(inside) is None
    tokens = []
    for _ in range(2):
        reply = playing.answer(GOOD)
        assert isinstance(reply, Reply)
        assert [name for name, _ in reply.headers] == ["Set-Cookie", "Set-Cookie", "content-type"]
        tokens.append(reply.headers[0][1].removeprefix("a="))
        assert f'"{tokens[-1]}"'.encode() in reply.body
    assert len(set(tokens)) == 2
    for token in tokens:
        for carried in (
            Incoming("GET", "www.example.com", f"/in/a?t={token}"),
            Incoming("GET", "www.example.com", "/in/a", (("authorization", f"Bearer {token}"),)),
            Incoming("GET", "www.example.com", "/in/a", (), f"t={token}".encode()),
        ):
            assert playing.answer(carried) == Reply(
                200, (("content-type", "application/octet-stream"),), b"hi"
            )
            assert player().answer(carried) is None


def test_a_plain_client_gets_the_plain_reply() -> None:
    """Where the world looks at the ClientHello, everything else is refused; other hosts are nobody's."""
    plain = Incoming("GET", "www.example.com", "/anything", browser_tls=False)
    assert player().answer(plain) == Reply(403)
    assert player().answer(Incoming("GET", "other.example.com", "/", browser_tls=False)) is None


def test_faults_are_what_a_transport_tells() -> None:
    """In process a fault is its error; a cut body is an answer that is cut."""
    fetch = fetcher(player())
    request = Request("s", "GET", "https://www.example.com/slow", profile="browser")
    assert fetch(request).error is Error.TIMEOUT
    cut = fetch(Request("s", "GET", "https://www.example.com/cut", profile="browser"))
    assert (cut.status, cut.body, cut.truncated, cut.error) == (200, b"abc", True, None)
    gone = fetch(Request("s", "GET", "https://www.example.com/gone", profile="browser"))
    assert (gone.status, gone.error) == (0, Error.DNS)
    assert player().answer(Incoming("GET", "www.example.com", "/gone")) == Fault(FaultKind.DNS_NXDOMAIN)


def test_what_nothing_answers_is_raised() -> None:
    """In process an unmatched request is an exception that names it."""
    with pytest.raises(Unmatched, match=r"s: GET www\.example\.com/other\?a=b"):
        fetcher(player())(Request("s", "GET", "https://www.example.com/other?a=b", profile="browser"))


def test_a_body_is_no_larger_than_asked_for() -> None:
    """The cap of the request holds in process too."""
    text = FILE.replace("tls: browser", "tls: any").replace("fault: truncated, ", "")
    got = fetcher(player(text))(Request("s", "GET", "https://www.example.com/cut", max_body=4))
    assert (got.body, got.truncated) == (b"abcd", True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("mints: [t]", "mints: [u]", "one of them is missing"),
        ("mints: [t]", "once: true", "unknown key"),
        ("consumes: [t]", "consumes: [u]", "no exchange mints 'u'"),
        ("behaviour: one", "behaviour: One", "is no slug"),
        ("family: 6", "family: 5", "must be any, 4 or 6"),
        ("base64: aGk=", "base64: '*'", "is no base64"),
        ("base64: aGk=", "text: a, json: {}", "more than one body"),
        ("fault: dns_nxdomain", "fault: boom", "must be one of: timeout"),
        ("fault: dns_nxdomain", "fault: reset, reply: {status: 200}", "has no reply"),
        ("fault: dns_nxdomain", "mints: []", "needs a reply or a fault"),
        ("fault: slow_body, reply: {status: 200, text: abcdef}", "fault: slow_body", "needs a reply"),
        ("path: /slow", "path: /slow, path_pattern: x", "must have a path, or"),
        ("provenance: synthetic\n", "", "'provenance' is missing"),
        ("tls: browser", "plain: {status: 403}", "needs tls: browser"),
        ("{verdict: available}", "{verdict: maybe}", "must be one of"),
        ("status: 201", "status: 99", "must be 200 to 599"),
        ("host: www.example.com\n", "host: WWW.example.com\n", "small letters"),
    ],
)
def test_a_mistake_in_a_cassette_is_told(old: str, new: str, said: str) -> None:
    """With its line, as in a rule."""
    assert old in FILE
    with pytest.raises(RuleError) as caught:
        read_cassettes(FILE.replace(old, new), "example.yaml")
    assert any(said in problem.text and problem.line for problem in caught.value.problems), caught.value


def test_a_behaviour_is_there_once_for_a_family() -> None:
    """Two of a name would make a replay a matter of chance."""
    text = (GOLDEN / "cassettes.yaml").read_text().replace("behaviour: none-kz", "behaviour: ok-us")
    with pytest.raises(RuleError, match="'ok-us' is there twice"):
        read_cassettes(text, "cassettes.yaml")
