"""DNS over TLS in front of a plain resolver: a caller who says nothing more holds nobody."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import cast

import dns.message
import dns.query
import dns.rrset
import pytest

from sonde_lab.certificates import Authority
from sonde_lab.world import dns_over_tls
from sonde_lab.world.leaves import Leaves

NAME = "resolver.example"


class Resolver(asyncio.DatagramProtocol):
    """Answers every question with one address; the first datagram of each question is lost."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answer at the second time."""
        question = dns.message.from_wire(data)
        self.heard.append(question.id)
        if self.heard.count(question.id) > 1:
            answer = dns.message.make_response(question)
            answer.answer = [dns.rrset.from_text(question.question[0].name, 60, "IN", "A", "203.0.113.9")]
            self.transport.sendto(answer.to_wire(), address)


@pytest.fixture
def trust(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS of the server, and of a caller who believes its authority."""
    authority = Authority.new("lab")
    file = tmp_path / "ca.pem"
    file.write_text(authority.pem)
    return Leaves(authority).context(NAME), ssl.create_default_context(cafile=str(file))


def connected(port: int, calling: ssl.SSLContext) -> ssl.SSLSocket:
    """A caller."""
    return calling.wrap_socket(socket.create_connection(("127.0.0.1", port), 5), server_hostname=NAME)


async def ended(server: asyncio.Server) -> None:
    """Stop serving, and wait for every connection's end."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=5)
    await asyncio.sleep(0)


async def test_a_caller_who_says_nothing_holds_nobody(
    trust: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One holds its connection open, another is answered at once; a lost datagram is sent again."""
    monkeypatch.setattr(dns_over_tls, "_ASK_S", 0.2)
    serving, calling = trust
    loop = asyncio.get_running_loop()
    transport, resolver = await loop.create_datagram_endpoint(Resolver, local_addr=("127.0.0.1", 0))
    where = transport.get_extra_info("sockname")[:2]
    server = await dns_over_tls.start(("127.0.0.1", 0), where, serving)
    port = server.sockets[0].getsockname()[1]
    with await asyncio.to_thread(connected, port, calling):
        for name in ("a.example", "b.example"):
            question = dns.message.make_query(name, "A")
            answer = await asyncio.to_thread(
                dns.query.tls, question, "127.0.0.1", 5, port,
                ssl_context=calling, server_hostname=NAME,
            )  # fmt: skip
            assert [item.address for item in answer.answer[0]] == ["203.0.113.9"]
        assert len(resolver.heard) == 4
    await ended(server)
    transport.close()


async def test_a_resolver_that_is_gone_ends_the_call(trust: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """The caller sees the end of the connection, not a wait for ever."""
    serving, calling = trust
    server = await dns_over_tls.start(("127.0.0.1", 0), ("127.0.0.1", 9), serving)
    query = dns.message.make_query("a.example", "A").to_wire()

    def ask() -> bytes:
        with connected(server.sockets[0].getsockname()[1], calling) as caller:
            caller.settimeout(5)
            caller.sendall(len(query).to_bytes(2) + query)
            try:
                return caller.recv(100)
            except (ConnectionResetError, ssl.SSLEOFError):
                return b""

    assert await asyncio.to_thread(ask) == b""
    await ended(server)
