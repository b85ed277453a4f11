"""How many bytes may move now."""

import time

import pytest

from sonde_agent.net.bulk_gate import Enough, Gate
from sonde_agent.net.tcp_info import tcp_info


def test_bound_is_exact() -> None:
    """What may move never exceeds the bound, and its end is said once it is reached."""
    gate = Gate(1000)
    gate.took(gate.room(800))
    assert gate.room(800) == 200
    gate.took(200)
    with pytest.raises(Enough):
        gate.room(1)


def test_rate_is_kept() -> None:
    """Whoever takes all he may for a while has taken no more than the rate allows, and nearly that."""
    gate, begin = Gate(1 << 40, rate=1e6), time.monotonic()
    while time.monotonic() - begin < 0.3:
        gate.took(gate.room(1 << 20))
    allowed = 1e6 * (time.monotonic() - begin)
    assert 0.9 * allowed < gate.moved <= allowed


def test_tcp_info_of_a_connection() -> None:
    """The kernel's figures are read at the right places: bytes sent are those acknowledged and received."""
    import socket  # noqa: PLC0415 -- the one test that opens some

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            client.sendall(bytes(5000))
            received = 0
            while received < 5000:
                received += len(server.recv(5000))
            sent, got = tcp_info(client), tcp_info(server)
    assert got.bytes_received == 5000
    assert 5000 <= sent.bytes_acked <= 5001
    assert 0 < sent.rtt_us < 1_000_000
    assert sent.min_rtt_us is not None
    assert sent.min_rtt_us <= sent.rtt_us + 1000
    assert sent.retransmits == 0
