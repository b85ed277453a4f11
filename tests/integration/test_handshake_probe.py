"""Handshakes without a tunnel on this host's own loopback: how they end when there is no server."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import eventually

from sonde_agent.net.dial import Deadline
from sonde_agent.net.handshake import Handshake, openvpn_probe, probe
from sonde_agent.net.peer import Peer
from sonde_agent.tunnel.backends.base import Secrets
from sonde_proto.profiles import Ike, OpenVpn, Profile, Remote, WireGuard
from sonde_proto.v1 import results_pb2 as pb

WIREGUARD = WireGuard(
    b"\x01" * 32, ("10.0.0.2/32",), (), None, b"\x09" + bytes(31), None, ("0.0.0.0/0",), None
)


def profile(port: int, protocol: str) -> Profile:
    """The way to a port of this host."""
    settings = WIREGUARD if protocol == "WireGuard" else Ike(remote_id="x")
    return Profile(protocol, "127.0.0.1", port, settings)


async def shake(
    port: int, protocol: str, *, family: int = 0, within_s: float = 0.5, refusal: str | None = None
) -> Handshake:
    """What a handshake with a port of this host yields."""
    until = time.monotonic() + within_s
    return await probe(profile(port, protocol), Secrets(), family, until, lambda _address, _port: refusal)


@pytest.fixture
def silent() -> Iterator[int]:
    """A UDP port that answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """A UDP port at which nothing listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("protocol", "stage"), [("WireGuard", pb.STAGE_HANDSHAKE), ("IKEv2", pb.STAGE_TRANSPORT)]
)
async def test_silence_ends_at_the_deadline(silent: int, protocol: str, stage: int) -> None:
    """A port that answers nothing is a timeout at the time that was given; WireGuard's may be of the key."""
    began = time.monotonic()
    made = await shake(silent, protocol)
    assert (made.failure, made.stage, made.stages) == (pb.FAILURE_TIMEOUT, stage, {})
    assert 0.5 <= time.monotonic() - began < 5


@pytest.mark.parametrize("protocol", ["WireGuard", "IKEv2"])
async def test_a_closed_port_is_told_at_once(closed: int, protocol: str) -> None:
    """The host's own word that nothing listens ends the wait."""
    made = await shake(closed, protocol, within_s=60)
    assert (made.failure, made.stage) == (pb.FAILURE_REFUSED, pb.STAGE_TRANSPORT)
    assert (made.address, made.family) == ("127.0.0.1", 4)


async def test_the_policy_is_asked_before_a_packet_is_sent(silent: int) -> None:
    """What is refused fails by policy, in the policy's words."""
    made = await shake(silent, "WireGuard", refusal="loopback is denied")
    assert (made.failure, made.detail) == (pb.FAILURE_POLICY, "loopback is denied")


async def test_a_family_that_the_address_has_not_is_no_address(silent: int) -> None:
    """An IPv4 address asked for over IPv6 has no address."""
    made = await shake(silent, "WireGuard", family=6)
    assert (made.failure, made.stage) == (pb.FAILURE_NO_ADDRESS, pb.STAGE_RESOLVE)


async def test_a_cancelled_handshake_leaves_no_socket_open(silent: int) -> None:
    """When runs are cancelled, their sockets are closed at once, not at the deadline."""
    tasks = [asyncio.create_task(shake(silent, "WireGuard", within_s=60)) for _ in range(8)]
    await asyncio.to_thread(eventually, lambda: connected_to(silent) == len(tasks), 10, "they do not start")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    eventually(lambda: connected_to(silent) == 0, 2, "sockets are still open")


def connected_to(port: int) -> int:
    """How many UDP sockets of this host are connected to a port of its loopback."""
    lines = Path("/proc/self/net/udp").read_text().splitlines()[1:]
    return sum(line.split()[2] == f"0100007F:{port:04X}" for line in lines)


async def test_an_openvpn_probe_that_is_cancelled_while_it_starts_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled before OpenVPN has come to its management socket, a probe does not go on to its deadline."""
    slow = tmp_path / "openvpn"
    code = (
        "import socket, time; time.sleep(0.5); s = socket.socket(1);s.connect('openvpn.sock'); time.sleep(60)"
    )
    slow.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\nexec {sys.executable} -c "{code}"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    deadline, settings = Deadline(60), OpenVpn(remotes=(Remote("127.0.0.1", 1194, "udp"),))
    peer = Peer("127.0.0.1", 1194, 4)
    shaking = asyncio.create_task(asyncio.to_thread(openvpn_probe.shake, peer, settings, Secrets(), deadline))
    await asyncio.to_thread(eventually, (tmp_path / "started").exists, 10, "it does not start")
    deadline.cancel()
    async with asyncio.timeout(20):
        assert (await shaking).failure == pb.FAILURE_TIMEOUT
