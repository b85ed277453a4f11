"""The agent's side of tunnels, against a real helper."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import boxes, wireguard
from support.boxes import Host, ping, wanted
from support.programs import eventually
from support.residue import descendants
from support.wireguard import Provider

from sonde_agent.tunnel import namespaces
from sonde_agent.tunnel.client import TunnelError, Tunnels
from sonde_proto.v1 import results_pb2 as pb
from sonde_proto.v1 import tunnel_pb2

_LACK = wireguard.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("host"),
    pytest.mark.skipif(_LACK is not None, reason=f"tunnels: {_LACK}"),
]


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


async def events_of(tunnels: Tunnels, request: tunnel_pb2.OpenTunnel) -> list[tunnel_pb2.HelperEvent]:
    """All that one tunnel tells."""
    async with tunnels.open(request) as events:
        return [event async for event in events]


async def test_a_tunnel_is_followed_to_its_end(host: Host) -> None:
    """An agent that may use the helper gets every event, `ended` last."""
    tunnels = Tunnels(str(host.socket))
    assert tunnels.lacks() is None
    told = await events_of(tunnels, wanted(inside=[ping()]))
    assert [event.WhichOneof("event") for event in told] == ["stage", "up", "task", "result", "ended"]


async def test_four_tunnels_at_once_do_not_disturb_each_other(host: Host) -> None:
    """Four tunnels of one host come up side by side, each in its own box, and none loses a packet."""
    tunnels = Tunnels(str(host.socket))
    requests = [wanted(name, inside=[ping(count=20)]) for name in host.further_keys(4)]
    for told in await asyncio.gather(*(events_of(tunnels, request) for request in requests)):
        assert told[-1].ended.failure == pb.FAILURE_NONE, told
        assert told[-2].result.performance.received == 20


async def test_leaving_the_context_waits_until_the_tunnel_is_gone(host: Host) -> None:
    """When the context is left, early or cancelled, nothing of the tunnel runs any more."""
    tunnels = Tunnels(str(host.socket))
    async with tunnels.open(wanted(hold=True)) as events:
        async for event in events:
            if event.WhichOneof("event") == "up":
                break
        assert descendants(host.helper)
    eventually(lambda: not descendants(host.helper), 0.2, "the box runs on")

    async def use() -> None:
        async with tunnels.open(wanted(hold=True)) as events:
            async for event in events:
                if event.WhichOneof("event") == "up":
                    up.set()

    up = asyncio.Event()
    user = asyncio.create_task(use())
    await up.wait()
    user.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await user
    eventually(lambda: not descendants(host.helper), 0.2, "the box runs on")


async def test_a_profile_is_described_or_the_reason_told(host: Host) -> None:
    """What a profile may be known by comes back; what can't be read is an error of our side in words."""
    tunnels = Tunnels(str(host.socket))
    assert (await tunnels.describe("lab", "se.conf")).port == boxes.PORT
    with pytest.raises(TunnelError, match="No such file") as caught:
        await tunnels.describe("lab", "none.conf")
    assert caught.value.failure == pb.FAILURE_PROFILE


async def test_the_host_is_described(host: Host) -> None:
    """The helper tells of every backend whether it can be used, else what is missing, and the bound."""
    told = await Tunnels(str(host.socket)).host()
    lacking = {state.name: state.lacks for state in told.backends}
    assert list(lacking) == ["wireguard-kernel", "wireguard-go", "openvpn", "ikev2"]
    assert lacking["wireguard-go"] == ""
    assert told.tunnels == 4


async def test_no_helper_is_told_with_what_to_do(tmp_path: Path) -> None:
    """Without a helper and without a configuration to start one, the words name the socket and the remedy."""
    tunnels = Tunnels(str(tmp_path / "none.sock"))
    assert "none.sock is not there" in (tunnels.lacks() or "")
    assert "sonde-agent tunnel-helper" in (tunnels.lacks() or "")
    with pytest.raises(TunnelError, match=r"none\.sock") as caught:
        await tunnels.describe("lab", "se.conf")
    assert caught.value.failure == pb.FAILURE_PERMISSION


def test_root_needs_no_service_for_a_profile_by_hand(host: Host, provider: Provider) -> None:
    """For root a helper of its own serves one file by hand, and ends with whoever started it."""
    tunnels = Tunnels.for_file(host.profiles / "se.conf")
    known = set(descendants(os.getpid()))

    async def use() -> list[tunnel_pb2.HelperEvent]:
        assert (await tunnels.describe("file", "se.conf")).protocol == "WireGuard"
        return await events_of(tunnels, wanted(credential="file", inside=[ping()]))

    with namespaces.inside(provider.host):
        told = asyncio.run(use())
    assert told[-2].result.performance.received == 3
    assert set(descendants(os.getpid())) - known
    tunnels.close()
    assert set(descendants(os.getpid())) <= known


def test_root_without_a_service_uses_the_configuration(host: Host, provider: Provider) -> None:
    """An agent that is root and has no socket starts a helper with its own configuration."""
    tunnels = Tunnels("", host.config)
    with namespaces.inside(provider.host):
        told = asyncio.run(events_of(tunnels, wanted(inside=[ping()])))
    tunnels.close()
    assert told[-1].ended.failure == pb.FAILURE_NONE


def connect_until_it_ends(tunnels: Tunnels) -> None:
    """One request after the other, for some seconds."""
    for _ in range(200_000):
        tunnels._connect().close()


async def test_a_helper_of_our_own_that_can_not_start_says_so_each_time(tmp_path: Path) -> None:
    """One request that falls into the moment of its end is told like those before and after."""
    tunnels = Tunnels("", tmp_path / "none.toml")
    try:
        with pytest.raises(TunnelError, match="closed the connection"):
            connect_until_it_ends(tunnels)
        with pytest.raises(TunnelError, match="closed the connection"):
            await tunnels.describe("acme", "a.conf")
    finally:
        tunnels.close()
