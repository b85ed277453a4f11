"""The check `endpoint` against real servers on loopback, as the runner calls it."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.edges import OK, Authority, Edge, closed_port, reset, silent, then_silent, two_edges
from support.endpoints import HTTP, TCP, TLS, ended, every, one

from sonde_agent.checks.base import CheckImpossible, Context
from sonde_agent.net.icmp import Engines
from sonde_proto.quality import Quality


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that the checks here trust."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def https(authority: Authority) -> Iterator[Edge]:
    """A good HTTPS server."""
    with Edge(OK, authority.server("127.0.0.1", "edge.test")) as edge:
        yield edge


async def test_https_answer_has_every_phase_by_the_kernel(authority: Authority, https: Edge) -> None:
    """A good answer has all phases from kernel stamps, within the total, and says what was spoken."""
    got = await one(HTTP, https.url(), ca_file=authority.file)
    assert got.ok
    assert (got.status, got.body_bytes, got.http_version, got.tls_version) == (200, 5, "1.1", "TLSv1.3")
    assert (got.address, got.family, got.cert_issuer) == ("127.0.0.1", 4, "Test CA")
    assert got.quality == 0
    phases = got.connect_ms + got.tls_ms + got.first_byte_ms + got.transfer_ms
    assert got.connect_ms > 0
    assert got.tls_ms > 0
    assert got.first_byte_ms > 0
    assert got.total_ms == pytest.approx(phases + got.overhead_ms, rel=1e-3)
    assert not got.HasField("failure")


async def test_plain_http_over_ipv6() -> None:
    """IPv6 loopback works as IPv4 does, and the family is told."""
    with Edge(OK, address="::1") as edge:
        got = await one(HTTP, edge.url(), family=6)
    assert got.ok
    assert (got.address, got.family, got.quality) == ("::1", 6, 0)
    assert not got.HasField("tls_ms")


async def test_tcp_and_tls_kinds(authority: Authority, https: Edge) -> None:
    """The kinds tcp and tls end with their own handshake."""
    where = f"127.0.0.1:{https.port}"
    tcp, tls = await one(TCP, where), await one(TLS, where, ca_file=authority.file)
    assert tcp.ok
    assert not tcp.HasField("tls_ms")
    assert tls.ok
    assert tls.tls_version == "TLSv1.3"
    assert not tls.HasField("status")


async def test_closed_port_is_refused() -> None:
    """Nothing listens: refused, while connecting."""
    assert ended(await one(TCP, f"127.0.0.1:{closed_port()}")) == ("REFUSED", "TRANSPORT")


async def test_reset_in_the_handshake(authority: Authority) -> None:
    """A reset after ClientHello is a lost connection in the handshake."""
    with Edge(reset) as edge:
        got = await one(TLS, f"127.0.0.1:{edge.port}", ca_file=authority.file)
    assert ended(got) == ("RESET", "HANDSHAKE")


@pytest.mark.parametrize(
    ("answer", "stage"),
    [((), "FIRST_BYTE"), ((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal",), "TRANSFER")],
)
async def test_slow_answers_end_at_our_deadline(answer: tuple[bytes, ...], stage: str) -> None:
    """A server that stalls costs the deadline, not more, and the stage tells where it stalled."""
    with Edge(then_silent(*answer)) as edge:
        start = time.monotonic()
        got = await one(HTTP, edge.url(), timeout_ms=300)
    assert ended(got) == ("TIMEOUT", stage)
    assert 0.2 < time.monotonic() - start < 2


async def test_cancelling_leaves_no_thread_waiting() -> None:
    """A cancelled run's worker ends at once: its socket is shut, not waited for."""
    gone = threading.Event()

    def serve(stream: socket.socket) -> None:
        silent(stream)  # returns when the other side has shut its socket
        gone.set()

    with Edge(serve) as edge:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await one(HTTP, edge.url(), timeout_ms=60_000)
        assert await asyncio.to_thread(gone.wait, 5)


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", ("RESET", "TRANSFER")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", ("RESET", "TRANSFER")),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ("PROTOCOL", "TRANSFER")),
        (b"", ("RESET", "FIRST_BYTE")),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", ("PROTOCOL", "TRANSFER")),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", ("EXPECTATION", "EXPECT")),
    ],
    ids=["truncated", "truncated chunk", "garbage", "nothing", "huge headers", "503"],
)
async def test_bad_answers(answer: bytes, end: tuple[str, str]) -> None:
    """Each way to answer wrongly has a failure and a stage of its own."""
    with Edge(answer) as edge:
        got = await one(HTTP, edge.url())
    assert ended(got) == end
    assert not got.ok


async def test_chunked_body_and_cap() -> None:
    """A chunked body is read to its end, or to the cap, which is flagged."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = head + b"5;x=1\r\nhello\r\n6\r\n world\r\n0\r\nA: b\r\n\r\n"
    with Edge(answer) as edge:
        whole = await one(HTTP, edge.url(), expect={"body_contains": "hello world"})
        capped = await one(HTTP, edge.url(), max_body_bytes=4)
    assert whole.ok
    assert whole.body_bytes == 11
    assert capped.body_bytes == 4
    assert capped.quality & Quality.BODY_CAPPED


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [
        (("127.0.0.1",), -1, "expired"),
        (("other.test",), 30, "another"),
        (("127.0.0.1",), 30, "issuer is unknown"),
    ],
    ids=["expired", "wrong name", "unknown CA"],
)
async def test_certificates_that_are_not_acceptable(
    authority: Authority, tmp_path: Path, names: tuple[str, ...], days: int, words: str
) -> None:
    """Expired, wrong name and unknown CA are all certificate failures, told apart in words."""
    stranger = Authority(tmp_path, "Stranger") if "unknown" in words else authority
    with Edge(OK, stranger.server(*names, days=days)) as edge:
        got = await one(HTTP, edge.url(), ca_file=authority.file)
        insecure = await one(HTTP, edge.url(), expect={"insecure": True})
    assert ended(got) == ("CERTIFICATE", "HANDSHAKE")
    assert words in got.mismatch
    assert insecure.ok
    assert insecure.quality & Quality.INSECURE
    assert insecure.cert_issuer == stranger.name


async def test_no_common_tls_version_is_an_alert(authority: Authority) -> None:
    """A server that only speaks what we refuse ends in a TLS failure with the alert's words."""
    server = authority.server("127.0.0.1")
    server.minimum_version = server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # it has no RSA key
    with Edge(OK, server) as edge:
        got = await one(TLS, f"127.0.0.1:{edge.port}", ca_file=authority.file)
    assert ended(got) == ("TLS", "HANDSHAKE")
    assert "handshake failure" in got.mismatch


async def test_tls_to_a_server_without_it(authority: Authority) -> None:
    """Bytes that are no TLS are a wrong protocol, not a TLS failure."""

    def plain(stream: socket.socket) -> None:
        stream.recv(16)
        stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        silent(stream)

    with Edge(plain) as edge:
        got = await one(TLS, f"127.0.0.1:{edge.port}", ca_file=authority.file)
    assert ended(got) == ("PROTOCOL", "HANDSHAKE")


async def test_client_certificate(authority: Authority) -> None:
    """A server that asks for a client certificate is satisfied by ours, and refuses us without."""
    certificate, key = authority.leaf("client.test")
    with Edge(OK, authority.server("127.0.0.1", client_ca=authority.file)) as edge:
        known = await one(
            HTTP, edge.url(), ca_file=authority.file, client_cert_file=certificate, client_key_file=key
        )
        unknown = await one(HTTP, edge.url(), ca_file=authority.file)
    assert known.ok
    assert ended(unknown) == ("AUTH", "AUTH")


async def test_two_edges_of_one_name(authority: Authority) -> None:
    """connect_to measures each address of a name by itself, with the name's SNI and Host."""
    tls = authority.server("edge.test")
    told = b"CF-Cache-Status: HIT\r\nAge: 7\r\nCF-Ray: 8a-AMS\r\n"
    second = b"HTTP/1.1 500 Broken\r\n" + told + b"Content-Length: 0\r\n\r\n"
    with two_edges(tls, OK, second) as (good, bad):
        got = await every(
            HTTP,
            good.url("/x", host="edge.test"),
            ca_file=authority.file,
            connect_to=["127.0.0.1", "127.0.0.2"],
        )
        assert [endpoint.ok for endpoint in got] == [True, False]
        assert [endpoint.address for endpoint in got] == ["127.0.0.1", "127.0.0.2"]
        assert (got[1].cache_status, got[1].cache_age_s, got[1].pop) == ("hit", 7, "AMS")
        assert f"Host: edge.test:{good.port}".encode() in good.requests[0]
        assert good.requests[0].startswith(b"GET /x HTTP/1.1\r\n")
        assert len(bad.requests) == 1


async def test_sni_host_method_and_header_files(authority: Authority, tmp_path: Path) -> None:
    """SNI, Host, method and headers from files reach the server; a missing file is our own fault."""
    token = tmp_path / "token"
    token.write_text("Bearer abc\n")
    with Edge(OK, authority.server("edge.test")) as edge:
        fields: dict[str, Any] = {
            "ca_file": authority.file,
            "sni": "edge.test",
            "host": "www.test",
            "method": "HEAD",
        }
        got = await one(HTTP, edge.url(), header_files={"Authorization": str(token)}, **fields)
        lost = await one(HTTP, edge.url(), header_files={"Authorization": "/nowhere/token"}, **fields)
    assert got.ok
    assert edge.requests[0].startswith(b"HEAD / HTTP/1.1\r\nHost: www.test\r\n")
    assert b"Authorization: Bearer abc\r\n" in edge.requests[0]
    assert ended(lost) == ("LOCAL", "NONE")
    assert lost.mismatch == "file /nowhere/token on this agent: No such file or directory"


def redirect(location: str) -> bytes:
    """An answer that leads on."""
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_redirects_are_followed_hop_by_hop(authority: Authority, tmp_path: Path) -> None:
    """Each hop stands in the row with its phases; a header from a file is not carried to another origin."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    with Edge(OK, authority.server("127.0.0.1")) as last, Edge(redirect(last.url("/end"))) as first:
        fields: dict[str, Any] = {"ca_file": authority.file, "header_files": {"X-Key": str(secret)}}
        got = await one(HTTP, first.url(), max_redirects=3, **fields)
        stays = await one(HTTP, first.url(), **fields)
    assert got.ok
    assert (got.status, got.redirects) == (200, 1)
    hops = json.loads(got.hops)
    assert [hop["status"] for hop in hops] == [302, 200]
    assert hops[1]["url"] == last.url("/end")
    assert hops[1]["tls_ms"] > 0
    assert b"s3cret" in first.requests[0]
    assert b"s3cret" not in last.requests[0]
    assert (stays.status, stays.HasField("hops")) == (302, False)


async def test_redirects_that_are_not_followed(authority: Authority) -> None:
    """A loop ends at the limit, https never leads to plain http, and the policy is asked at every hop."""
    with Edge(b"") as loop:
        loop.serve = redirect(loop.url())
        looping = await one(HTTP, loop.url(), max_redirects=3)
    assert ended(looping) == ("EXPECTATION", "EXPECT")
    assert "more than 3 redirects" in looping.mismatch
    assert looping.redirects == 3
    with Edge(redirect("http://127.0.0.1/"), authority.server("127.0.0.1")) as secure:
        down = await one(HTTP, secure.url(), ca_file=authority.file, max_redirects=3)
    assert "plain http" in down.mismatch
    with Edge(redirect("http://127.0.0.9:81/")) as edge:
        context = Context(
            icmp=Engines(), refuse=lambda address, _port: "no" if address == "127.0.0.9" else None
        )
        forbidden = await one(HTTP, edge.url(), max_redirects=3, context=context)
    assert ended(forbidden) == ("POLICY", "TRANSPORT")
    assert forbidden.mismatch == "no"


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ({"status": [404]}, "status 200, expected 404"),
        ({"body_contains": "bye"}, "does not contain"),
        ({"body_regex": "^(h+e)+$"}, "does not match"),
        ({"header_regex": {"Content-Length": "^6$"}}, "header Content-Length '5' does not match '^6$'"),
        ({"header_regex": {"X-Gone": "."}}, "no header X-Gone"),
        ({"min_cert_days": 31}, "ends in 29 days"),
    ],
)
async def test_expectations(authority: Authority, https: Edge, expect: dict[str, Any], words: str) -> None:
    """What is not as the plan expects says what was expected and what came."""
    got = await one(HTTP, https.url(), ca_file=authority.file, expect=expect)
    assert ended(got) == ("EXPECTATION", "EXPECT")
    assert words in got.mismatch


async def test_a_spec_that_cannot_run_says_why() -> None:
    """A malformed spec is our side's, with one clear sentence."""
    with pytest.raises(CheckImpossible, match="can't be searched in linear time"):
        await one(HTTP, "http://127.0.0.1/", expect={"body_regex": r"(a)\1"})
    with pytest.raises(CheckImpossible, match="is no http"):
        await one(HTTP, "ftp://127.0.0.1/")
    with pytest.raises(CheckImpossible, match="needs a port"):
        await one(TCP, "example.test")


async def test_every_address_of_a_name() -> None:
    """every_address gives a result for each address that the name has here."""
    with Edge(OK) as edge:
        got = await every(HTTP, edge.url(host="localhost"), every_address=True, family=4)
    assert [endpoint.address for endpoint in got] == ["127.0.0.1"]
    assert got[0].HasField("resolve_ms")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace")
def test_a_host_without_the_family_is_unsupported() -> None:
    """Where the host has no way out for a family, that is our side's lack and no loss of the target's."""
    command = [sys.executable, "-m", "support.check", "tcp", "[2001:db8::1]:443", "--json"]
    here = Path(__file__).parents[1]
    done = subprocess.run(
        ["unshare", "--net", *command], cwd=here, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    endpoint = json.loads(done.stdout)[0]["endpoint"]
    assert (endpoint["failure"], endpoint["mismatch"]) == ("unsupported", "this host has no IPv6")
