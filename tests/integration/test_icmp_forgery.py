"""The ICMP engine against a responder of our own, which may lie, stutter, dawdle or cut."""

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.own_network import OPEN_DATAGRAM_ICMP, run_in_own_network

from sonde_agent.net.icmp import Echoes, Engines
from sonde_agent.net.icmp_packet import HEADER, REPLY, REQUEST, checksum

pytestmark = pytest.mark.root

TARGET, STRANGER = "127.0.0.2", "127.0.0.9"
Answer = tuple[str, bytes]
"""Who answers, and with what ICMP message (checksum still missing)."""

Lie = Callable[[int, bytes], Iterator[Answer]]
"""Answers to the request with this sequence number: type, code, checksum, then identifier on."""


def honest(request: bytes) -> bytes:
    """The reply that RFC 792 asks for."""
    return bytes([REPLY[4]]) + request[1:]


def flipped(request: bytes, at: int) -> bytes:
    """The honest reply with one bit of the byte at `at` turned over."""
    reply = bytearray(honest(request))
    reply[at] ^= 1
    return bytes(reply)


def other_number(request: bytes) -> bytes:
    """An answer to the request after this one, which has not been sent yet, made from what was seen."""
    kind, code, _, identifier, sequence = HEADER.unpack_from(request)
    return HEADER.pack(REPLY[kind - REQUEST[4] + 4], code, 0, identifier, sequence + 1) + request[8:]


def ping_against(lie: Lie, **settings: Any) -> Echoes:
    """A run of ten echoes to a host that answers as `lie` says."""

    async def inside() -> Echoes:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as target,
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as stranger,
        ):
            stranger.bind((STRANGER, 0))
            target.bind((TARGET, 0))
            target.setblocking(False)
            mouths = {TARGET: target, STRANGER: stranger}

            def hear() -> None:
                while True:
                    try:
                        request = target.recv(2000)[20:]
                    except BlockingIOError:
                        return
                    if request[0] == REQUEST[4]:
                        for who, message in lie(int.from_bytes(request[6:8], "big"), request):
                            cleared = message[:2] + b"\0\0" + message[4:]
                            sealed = message[:2] + checksum(cleared).to_bytes(2, "big") + message[4:]
                            mouths[who].sendto(sealed, ("127.0.0.1", 0))

            loop = asyncio.get_running_loop()
            loop.add_reader(target, hear)
            engines = Engines()
            try:
                run = {"count": 10, "spacing_s": 0.02, "wait_s": 0.3} | settings
                return await engines.engine(4).ping(TARGET, **run)
            finally:
                loop.remove_reader(target)
                engines.close()

    commands = [OPEN_DATAGRAM_ICMP, "sysctl -qw net.ipv4.icmp_echo_ignore_all=1"]
    return run_in_own_network(inside, commands)


FORGERIES: dict[str, Lie] = {
    "from another address": lambda _, request: iter([(STRANGER, honest(request))]),
    "with another token": lambda _, request: iter([(TARGET, flipped(request, 8))]),
    "with another nonce": lambda _, request: iter([(TARGET, flipped(request, 16))]),
    "before the request": lambda _, request: iter([(TARGET, other_number(request))]),
    "cut before the nonce": lambda _, request: iter([(TARGET, honest(request)[:20])]),
    "header only": lambda _, request: iter([(TARGET, honest(request)[:8])]),
    "garbage": lambda _, request: iter([(TARGET, honest(request)[:8] + os.urandom(16))]),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_replies_are_no_replies(name: str) -> None:
    """What is not this run's own echo, from the host it went to, is as good as silence."""
    echoes = ping_against(FORGERIES[name])
    assert echoes.rtts_ns() == [None] * 10
    assert echoes.duplicates == 0
    assert echoes.ttl is None


def test_forgeries_beside_the_truth_change_nothing() -> None:
    """A host that answers honestly amid every forgery is measured as if there were none."""

    def lie(sequence: int, request: bytes) -> Iterator[Answer]:
        forgeries = (forgery(sequence, request) for forgery in FORGERIES.values())
        return itertools.chain(*forgeries, [(TARGET, honest(request))])

    echoes = ping_against(lie)
    assert None not in echoes.rtts_ns()
    assert echoes.duplicates == 0


def test_duplicates_count_apart() -> None:
    """A host that answers thrice is counted once; the rest are duplicates, the last one perhaps missed."""
    echoes = ping_against(lambda _, request: iter([(TARGET, honest(request))] * 3))
    assert None not in echoes.rtts_ns()
    assert 18 <= echoes.duplicates <= 20


def test_loss_keeps_its_place() -> None:
    """Each lost echo is lost at its own index, and the others keep theirs."""
    lost = {2, 3, 7}
    echoes = ping_against(lambda i, request: iter([] if i in lost else [(TARGET, honest(request))]))
    assert {i for i, rtt in enumerate(echoes.rtts_ns()) if rtt is None} == lost


def test_a_late_reply_shows_as_late() -> None:
    """A reply that comes while the run still goes on, but after its own waiting time, keeps its true RTT."""
    held: list[bytes] = []

    def lie(sequence: int, request: bytes) -> Iterator[Answer]:
        if sequence == 0:
            held.append(request)
            return iter([])
        answers = [(TARGET, honest(request))]
        if sequence == 8:
            answers.append((TARGET, honest(held[0])))
        return iter(answers)

    first, *others = ping_against(lie, wait_s=0.1).rtts_ns()
    assert first is not None
    assert first > 100_000_000
    assert all(rtt is not None and rtt < 100_000_000 for rtt in others)
