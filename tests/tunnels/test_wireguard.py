"""WireGuard tunnels through real wireguard-go servers, good and bad."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import wireguard
from support.wireguard import Provider

from sonde_agent.tunnel import links, namespaces
from sonde_agent.tunnel.backends.base import Room, Secrets, TunnelFailed, Up
from sonde_agent.tunnel.backends.wireguard_go import WireGuardGo
from sonde_agent.tunnel.backends.wireguard_kernel import WireGuardKernel
from sonde_proto.profiles import parse
from sonde_proto.v1 import results_pb2 as pb

_LACK = wireguard.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("host"),
    pytest.mark.skipif(_LACK is not None, reason=f"WireGuard: {_LACK}"),
]

PORT = 51820


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    """Two namespaces and no server yet."""
    with wireguard.provider(tmp_path) as made:
        yield made


class Tunnel:
    """A backend at work in a provider's namespaces, as the box's first process runs it."""

    def __init__(
        self, provider: Provider, profile: bytes, *, within_s: float = 10.0, family: int = 0
    ) -> None:
        self.provider = provider
        self.profile = parse("se.conf", profile)
        self.within_s = within_s
        self.family = family
        self.stages: dict[int, float] = {}
        self.backend = WireGuardGo()

    def up(self) -> Up:
        """Connects."""
        room = Room(
            folder=self.provider.folder,
            host_netns=self.provider.host,
            box_netns=self.provider.box,
            deadline=time.monotonic() + self.within_s,
            family=self.family,
            refuse=lambda _address, _port: None,
            stage=self.stages.__setitem__,
        )
        with namespaces.inside(self.provider.host):
            return self.backend.up(self.profile, Secrets(), room)

    def fails(self) -> TunnelFailed:
        """Connects in vain, and leaves nothing; gives why."""
        with pytest.raises(TunnelFailed) as caught:
            self.up()
        assert self.devices(self.provider.box) == {"lo"}
        assert pb.STAGE_HANDSHAKE not in self.stages
        return caught.value

    @staticmethod
    def devices(netns: int) -> set[str]:
        """The names of a namespace's devices."""
        with links.netlink(netns) as there:
            return {link.get_attr("IFLA_IFNAME") for link in there.get_links()}


def ping(netns: int, address: str) -> bool:
    """Whether an address answers two echoes from a namespace."""
    with namespaces.inside(netns):
        done = subprocess.run(
            ["ping", "-n", "-c2", "-i0.05", "-W2", address], capture_output=True, check=False
        )
    return done.returncode == 0


def test_both_families_go_through_a_tunnel_that_the_host_does_not_see(
    provider: Provider,
) -> None:
    """The device stands in the box with addresses, MTU and routes; the host keeps only the transport."""
    before = Tunnel.devices(provider.host)
    tunnel = Tunnel(provider, provider.profile(PORT, provider.serve(PORT)))
    up = tunnel.up()
    try:
        assert Tunnel.devices(provider.host) == before
        assert Tunnel.devices(provider.box) == {"lo", up.device}
        assert (up.mtu, up.gateway, up.family) == (1420, wireguard.THEIRS, 4)
        assert ping(provider.box, wireguard.THEIRS)
        assert ping(provider.box, wireguard.THEIRS6)
        assert tunnel.backend.lost() is None
    finally:
        tunnel.backend.down()
    assert Tunnel.devices(provider.box) == {"lo"}
    assert not Path(f"/var/run/wireguard/{up.device}.sock").exists()


def test_the_transport_may_be_ipv6(provider: Provider) -> None:
    """A profile whose endpoint is an IPv6 address comes up over IPv6."""
    public = provider.serve(PORT)
    profile = provider.profile(PORT, public, Endpoint=f"[{wireguard.SERVER6}]:{PORT}")
    tunnel = Tunnel(provider, profile)
    try:
        assert tunnel.up().family == 6
        assert ping(provider.box, wireguard.THEIRS)
    finally:
        tunnel.backend.down()


def test_a_preshared_key_is_used(provider: Provider) -> None:
    """With the provider's preshared key the tunnel comes up."""
    preshared = os.urandom(32)
    public = provider.serve(PORT, preshared=preshared)
    tunnel = Tunnel(provider, provider.profile(PORT, public, PresharedKey=wireguard.text(preshared)))
    try:
        tunnel.up()
        assert ping(provider.box, wireguard.THEIRS)
    finally:
        tunnel.backend.down()


def test_the_handshake_takes_one_round_trip(provider: Provider) -> None:
    """Over a path of 50 ms, the best of five handshakes takes the path's true delay, within 3 ms."""
    public = provider.serve(PORT)
    line = provider.delay(PORT + 1, PORT, 0.025)
    errors = []
    for _ in range(5):
        line.passes.clear()
        tunnel = Tunnel(provider, provider.profile(PORT + 1, public))
        try:
            tunnel.up()
        finally:
            tunnel.backend.down()
        errors.append(tunnel.stages[pb.STAGE_HANDSHAKE] - sum(line.passes[:2]) * 1e3)
    assert 0 < min(errors) < 3, errors


def test_a_lost_initiation_is_sent_again(provider: Provider) -> None:
    """When the first initiation is lost, the second brings the tunnel up; the time counts from the first."""
    line = provider.delay(PORT + 1, PORT, 0.005)
    public = provider.serve(PORT)
    line.drop = 1
    tunnel = Tunnel(provider, provider.profile(PORT + 1, public))
    try:
        tunnel.up()
    finally:
        tunnel.backend.down()
    assert 5000 < tunnel.stages[pb.STAGE_HANDSHAKE] < 7000


def test_the_mtu_follows_the_route_and_the_profile(provider: Provider) -> None:
    """The device's MTU is the route's less what WireGuard adds, unless the profile says another."""
    public = provider.serve(PORT)
    with links.netlink(provider.host) as there:
        there.link("set", index=links.index_of(there, provider.near), mtu=1400)
    for said, mtu in (({}, 1320), ({"MTU": "1280"}, 1280)):
        tunnel = Tunnel(provider, provider.profile(PORT, public, **said))
        try:
            assert tunnel.up().mtu == mtu
        finally:
            tunnel.backend.down()


def test_the_kernel_is_asked_before_it_is_used() -> None:
    """A kernel without WireGuard is told as such with what to do; one that has it lacks nothing."""
    lack = WireGuardKernel().lacks()
    assert lack is None or "no WireGuard: modprobe wireguard" in lack


def test_a_server_that_does_not_know_our_key_is_silent(provider: Provider) -> None:
    """A live server that does not know the key gives a timeout whose words name that possibility."""
    public = provider.serve(PORT, knows=os.urandom(32))
    failed = Tunnel(provider, provider.profile(PORT, public), within_s=2).fails()
    assert (failed.failure, failed.stage) == (pb.FAILURE_TIMEOUT, pb.STAGE_HANDSHAKE)
    assert "does not know this key" in failed.detail


def test_a_closed_port_is_told_as_such(provider: Provider) -> None:
    """A host that runs no VPN at that port refuses, in the stage of the transport."""
    failed = Tunnel(provider, provider.profile(PORT, os.urandom(32)), within_s=2).fails()
    assert (failed.failure, failed.stage) == (pb.FAILURE_REFUSED, pb.STAGE_TRANSPORT)


def test_garbage_is_told_from_silence(provider: Provider) -> None:
    """A port that answers with something else than WireGuard breaks the protocol."""
    provider.answer(PORT, lambda _data: os.urandom(92))
    failed = Tunnel(provider, provider.profile(PORT, os.urandom(32)), within_s=2).fails()
    assert (failed.failure, failed.stage) == (pb.FAILURE_PROTOCOL, pb.STAGE_HANDSHAKE)


def test_a_cookie_reply_means_a_busy_server(provider: Provider) -> None:
    """A server under load, which answers with a cookie reply, is alive and busy."""
    provider.answer(PORT, lambda data: b"\x03\0\0\0" + data[4:8] + os.urandom(56))
    failed = Tunnel(provider, provider.profile(PORT, os.urandom(32)), within_s=2).fails()
    assert (failed.failure, failed.stage) == (pb.FAILURE_BUSY, pb.STAGE_HANDSHAKE)


def test_another_preshared_key_is_refused_credentials(provider: Provider) -> None:
    """A server whose preshared key is not the profile's refuses what we prove ourselves with."""
    public = provider.serve(PORT, preshared=os.urandom(32))
    profile = provider.profile(PORT, public, PresharedKey=wireguard.text(os.urandom(32)))
    failed = Tunnel(provider, profile, within_s=2).fails()
    assert (failed.failure, failed.stage) == (pb.FAILURE_AUTH, pb.STAGE_HANDSHAKE)


def test_a_dead_wireguard_go_is_noticed(provider: Provider) -> None:
    """When wireguard-go is killed, the tunnel is lost, and the words say who died."""
    tunnel = Tunnel(provider, provider.profile(PORT, provider.serve(PORT)))
    tunnel.up()
    try:
        process = tunnel.backend._process
        assert process is not None
        process.kill()
        process.wait(5)
        lost = tunnel.backend.lost()
        assert lost is not None
        assert "wireguard-go ended" in lost.detail
    finally:
        tunnel.backend.down()
