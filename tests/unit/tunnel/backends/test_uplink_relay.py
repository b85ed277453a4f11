"""Datagrams through the relay's one direction, on loopback."""

import errno
import socket
from collections.abc import Iterator

import pytest

from sonde_agent.tunnel.backends.uplink_relay import Ledger, Shovel


def pair() -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets that are connected to each other."""
    one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (one, other):
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
    one.connect(other.getsockname())
    other.connect(one.getsockname())
    return one, other


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, ...]]:
    """Far end and near end of the source, near end and far end of the sink."""
    sockets = (*pair(), *pair())
    yield sockets
    for sock in sockets:
        sock.close()


def test_passes_everything_on(ends: tuple[socket.socket, ...]) -> None:
    """Every datagram arrives whole and in order, whatever its size, and however many wait at once."""
    far, source, sink, taker = ends
    shovel, ledger = Shovel(source, sink), Ledger()
    sent = [bytes([number % 256]) * size for number, size in enumerate([0, 1, 1400, 9000, 0, 60] * 5)]
    for data in sent:
        far.send(data)
    moved = 0
    while moved < len(sent):
        moved += shovel.move(ledger)
    assert [taker.recv(65536) for _ in sent] == sent
    assert ledger.error == 0


def test_nothing_waits(ends: tuple[socket.socket, ...]) -> None:
    """Where nothing waits nothing is moved, and that is no error of the network's."""
    _, source, sink, _ = ends
    ledger = Ledger()
    assert Shovel(source, sink).move(ledger) == 0
    assert ledger.error == 0


def test_refusal_is_noted(ends: tuple[socket.socket, ...]) -> None:
    """A closed port at the other end is noted, and the relay goes on."""
    far, source, sink, taker = ends
    shovel, ledger = Shovel(source, sink), Ledger()
    back = Shovel(sink, source)
    taker.close()
    for _ in range(2):
        far.send(b"hello")
        shovel.move(ledger)
        back.move(ledger)
    assert ledger.error == errno.ECONNREFUSED
