"""IKEv2 tunnels to a real server: what comes up, what each way to fail is called, what is left."""

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import residue
from support.edges import Authority
from support.ike_server import IkeServer, ike_profile
from support.programs import eventually
from support.vpn_wire import INSIDE, PROVIDER, PROVIDER6, Wire, wire

from sonde_agent.net.handshake.ike_message import Request
from sonde_agent.tunnel import namespaces

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("host"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(shutil.which("charon-systemd") is None, reason="needs charon-systemd"),
]

STAGES = {"TRANSPORT", "HANDSHAKE", "AUTH", "CONFIGURED"}


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A provider and a host."""
    with wire(tmp_path_factory.mktemp("ike")) as made:
        yield made


@pytest.fixture(scope="module")
def authority(at: Wire) -> Authority:
    """Who signs the provider's certificates."""
    return Authority(at.folder / "ca")


@pytest.fixture(scope="module")
def server(at: Wire, authority: Authority) -> IkeServer:
    """A server that does all as it should."""
    return IkeServer(at, authority)


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Wire]:
    """A wire without a server, for one that is peculiar."""
    with wire(tmp_path) as made:
        yield made


def test_comes_up(at: Wire, authority: Authority, server: IkeServer) -> None:
    """It comes up with all stages, both families inside, the server's resolver, and passes traffic."""
    tunnel = at.tunnel(**ike_profile(authority), inside=[f"ping -c 2 -i 0.2 {INSIDE}", "ip -br addr"])
    assert not tunnel.failed, server.said()
    assert set(tunnel.stages) == STAGES
    assert {":" in address for address in tunnel.up["addresses"]} == {True, False}
    assert tunnel.up["dns"] == ["10.7.0.53"]
    assert " 0% packet loss" in tunnel.ran[0]
    assert {line.split()[0] for line in tunnel.ran[1].strip().split("\n")} == {"lo", "ipsec0"}
    assert sum(tunnel.stages.values()) < tunnel.took_ms


def test_ipv6_transport(at: Wire, authority: Authority, server: IkeServer) -> None:
    """An IPv6 endpoint is reached over IPv6, and passes traffic."""
    tunnel = at.tunnel(**ike_profile(authority, PROVIDER6), inside=[f"ping -c 2 -i 0.2 {INSIDE}"])
    assert not tunnel.failed, (tunnel.detail, server.said())
    assert tunnel.up["family"] == 6
    assert " 0% packet loss" in tunnel.ran[0]


def test_no_packet_is_fragmented(at: Wire, authority: Authority, server: IkeServer) -> None:
    """The largest packet that the device takes fits the path whole."""
    before = at.host.run("cat /proc/net/snmp")
    size = 1500 - 28 - 73 - 28
    tunnel = at.tunnel(**ike_profile(authority), inside=[f"ping -c 1 -W 1 -M do -s {size} {INSIDE}"])
    assert " 0% packet loss" in tunnel.ran[0], server.said()
    assert _fragments(before) == _fragments(at.host.run("cat /proc/net/snmp"))


def _fragments(snmp: str) -> int:
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Ip:"))
    return int(values[names.index("FragCreates")])


def test_two_at_once(at: Wire, authority: Authority, server: IkeServer) -> None:
    """Two tunnels stand beside each other, although charon's device, ports and routes are always the same."""
    first = at.tunnel(**ike_profile(authority), hold=True)
    second = at.tunnel(**ike_profile(authority), inside=[f"ping -c 2 -i 0.2 {INSIDE}"])
    assert " 0% packet loss" in second.ran[0], server.said()
    assert not first.end().failed


def test_host_is_not_touched(at: Wire, authority: Authority, server: IkeServer) -> None:
    """A run that stands changes no address, route, rule or device of the host's namespace."""
    look = (
        "ip -br link; ip -br addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule"
    )
    before = at.host.run(look)
    tunnel = at.tunnel(**ike_profile(authority), hold=True)
    assert not tunnel.failed, server.said()
    assert at.host.run(look) == before
    tunnel.end()
    assert at.host.run(look) == before


def test_server_hears_goodbye(at: Wire, authority: Authority, server: IkeServer) -> None:
    """When a tunnel is taken down its session ends at the server at once."""
    before = server.said().count("received DELETE for IKE_SA")
    tunnel = at.tunnel(**ike_profile(authority))
    assert not tunnel.failed, (tunnel.detail, server.said())
    assert tunnel.down_ms < 1000
    eventually(lambda: server.said().count("received DELETE for IKE_SA") > before, 2, server.said)


def test_server_ends_it(at: Wire, authority: Authority, server: IkeServer) -> None:
    """When the server ends the session the tunnel is lost, as RESET."""
    tunnel = at.tunnel(**ike_profile(authority), hold=True)
    server.terminate()
    assert tunnel.lost().failed == ("RESET", "TRANSFER")


def test_no_secret_is_written(at: Wire, authority: Authority, server: IkeServer) -> None:
    """The files of a charon are its settings, its socket and the resolvers: no secret, no key."""
    tunnel = at.tunnel(**ike_profile(authority))
    assert set(tunnel.left) <= {"strongswan.conf", "charon.vici", "resolvers"}, server.said()


def test_wrong_password(at: Wire, authority: Authority, server: IkeServer) -> None:
    """A refused account is AUTH at AUTH, after a whole key exchange."""
    tunnel = at.tunnel(**{**ike_profile(authority), "password": "wrong"})
    assert tunnel.failed == ("AUTH", "AUTH"), (tunnel.detail, server.said())
    assert set(tunnel.stages) == {"TRANSPORT", "HANDSHAKE"}


def test_unknown_user(at: Wire, authority: Authority, server: IkeServer) -> None:
    """So is an account that the server does not know."""
    tunnel = at.tunnel(**{**ike_profile(authority), "username": "nobody"})
    assert tunnel.failed == ("AUTH", "AUTH"), (tunnel.detail, server.said())


def test_no_account(at: Wire, authority: Authority) -> None:
    """A credential without a password is our own fault, and nothing is sent."""
    tunnel = at.tunnel(**{**ike_profile(authority), "password": ""})
    assert tunnel.failed == ("PROFILE", "AUTH")


@pytest.mark.parametrize("remote_id", ["%any", "*", "*.example"])
def test_pattern_as_identity(remote_id: str, at: Wire, authority: Authority) -> None:
    """A profile that would believe any server is refused before anything is sent."""
    assert at.tunnel(**ike_profile(authority, remote_id=remote_id)).failed == ("PROFILE", "AUTH")


def test_unknown_authority(at: Wire, server: IkeServer) -> None:
    """A server whose certificate another authority signed is CERTIFICATE at AUTH."""
    tunnel = at.tunnel(**ike_profile(Authority(at.folder / "other", "Other CA")))
    assert tunnel.failed == ("CERTIFICATE", "AUTH"), (tunnel.detail, server.said())


def test_other_name(at: Wire, authority: Authority, server: IkeServer) -> None:
    """A certificate of another name than the profile's is CERTIFICATE or a refusal, never success."""
    tunnel = at.tunnel(**ike_profile(authority, remote_id="other.example"))
    assert tunnel.failed in {("CERTIFICATE", "AUTH"), ("AUTH", "AUTH")}, (tunnel.detail, server.said())


def test_expired_certificate(apart: Wire) -> None:
    """An expired certificate is CERTIFICATE at AUTH, and the words say until when it was valid."""
    authority = Authority(apart.folder / "ca")
    server = IkeServer(apart, authority, days=-1)
    tunnel = apart.tunnel(**ike_profile(authority))
    assert tunnel.failed == ("CERTIFICATE", "AUTH"), server.said()
    assert "valid" in tunnel.detail


def test_no_proposal(apart: Wire) -> None:
    """No algorithm in common is PROTOCOL at HANDSHAKE."""
    authority = Authority(apart.folder / "ca")
    server = IkeServer(apart, authority, proposal="aes128-sha1-modp1024")
    tunnel = apart.tunnel(**ike_profile(authority, **{"ike-proposal": "aes256gcm16-prfsha256-curve25519"}))
    assert tunnel.failed == ("PROTOCOL", "HANDSHAKE"), (tunnel.detail, server.said())


def test_no_esp_proposal(apart: Wire) -> None:
    """An account that is accepted and gets no tunnel is PROTOCOL at CONFIGURED."""
    authority = Authority(apart.folder / "ca")
    server = IkeServer(apart, authority, esp_proposal="aes128-sha1")
    tunnel = apart.tunnel(**ike_profile(authority, **{"esp-proposal": "aes256gcm16"}))
    assert tunnel.failed == ("PROTOCOL", "CONFIGURED"), (tunnel.detail, server.said())


def test_no_address(apart: Wire) -> None:
    """A server that assigns no address is NO_ADDRESS at CONFIGURED."""
    authority = Authority(apart.folder / "ca")
    server = IkeServer(apart, authority, pools=())
    tunnel = apart.tunnel(**ike_profile(authority))
    assert tunnel.failed == ("NO_ADDRESS", "CONFIGURED"), (tunnel.detail, server.said())


def test_eap_md5(apart: Wire) -> None:
    """A server that asks for EAP-MD5 is served, too."""
    authority = Authority(apart.folder / "ca")
    server = IkeServer(apart, authority, eap="md5")
    tunnel = apart.tunnel(**ike_profile(authority), inside=[f"ping -c 1 {INSIDE}"])
    assert not tunnel.failed, (tunnel.detail, server.said())


def test_cookie_is_answered(apart: Wire) -> None:
    """A server that asks for a cookie gets it, and the tunnel comes up."""
    authority = Authority(apart.folder / "ca")
    server = IkeServer(apart, authority, settings="cookie_threshold_ip = 1")
    with namespaces.inside(apart.host.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(10)
        stranger.sendto(Request(31).packet(), (PROVIDER, 500))  # an exchange that stays half open
        assert stranger.recv(2048)
    assert "N(COOKIE)" not in server.said()
    tunnel = apart.tunnel(**ike_profile(authority))
    assert not tunnel.failed, (tunnel.detail, server.said())
    assert "N(COOKIE)" in server.said()


def test_only_cookies(apart: Wire) -> None:
    """A server that answers with nothing but cookies is BUSY at HANDSHAKE."""

    def cookie(request: bytes) -> bytes:
        notify = bytes.fromhex("0000000c00004006") + os.urandom(4)
        header = request[:8] + bytes(8) + bytes([41, 0x20, 34, 0x20]) + bytes(4)
        return header + (28 + len(notify)).to_bytes(4, "big") + notify

    with apart.answering(socket.SOCK_DGRAM, 500, cookie):
        tunnel = apart.tunnel(**ike_profile(Authority(apart.folder / "ca")), seconds=3)
    assert tunnel.failed == ("BUSY", "HANDSHAKE"), tunnel.detail


def test_silent(apart: Wire) -> None:
    """No answer at all is TIMEOUT at TRANSPORT, at the deadline and not later."""
    with apart.answering(socket.SOCK_DGRAM, 500, lambda _data: b""):
        tunnel = apart.tunnel(**ike_profile(Authority(apart.folder / "ca")), seconds=1.5)
    assert tunnel.failed == ("TIMEOUT", "TRANSPORT")
    assert tunnel.took_ms < 2000


def test_garbage(apart: Wire) -> None:
    """An answer that is no IKE is PROTOCOL at TRANSPORT."""
    with apart.answering(socket.SOCK_DGRAM, 500, lambda _data: b"no such thing here" * 4):
        tunnel = apart.tunnel(**ike_profile(Authority(apart.folder / "ca")), seconds=2)
    assert tunnel.failed == ("PROTOCOL", "TRANSPORT")


def test_closed_port(apart: Wire) -> None:
    """A closed port is REFUSED at TRANSPORT, and told at once."""
    tunnel = apart.tunnel(**ike_profile(Authority(apart.folder / "ca")))
    assert tunnel.failed == ("REFUSED", "TRANSPORT")
    assert tunnel.took_ms < 3000


def test_no_route(apart: Wire) -> None:
    """An address without a route is told as such, before charon is started."""
    tunnel = apart.tunnel(**ike_profile(Authority(apart.folder / "ca"), "203.0.113.1"))
    assert tunnel.failed[0] in {"UNREACHABLE", "UNSUPPORTED"}
    assert tunnel.failed[1] == "TRANSPORT"


def test_denied(apart: Wire) -> None:
    """An address that the policy denies is never sent a packet."""
    tunnel = apart.tunnel(**ike_profile(Authority(apart.folder / "ca")), denied=[PROVIDER])
    assert tunnel.failed == ("POLICY", "RESOLVE")


def test_charon_killed(at: Wire, authority: Authority, server: IkeServer) -> None:
    """When charon is killed the tunnel is lost, and the next one comes up."""
    tunnel = at.tunnel(**ike_profile(authority), hold=True)
    (pid,) = tunnel.processes("charon-systemd")
    os.kill(pid, signal.SIGKILL)
    assert tunnel.lost().failed == ("LOCAL", "TRANSFER")
    assert not at.tunnel(**ike_profile(authority)).failed, server.said()


def test_relay_killed(at: Wire, authority: Authority, server: IkeServer) -> None:
    """When the relay is killed the tunnel is lost."""
    tunnel = at.tunnel(**ike_profile(authority), hold=True)
    assert not tunnel.failed, server.said()
    os.kill(max(tunnel.processes("python")), signal.SIGKILL)
    assert tunnel.lost().failed == ("LOCAL", "TRANSFER")


def test_first_process_killed(at: Wire, authority: Authority, server: IkeServer) -> None:
    """When the box's first process is killed, charon, relay and uplink are gone within two seconds."""
    tunnel = at.tunnel(**ike_profile(authority), hold=True)
    assert not tunnel.failed, server.said()
    pids = [*tunnel.processes("charon-systemd"), *tunnel.processes("python")]
    assert len(pids) == 3
    tunnel.kill()
    eventually(lambda: not set(pids) & dict(residue.processes()).keys(), 2, "something still runs")
