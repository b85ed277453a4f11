"""The ICMP engine against the kernel's own echo responder, in network namespaces of the tests' own."""

import asyncio
import errno
import json
import os
import subprocess
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.own_network import OPEN_DATAGRAM_ICMP, enter, run_in_own_network

from sonde_agent.net.icmp import Echoes, Engine, Engines, IcmpClosed
from sonde_agent.net.icmp_socket import open_icmp

pytestmark = pytest.mark.root

LOCAL = {4: "127.0.0.1", 6: "::1"}
WAYS = pytest.mark.parametrize("raw", [False, True], ids=["datagram", "raw"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def with_engine(
    family: int,
    work: Callable[[Engine], Coroutine[None, None, Any]],
    *commands: str,
    raw: bool = False,
) -> Any:
    """What `work(engine)` gives, in a namespace where datagram ICMP is open, or closed for `raw`."""

    async def inside() -> Any:
        engines = Engines()
        try:
            return await work(engines.engine(family))
        finally:
            engines.close()

    return run_in_own_network(inside, [*([] if raw else [OPEN_DATAGRAM_ICMP]), *commands])


def all_answered(echoes: Echoes) -> bool:
    """Every echo came back, with both stamps by the kernel and a sensible time."""
    rtts = echoes.rtts_ns()
    return not echoes.user_stamped and all(rtt is not None and 0 < rtt < 1_000_000_000 for rtt in rtts)


@WAYS
@FAMILIES
@pytest.mark.parametrize("payload_bytes", [16, 17, 1400])
def test_answers_with_kernel_stamps(family: int, raw: bool, payload_bytes: int) -> None:  # noqa: FBT001
    """Either socket, family and payload length gets every reply, both stamps and the TTL."""

    async def work(engine: Engine) -> Echoes:
        return await engine.ping(
            LOCAL[family], count=5, spacing_s=0.01, wait_s=5, payload_bytes=payload_bytes
        )

    sysctl = "net.ipv4.ip_default_ttl" if family == 4 else "net.ipv6.conf.all.hop_limit"
    more = [f"sysctl -qw {sysctl}=77"] if family == 4 else ["sysctl -qw net.ipv6.conf.lo.hop_limit=77"]
    echoes = with_engine(family, work, *more, raw=raw)
    assert echoes.raw == raw
    assert all_answered(echoes)
    assert echoes.ttl == 77
    assert echoes.duplicates == 0


@WAYS
def test_a_thousand_targets_on_one_socket(raw: bool) -> None:  # noqa: FBT001 -- parametrised
    """A thousand targets at once, 5000 echoes: none is lost, mixed up or left without its stamps."""

    async def work(engine: Engine) -> list[Echoes]:
        targets = [f"127.1.{i // 250}.{1 + i % 250}" for i in range(1000)]
        pings = [engine.ping(target, count=5, spacing_s=0.05, wait_s=5) for target in targets]
        runs = await asyncio.gather(*pings)
        assert [run.address for run in runs] == targets
        return runs

    assert all(all_answered(run) for run in with_engine(4, work, raw=raw))


@WAYS
@FAMILIES
def test_refused_told_from_silence(family: int, raw: bool) -> None:  # noqa: FBT001 -- parametrised
    """A refusing host, a silent one and a good one at once: each gets its own verdict and nobody else's."""
    refusing, silent, good = (
        ("127.0.0.2", "127.0.0.3", "127.0.0.4") if family == 4 else ("fd00::2", "fd00::3", "::1")
    )
    ip, reject = (
        ("ip", "icmp type host-unreachable") if family == 4 else ("ip6", "icmpv6 type addr-unreachable")
    )
    request = "icmp type echo-request" if family == 4 else "icmpv6 type echo-request"
    commands = [f"ip -6 addr add {address}/128 dev lo" for address in (refusing, silent) if family == 6]
    commands += [
        "nft add table inet t",
        "nft 'add chain inet t c { type filter hook input priority 0; }'",
        f"nft add rule inet t c {ip} daddr {refusing} {request} reject with {reject}",
        f"nft add rule inet t c {ip} daddr {silent} {request} drop",
        "sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0",
    ]

    async def work(engine: Engine) -> list[Echoes]:
        return await asyncio.gather(
            *(engine.ping(host, count=20, spacing_s=0.01, wait_s=0.3) for host in (refusing, silent, good))
        )

    refused, unanswered, answered = with_engine(family, work, *commands, raw=raw)
    assert all_answered(answered)
    assert set(refused.icmp_errors) == set(range(20))
    assert {(e.type, e.code) for e in refused.icmp_errors.values()} == {(3, 1) if family == 4 else (1, 3)}
    assert not any(refused.rx_ns + unanswered.rx_ns)
    assert not unanswered.icmp_errors
    assert not any(run.send_errors for run in (refused, unanswered, answered))


def dropped_by_the_firewall() -> int:
    """What the counters of this namespace's nftables rules say."""
    listing = subprocess.check_output(["nft", "-j", "list", "table", "inet", "t"])
    parts = [
        part for item in json.loads(listing)["nftables"] for part in item.get("rule", {}).get("expr", ())
    ]
    return sum(part["counter"]["packets"] for part in parts if "counter" in part)


def test_loss_equals_the_firewall_s_count() -> None:
    """Of 4000 echoes to 200 hosts, exactly those that the firewall dropped, by its own count, are lost."""
    commands = [
        "nft add table inet t",
        "nft 'add chain inet t c { type filter hook input priority 0; }'",
        "nft add rule inet t c icmp type echo-request numgen random mod 100 '<' 7 counter drop",
        "nft add rule inet t c icmp type echo-reply numgen random mod 100 '<' 7 counter drop",
    ]

    async def work(engine: Engine) -> tuple[int, int]:
        targets = [f"127.0.1.{i + 1}" for i in range(200)]
        pings = [engine.ping(target, count=20, spacing_s=0.02, wait_s=0.5) for target in targets]
        lost = sum(run.rtts_ns().count(None) for run in await asyncio.gather(*pings))
        return lost, dropped_by_the_firewall()

    lost, dropped = with_engine(4, work, *commands)
    assert lost == dropped
    assert lost > 100


@FAMILIES
def test_no_route_is_our_own_error(family: int) -> None:
    """What our kernel can't route is a send error, not a loss, and other targets keep their stamps."""

    async def work(engine: Engine) -> list[Echoes]:
        nowhere = "203.0.113.9" if family == 4 else "2001:db8::9"
        return await asyncio.gather(
            *(engine.ping(host, count=10, spacing_s=0.01, wait_s=5) for host in (nowhere, LOCAL[family]))
        )

    unroutable, good = with_engine(family, work)
    assert set(unroutable.send_errors) == set(range(10))
    assert set(unroutable.send_errors.values()) == {errno.ENETUNREACH}
    assert all_answered(good)


def test_own_firewall_is_our_own_error() -> None:
    """An echo that our own output firewall refuses is a send error."""
    commands = [
        "nft add table inet t",
        "nft 'add chain inet t c { type filter hook output priority 0; }'",
        "nft add rule inet t c icmp type echo-request drop",
    ]

    async def work(engine: Engine) -> Echoes:
        return await engine.ping("127.0.0.1", count=3, spacing_s=0.01, wait_s=0.2)

    assert set(with_engine(4, work, *commands).send_errors.values()) == {errno.EPERM}


def test_two_raw_engines_do_not_hear_each_other() -> None:
    """Two agents on one host with raw sockets: each hears its own replies, none is a duplicate."""

    async def work(engine: Engine) -> list[Echoes]:
        other = Engine(open_icmp(4))
        try:
            pings = [e.ping("127.0.0.1", count=20, spacing_s=0.01, wait_s=5) for e in (engine, other)]
            return await asyncio.gather(*pings)
        finally:
            other.close()

    for echoes in with_engine(4, work, raw=True):
        assert all_answered(echoes)
        assert echoes.duplicates == 0


def test_without_kernel_stamps_ours_are_flagged() -> None:
    """A path that stamps nothing still gives times, every one of them flagged as ours."""

    async def work(engine: Engine) -> Echoes:
        engine._icmp.sock.setsockopt(1, 37, 0)
        return await engine.ping("127.0.0.1", count=5, spacing_s=0.02, wait_s=5)

    echoes = with_engine(4, work)
    assert echoes.user_stamped == set(range(5))
    assert all(rtt is not None and rtt >= 0 for rtt in echoes.rtts_ns())


def test_a_clock_step_gives_no_false_time() -> None:
    """Echoes in flight while the wall clock is set have no RTT; those after it have one again."""

    async def work(engine: Engine) -> Echoes:
        steps = engine._in_flight._steps
        real = steps._realtime
        ping = asyncio.create_task(engine.ping("127.0.0.1", count=20, spacing_s=0.02, wait_s=2))
        deadline = asyncio.get_running_loop().time() + 10
        while not (runs := list(engine._in_flight.runs.values())) or runs[0].next < 5:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.001)
        steps._realtime = lambda: real() + 3_600_000_000_000
        return await ping

    echoes = with_engine(4, work)
    rtts = echoes.rtts_ns()
    assert echoes.stepped
    assert len(echoes.stepped) <= 2
    assert all(echoes.rx_ns)
    assert {i for i, rtt in enumerate(rtts) if rtt is None} == echoes.stepped


def test_an_idle_engine_never_wakes() -> None:
    """When no run is going on, the engine has no timer at all, and forgets what it knew."""

    async def work(engine: Engine) -> None:
        await engine.ping("127.0.0.1", count=3, spacing_s=0.01, wait_s=5)
        cancelled = asyncio.create_task(engine.ping("127.0.0.1", count=1000, spacing_s=0.01, wait_s=5))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        deadline = asyncio.get_running_loop().time() + 5
        while engine._wake is not None:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        state = engine._in_flight
        assert (state.runs, state.unanswered, state._awaiting, engine._wheel) == ({}, 0, {}, {})

    with_engine(4, work)


def as_nobody(work: Callable[[], str]) -> str:
    """What `work()` says in a process of its own, in a namespace of its own, without any privilege."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 -- the parent judges it
            answer = f"{type(error).__name__}: {error}"
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


def test_closed_icmp_says_how_to_open_it() -> None:
    """Without group range and capability the one message names the sysctl and the capability."""

    def work() -> str:
        enter()
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        try:
            open_icmp(4)
        except IcmpClosed as error:
            return str(error)
        return "open"

    message = as_nobody(work)
    assert "net.ipv4.ping_group_range" in message
    assert "CAP_NET_RAW" in message


def test_no_privilege_is_needed() -> None:
    """With the group range open, an ordinary user gets replies with both kernel stamps."""

    def work() -> str:
        enter([OPEN_DATAGRAM_ICMP])
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)

        async def ping() -> Echoes:
            engine = Engine(open_icmp(4))
            return await engine.ping("127.0.0.1", count=3, spacing_s=0.01, wait_s=5)

        echoes = asyncio.run(ping())
        return f"{all_answered(echoes)} {echoes.raw}"

    assert as_nobody(work) == "True False"
