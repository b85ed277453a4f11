"""The endpoint check's pure parts: any input gives a result or a clear error."""

import contextlib
import errno
import itertools
import re
import socket
import ssl
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sonde_agent.checks.endpoint.cache import cache_age_s, cache_status, point_of_presence
from sonde_agent.checks.endpoint.certificate import certificate_facts
from sonde_agent.checks.endpoint.dns_message import NotDns, question, read
from sonde_agent.checks.endpoint.failures import classify, scrub
from sonde_agent.checks.endpoint.http1 import Answer, NotHttp, request
from sonde_agent.checks.endpoint.linear_regex import BadPattern, LinearRegex, TooCostly
from sonde_agent.checks.endpoint.pure import next_hop, parse_host_port, parse_url
from sonde_agent.net.stamps import SLACK_NS, Stamp, interval
from sonde_proto.v1 import results_pb2 as pb

QUESTION = question("a.test", "A")
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x\r\n world\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello world",
]


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda data: b"HTTP/1.1 200 OK\r\n" + data))
def test_any_bytes_are_an_answer_or_a_clear_error(data: bytes) -> None:
    """Foreign bytes never break the HTTP parser, and are never counted beyond what came."""
    answer = Answer("GET", 100, keep=True)
    with contextlib.suppress(NotHttp, EOFError):
        answer.feed(data)
        answer.end()
    assert answer.body_bytes == len(answer.body) <= min(100, len(data))


@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 120)))
def test_an_answer_does_not_depend_on_how_it_is_cut(data: bytes, cuts: list[int]) -> None:
    """The same bytes in any pieces give the same answer."""
    answer = Answer("GET", 1000, keep=True)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        answer.feed(data[start:end])
    answer.end()
    assert (answer.status, bytes(answer.body)) == (200, b"hello world")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_certificate_or_a_value_error(data: bytes) -> None:
    """The DER walk ends on every input."""
    with contextlib.suppress(ValueError):
        assert len(certificate_facts(data).sha256) == 64


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: QUESTION[:12] + tail))
def test_any_bytes_are_a_dns_answer_or_a_clear_error(data: bytes) -> None:
    """Foreign bytes never break the DNS reader."""
    with contextlib.suppress(NotDns):
        assert read(QUESTION, data).rcode >= 0


@given(
    st.dictionaries(
        st.sampled_from(["cache-status", "x-cache", "age", "cf-ray", "x-served-by"]), st.text(max_size=60)
    )
)
def test_any_headers_give_short_facts(headers: dict[str, str]) -> None:
    """Whatever a CDN says, the words stay short and the age a number."""
    assert len(cache_status(headers) or "") <= 32
    assert len(point_of_presence(headers) or "") <= 32
    assert 0 <= (cache_age_s(headers) or 0) < 2**31


@given(st.text(max_size=80))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    """URLs, ports and redirects never break on foreign text."""
    for parse in (parse_url, lambda text: parse_url("http://" + text), parse_host_port):
        with contextlib.suppress(ValueError):
            assert parse(text)
    next_hop(parse_url("https://a.test/x"), "GET", 302, text)


@pytest.mark.parametrize(
    ("location", "status", "method", "to"),
    [
        ("/b?c#d", 302, "POST", ("GET", "https://a.test/b?c")),
        ("//b.test:8443/x", 307, "POST", ("POST", "https://b.test:8443/x")),
        ("https://[2001:db8::1]/", 303, "PUT", ("GET", "https://[2001:db8::1]/")),
        ("https://user:word@b.test/", 301, "GET", ("GET", "https://b.test/")),
    ],
)
def test_redirects_lead_on(location: str, status: int, method: str, to: tuple[str, str]) -> None:
    """A redirect resolves against the URL, keeps or changes the method as RFC 9110 says, drops user info."""
    hop = next_hop(parse_url("https://a.test/a/"), method, status, location)
    assert hop is not None
    assert (hop.method, str(hop.url)) == to


@pytest.mark.parametrize(
    "text", ["host", "host:0", "host:65536", ":1", "[::1]", "[::1]x:1", "a b:1", "host:1x", "::1"]
)
def test_host_and_port_must_both_stand(text: str) -> None:
    """A missing or malformed port is an error that shows how to write it."""
    with pytest.raises(ValueError, match=r"port|host name"):
        parse_host_port(text)


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "\0"])
def test_a_header_value_cannot_end_the_request(value: str) -> None:
    """A file with a line break can't smuggle a header."""
    with pytest.raises(ValueError, match="header X-A must be one line"):
        request("GET", "/", {"X-A": value})


@pytest.mark.parametrize(
    ("error", "stage", "failure"),
    [
        (OSError(errno.ECONNREFUSED, "x"), pb.STAGE_TRANSPORT, pb.FAILURE_REFUSED),
        (OSError(errno.EHOSTUNREACH, "x"), pb.STAGE_TRANSPORT, pb.FAILURE_UNREACHABLE),
        (OSError(errno.EPIPE, "x"), pb.STAGE_FIRST_BYTE, pb.FAILURE_RESET),
        (OSError(errno.EMFILE, "x"), pb.STAGE_TRANSPORT, pb.FAILURE_LOCAL),
        (TimeoutError(), pb.STAGE_TRANSPORT, pb.FAILURE_TIMEOUT),
        (TimeoutError(), pb.STAGE_RESOLVE, pb.FAILURE_DNS),
        (socket.gaierror(socket.EAI_NONAME, "x"), pb.STAGE_RESOLVE, pb.FAILURE_NO_ADDRESS),
        (socket.gaierror(socket.EAI_AGAIN, "x"), pb.STAGE_RESOLVE, pb.FAILURE_DNS),
        (ssl.SSLError(1, "x"), pb.STAGE_HANDSHAKE, pb.FAILURE_TLS),
        (ssl.SSLEOFError(8, "x"), pb.STAGE_HANDSHAKE, pb.FAILURE_RESET),
    ],
)
def test_exceptions_are_classified(
    error: Exception, stage: pb.Stage.ValueType, failure: pb.Failure.ValueType
) -> None:
    """Each known exception has its failure."""
    end = classify(error, stage)
    assert end is not None
    assert end.failure == failure


def test_a_defect_of_ours_is_not_classified() -> None:
    """An exception that no target can cause is left to the runner."""
    assert classify(KeyError("x"), pb.STAGE_HANDSHAKE) is None


@given(st.ip_addresses())
def test_foreign_texts_lose_their_addresses(address: object) -> None:
    """No address stays in the words of an unknown error."""
    assume(str(address) != "::")
    assert str(address) not in scrub(f"cannot reach {address} port 1")


@given(st.from_regex(r"[ab]{0,3}", fullmatch=True), st.text("ab\n", max_size=12), st.data())
def test_linear_search_agrees_with_re(piece: str, text: str, data: st.DataObject) -> None:
    """Where `re` is safe, the linear search says the same."""
    frame = st.sampled_from(
        [
            "%s",
            "^%s",
            "%s$",
            "(%s)*b",
            "(?:%s|ba){2}",
            "[^a]%s?",
            r"\b%s\w+",
            "(?i)%sA",
            "(?m)^%s$",
            r"\A.%s\Z",
        ]
    )
    pattern = data.draw(frame) % re.escape(piece)
    try:
        expected = re.search(pattern, text) is not None
    except re.error:
        return
    assert LinearRegex(pattern).search(text) == expected


def test_no_pattern_hangs() -> None:
    """A pattern that would keep a backtracking search busy for years ends within seconds."""
    start = time.monotonic()
    assert not LinearRegex(r"^(a+)+$").search("a" * 200_000 + "!")
    assert not LinearRegex(r"(x+x+)+y").search("x" * 200_000)
    with contextlib.suppress(TooCostly):
        LinearRegex(r"(a|b|ab)*c.{50}d" * 3).search("ab" * 100_000)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("pattern", [r"(a)\1", "(?=a)", "(?<!a)b", "(", "a{1000}{1000}", "(?>a)", "a*+"])
def test_patterns_that_need_backtracking_are_refused(pattern: str) -> None:
    """What a linear search can't do is said when the pattern is read."""
    with pytest.raises(BadPattern):
        LinearRegex(pattern)


@given(st.integers(0, 10**12), st.integers(0, 10**9), st.integers(-(10**10), 10**10))
def test_a_stepped_clock_is_not_measured(start: int, took: int, step: int) -> None:
    """Whatever step the wall clock makes between two stamps, the interval stays within the monotonic one."""
    got = interval(Stamp(10**18 + start, start), Stamp(10**18 + start + took + step, start + took))
    assert 0 <= got.ns <= took + SLACK_NS
    assert got.kernel or got.ns == took
