"""Whatever is killed, at whatever moment: nothing of a tunnel is left, and the next one works."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import pytest
from google.protobuf import json_format
from support import wireguard
from support.boxes import Host, ping, wanted
from support.programs import eventually
from support.residue import Traces, descendants, traces
from support.wireguard import Provider

from sonde_agent.tunnel import frames
from sonde_proto.v1 import results_pb2 as pb
from sonde_proto.v1 import tunnel_pb2

_LACK = wireguard.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("host"),
    pytest.mark.skipif(_LACK is not None, reason=f"tunnels: {_LACK}"),
]

GONE_WITHIN_S = 2.0
ROUNDS = 18
VICTIMS = ("agent", "helper", "keeper", "first process", "checks", "backend")


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """The other end."""
    with wireguard.provider(tmp_path_factory.mktemp("provider")) as made:
        yield made


@pytest.fixture(scope="module")
def host(provider: Provider) -> Iterator[Host]:
    """A host with room for four tunnels."""
    with Host(provider, "[limits]\ntunnels = 4\n") as made:
        yield made


@pytest.fixture(scope="module")
def before(host: Host, provider: Provider) -> Traces:
    """The host after a first tunnel: what only loading code leaves (a module, a cache) is there."""
    host.ask(wanted())
    return traces(provider.host)


@contextlib.contextmanager
def using(host: Host) -> Iterator[subprocess.Popen[bytes]]:
    """A tunnel whose agent is a process of its own."""
    request = json_format.MessageToJson(wanted(inside=[ping(count=1000)]))
    agent = subprocess.Popen(
        [sys.executable, "-m", "support.tunnel_user", str(host.socket), request],
        env={**os.environ, "PYTHONPATH": "tests"},
        stdout=subprocess.PIPE,
    )
    try:
        yield agent
    finally:
        agent.kill()
        agent.communicate()


def left_of(host: Host, known: set[int]) -> dict[int, list[str]]:
    """Processes of tunnels, wherever they hang now: all of ours but the known ones."""
    everybody = descendants(os.getpid())
    return {pid: argv for pid, argv in everybody.items() if pid not in known and pid != host.helper}


def test_nothing_is_left_whatever_is_killed_and_whenever(
    host: Host, provider: Provider, before: Traces
) -> None:
    """Kill -9 of any process of a tunnel at a random moment leaves nothing, within two seconds."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    slowest = 0.0
    for number in range(ROUNDS):
        known = set(descendants(os.getpid()))
        who = VICTIMS[number % len(VICTIMS)]
        with using(host) as agent:
            moment = dice.uniform(0, 1.5)
            told = f"round {number} of seed {seed}: {who} killed after {moment:.3f} s"
            until = time.monotonic() + moment
            while time.monotonic() < until and agent.poll() is None:
                time.sleep(0.005)
            chosen = {"agent": agent.pid, "helper": host.helper}.get(who)
            victim = chosen or eventually(partial(host.tunnel, who), 20, told)
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            while left := left_of(host, known | {agent.pid}):
                assert time.monotonic() - killed < GONE_WITHIN_S, f"{told}: left {left}"
                time.sleep(0.005)
            slowest = max(slowest, time.monotonic() - killed)
        host.restart_if_gone()
        assert traces(provider.host) == before, told
    events = host.ask(wanted(inside=[ping()]))
    assert events[-2].result.performance.received == 3
    print(f"slowest {slowest * 1e3:.0f} ms over {ROUNDS} rounds")  # noqa: T201 -- for who looks


def test_who_is_left_hears_what_happened(host: Host) -> None:
    """An agent whose tunnel's processes are killed is told so, with a failure that is no server's fault."""
    for who in ("first process", "checks", "backend"):
        with host.held() as held:
            victim = host.tunnel(who)
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            ended = held.until("ended").ended
        assert ended.failure == pb.FAILURE_INTERNAL, who
        assert ended.detail, who


def test_a_silent_agent_is_seen_to_be_gone_while_the_handshake_waits(host: Host) -> None:
    """An agent that hangs up while nothing answers takes the tunnel with it at once."""
    with host.connect() as connection:
        request = wanted("deaf.conf", handshake_ms=60_000)
        connection.sendall(frames.encode(tunnel_pb2.HelperRequest(open=request)))
        eventually(partial(host.tunnel, "backend"), 10, "no backend")
    eventually(lambda: not descendants(host.helper), GONE_WITHIN_S, lambda: str(descendants(host.helper)))


def test_one_more_byte_ends_the_tunnel(host: Host) -> None:
    """The connection carries one request: anything more, and the tunnel is gone."""
    with host.held() as held:
        held.connection.sendall(b"x")
        eventually(lambda: not descendants(host.helper), GONE_WITHIN_S, lambda: str(descendants(host.helper)))


def test_a_helper_that_is_stopped_tells_and_takes_all_along(
    host: Host, provider: Provider, before: Traces
) -> None:
    """SIGTERM of the helper ends its tunnels in good order: their agents are told, and nothing is left."""
    with host.held() as held:
        host.stop()
        ended = held.until("ended").ended
    assert (ended.failure, "stopped" in ended.detail) == (pb.FAILURE_LOCAL, True)
    host.start()
    assert traces(provider.host) == before


def test_a_keeper_that_is_stopped_again_and_again_still_says_goodbye(host: Host) -> None:
    """A service manager signals every process, and the helper its keepers: the agent is told nonetheless."""
    with host.held() as held:
        keeper, first = host.tunnel("keeper"), host.tunnel("first process")
        assert keeper is not None
        assert first is not None
        os.kill(first, signal.SIGSTOP)  # so that it is not gone before the signals are through
        for _ in range(5):
            os.kill(keeper, signal.SIGTERM)
            time.sleep(0.02)
        ended = held.until("ended").ended
    assert (ended.failure, "stopped" in ended.detail) == (pb.FAILURE_LOCAL, True)
