"""Names to addresses, asked by ourselves: a real server on loopback answers what each test wants."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from sonde_agent.net.names import Names, NoAnswer, SystemResolver

Answering = Callable[[dns.message.Message, dns.message.Message], None]


@contextlib.contextmanager
def server(answer: Answering) -> Iterator[tuple[int, list[str]]]:
    """Answer questions over UDP; gives the port, and the types that were asked for."""
    asked: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while data := sock.recvfrom(2048):
                if not data[0]:
                    return
                query = dns.message.from_wire(data[0])
                asked.append(dns.rdatatype.to_text(query.question[0].rdtype))
                reply = dns.message.make_response(query)
                with contextlib.suppress(LookupError):  # a test's way to stay silent
                    answer(query, reply)
                    sock.sendto(reply.to_wire(), data[1])

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock.getsockname()[1], asked
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", sock.getsockname())
        thread.join()


def add(reply: dns.message.Message, name: str, kind: str, *values: str) -> None:
    """Put a record into an answer."""
    reply.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *values))


def names(port: int) -> Names:
    """Somebody who asks that server."""
    return Names(SystemResolver(("127.0.0.1",), port))


def test_aliases_are_followed_and_each_name_is_asked_for_once() -> None:
    """The addresses at the end of the chain; the second look-up takes no time because nobody is asked."""

    def answer(query: dns.message.Message, reply: dns.message.Message) -> None:
        add(reply, query.question[0].name.to_text(), "CNAME", "edge.example.")
        add(reply, "edge.example.", "A", "192.0.2.1", "192.0.2.2")

    with server(answer) as (port, asked):
        own = names(port)
        first = own.look_up("www.example", 4, 2)
        again = own.look_up("www.example", 4, 2)
    assert set(first.addresses) == {"192.0.2.1", "192.0.2.2"}
    assert first.took_ms is not None
    assert again == (first.addresses, None)
    assert asked == ["A"]


def test_families_are_asked_apart_and_a_missing_one_is_told() -> None:
    """A name with IPv4 alone has no IPv6 address: that is told from a failure."""

    def answer(query: dns.message.Message, reply: dns.message.Message) -> None:
        if query.question[0].rdtype == dns.rdatatype.A:
            add(reply, "www.example.", "A", "192.0.2.1")

    with server(answer) as (port, asked):
        own = names(port)
        own.look_up("www.example", 4, 2)
        with pytest.raises(NoAnswer) as caught:
            own.look_up("www.example", 6, 2)
    assert caught.value.no_address
    assert asked == ["A", "AAAA"]


@pytest.mark.parametrize(
    ("rcode", "words"), [(dns.rcode.NXDOMAIN, "does not exist"), (dns.rcode.SERVFAIL, "answers SERVFAIL")]
)
def test_a_failure_is_no_missing_address(rcode: dns.rcode.Rcode, words: str) -> None:
    """A name that is gone, or a resolver that is broken, says nothing of a family."""
    with (
        server(lambda _query, reply: reply.set_rcode(rcode)) as (port, _),
        pytest.raises(NoAnswer, match=words) as caught,
    ):
        names(port).look_up("www.example", 6, 2)
    assert not caught.value.no_address


def test_silence_ends_in_its_time() -> None:
    """A dead resolver costs no more than what is left of a rule."""

    def silent(_query: dns.message.Message, _reply: dns.message.Message) -> None:
        raise LookupError

    with server(silent) as (port, _):
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="no answer"):
            names(port).look_up("www.example", 4, 0.3)
        assert time.monotonic() - began < 1.5


def test_what_is_no_name_is_not_asked_for() -> None:
    """A label of more than 63 characters exists nowhere."""
    with (
        server(lambda _query, _reply: None) as (port, asked),
        pytest.raises(NoAnswer, match="no name that DNS knows"),
    ):
        names(port).look_up(f"{'x' * 64}.example", 4, 2)
    assert asked == []
