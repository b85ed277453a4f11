"""OpenVPN tunnels to real servers: what comes up, what each way to fail is called, what is left."""

import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.edges import Authority
from support.openvpn_server import OpenVpnServer, openvpn_profile
from support.programs import eventually
from support.vpn_wire import INSIDE, PROVIDER, PROVIDER6, Wire, wire

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("host"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
    pytest.mark.skipif(shutil.which("openvpn") is None, reason="needs openvpn"),
]

STAGES = {"TRANSPORT", "HANDSHAKE", "AUTH", "CONFIGURED"}


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A provider and a host."""
    with wire(tmp_path_factory.mktemp("openvpn")) as made:
        yield made


@pytest.fixture(scope="module")
def authority(at: Wire) -> Authority:
    """Who signs the provider's certificates."""
    return Authority(at.folder / "ca")


@pytest.fixture(scope="module")
def udp(at: Wire, authority: Authority) -> OpenVpnServer:
    """A server over UDP."""
    return OpenVpnServer(at, authority)


@pytest.fixture(scope="module")
def tcp(at: Wire, authority: Authority) -> OpenVpnServer:
    """A server over TCP."""
    return OpenVpnServer(at, authority, proto="tcp", port=1195)


@pytest.mark.parametrize("server", ["udp", "tcp"])
def test_comes_up(server: str, at: Wire, request: pytest.FixtureRequest) -> None:
    """Both transports come up with all stages, both families inside, the server's resolver, and traffic."""
    profile = request.getfixturevalue(server).profile()
    tunnel = at.tunnel(**profile, inside=[f"ping -c 2 -i 0.2 {INSIDE}", "ip -br addr"])
    assert not tunnel.failed, tunnel.detail
    assert set(tunnel.stages) == STAGES
    assert tunnel.up["server_address"] == PROVIDER
    assert {":" in address for address in tunnel.up["addresses"]} == {True, False}
    assert tunnel.up["dns"] == ["10.8.0.53"]
    assert " 0% packet loss" in tunnel.ran[0]
    devices = {line.split()[0] for line in tunnel.ran[1].splitlines()}
    assert devices == {"lo", tunnel.up["device"]}


def test_setup_is_in_no_stage(at: Wire, udp: OpenVpnServer) -> None:
    """The stages together are shorter than the whole, by what our plumbing costs."""
    tunnel = at.tunnel(**udp.profile())
    assert sum(tunnel.stages.values()) < tunnel.took_ms


def test_ipv6_transport(at: Wire, udp: OpenVpnServer) -> None:
    """An IPv6 endpoint is reached over IPv6, and the device's MTU leaves room for its longer header."""
    tunnel = at.tunnel(**udp.profile(PROVIDER6), inside=[f"ping -c 1 {INSIDE}"])
    assert tunnel.up["family"] == 6
    assert tunnel.up["mtu"] == 1500 - 48 - 24
    assert " 0% packet loss" in tunnel.ran[0]


def test_no_packet_is_fragmented(at: Wire, udp: OpenVpnServer) -> None:
    """The largest packet that the device takes fits the path whole, and a larger one is refused inside."""
    room = 1500 - 28 - 24 - 28  # IP and UDP outside, OpenVPN's own, IP and ICMP inside
    largest, larger = (f"ping -c 1 -W 1 -M do -s {size} {INSIDE}" for size in (room, room + 1))
    before = at.host.run("cat /proc/net/snmp")
    tunnel = at.tunnel(**udp.profile(), inside=[largest, larger])
    assert " 0% packet loss" in tunnel.ran[0]
    assert "message too long" in tunnel.ran[1].lower()
    assert _fragments(before) == _fragments(at.host.run("cat /proc/net/snmp"))


def _fragments(snmp: str) -> int:
    names, values = (line.split() for line in snmp.splitlines() if line.startswith("Ip:"))
    return int(values[names.index("FragCreates")])


@pytest.mark.parametrize(
    ("name", "goodbye"), [("udp", "exit message received by peer"), ("tcp", "Connection reset")]
)
def test_server_hears_goodbye(name: str, goodbye: str, at: Wire, request: pytest.FixtureRequest) -> None:
    """When a tunnel is taken down the server knows at once, not only when its ping times out."""
    server: OpenVpnServer = request.getfixturevalue(name)
    before = server.said().count(goodbye)
    tunnel = at.tunnel(**server.profile())
    assert tunnel.down_ms < 1000
    eventually(lambda: server.said().count(goodbye) > before, 1, server.said)


def test_nothing_is_written(at: Wire, udp: OpenVpnServer) -> None:
    """Neither configuration nor secret ever stands in a file or on a command line, and no file is left."""
    tunnel = at.tunnel(**udp.profile(), hold=True)
    assert [_words(pid) for pid in _clients(at)] == [["openvpn", "--config", "stdin"]]
    assert tunnel.end().left == []


def _words(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")


def _clients(at: Wire) -> list[int]:
    """The OpenVPN processes in the host's namespace."""
    inode = os.fstat(at.host.fd).st_ino
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text() == "openvpn\n" and (folder / "ns/net").stat().st_ino == inode:
                found.append(int(folder.name))
    return found


def test_host_is_not_touched(at: Wire, udp: OpenVpnServer) -> None:
    """A run changes no address, route or rule of the host's namespace, and leaves no device."""
    look = "ip -br addr; ip route show table all; ip -6 route show table all; ip rule"
    before = at.host.run(look)
    at.tunnel(**udp.profile())
    assert at.host.run(look) == before


def test_wrong_password(at: Wire, udp: OpenVpnServer) -> None:
    """A refused account is AUTH at AUTH, after a whole handshake."""
    tunnel = at.tunnel(**{**udp.profile(), "password": "wrong"})
    assert tunnel.failed == ("AUTH", "AUTH")
    assert set(tunnel.stages) == {"TRANSPORT", "HANDSHAKE"}


def test_no_account(at: Wire, udp: OpenVpnServer) -> None:
    """A profile that asks for an account without one is our own fault, and nothing is sent."""
    tunnel = at.tunnel(**{**udp.profile(), "username": ""})
    assert tunnel.failed == ("PROFILE", "AUTH")


def test_expired_certificate(at: Wire, authority: Authority) -> None:
    """An expired server certificate is CERTIFICATE at HANDSHAKE, and the words say that it is expired."""
    tunnel = at.tunnel(**OpenVpnServer(at, authority, port=1200, days=-1).profile())
    assert tunnel.failed == ("CERTIFICATE", "HANDSHAKE")
    assert "expired" in tunnel.detail


def test_unknown_authority(at: Wire, udp: OpenVpnServer) -> None:
    """A server whose certificate another authority signed is CERTIFICATE at HANDSHAKE."""
    other = Authority(at.folder / "other", "Other CA")
    profile = openvpn_profile(PROVIDER, udp.port, "udp", other, udp.static)
    tunnel = at.tunnel(**{**udp.profile(), "profile": profile})
    assert tunnel.failed == ("CERTIFICATE", "HANDSHAKE")


def test_other_name(at: Wire, udp: OpenVpnServer) -> None:
    """A certificate of another name than the profile's is CERTIFICATE at HANDSHAKE."""
    orders = udp.profile()
    orders["profile"] = orders["profile"].replace("vpn.example", "other.example")
    tunnel = at.tunnel(**orders)
    assert tunnel.failed == ("CERTIFICATE", "HANDSHAKE")
    assert "other.example" in tunnel.detail


def _alerting(packet: bytes) -> bytes:
    """What an OpenVPN server says that answers the client's hello with the TLS alert "handshake failure"."""
    opcode, client, own = packet[0] >> 3, packet[1:9], b"Testing!"
    first = bytes(4)
    if opcode == 7:  # hard reset of a client
        return bytes([8 << 3]) + own + b"\x01" + first + client + first
    if opcode != 4:  # a control packet
        return b""
    acknowledged = packet[9]
    at = 10 + 4 * acknowledged + (8 if acknowledged else 0)
    alert = bytes.fromhex("15030300020228")
    return bytes([4 << 3]) + own + b"\x01" + packet[at : at + 4] + client + (1).to_bytes(4, "big") + alert


def test_tls_alert(at: Wire, authority: Authority, udp: OpenVpnServer) -> None:
    """A server that ends TLS with an alert is TLS at HANDSHAKE, and the words are the alert's."""
    text = openvpn_profile(PROVIDER, 1208, "udp", authority, None)
    with at.answering(socket.SOCK_DGRAM, 1208, _alerting):
        tunnel = at.tunnel(**{**udp.profile(), "profile": text}, seconds=5)
    assert tunnel.failed == ("TLS", "HANDSHAKE"), tunnel.detail
    assert "alert handshake failure" in tunnel.detail


def test_server_ends_tls(at: Wire, authority: Authority) -> None:
    """A server that ends TLS over TCP closes the connection without an alert: RESET at HANDSHAKE."""
    server = OpenVpnServer(at, authority, proto="tcp", port=1207, options="tls-groups secp521r1")
    tunnel = at.tunnel(**server.profile(extra="tls-groups X25519"), seconds=6)
    assert tunnel.failed == ("RESET", "HANDSHAKE"), (tunnel.detail, server.said())


def test_silent(at: Wire, authority: Authority, udp: OpenVpnServer) -> None:
    """No answer at all is TIMEOUT at TRANSPORT, at the deadline and not later."""
    with at.answering(socket.SOCK_DGRAM, 1202, lambda _data: b""):
        orders = {**udp.profile(), "profile": openvpn_profile(PROVIDER, 1202, "udp", authority, udp.static)}
        tunnel = at.tunnel(**orders, seconds=1.5)
    assert tunnel.failed == ("TIMEOUT", "TRANSPORT")
    assert tunnel.took_ms < 2000


def test_wrong_static_key(at: Wire, udp: OpenVpnServer, tcp: OpenVpnServer) -> None:
    """A server that does not know our static key is silent: TIMEOUT at TRANSPORT, as it looks from here."""
    tunnel = at.tunnel(**udp.profile(static=tcp.static), seconds=1.5)
    assert tunnel.failed == ("TIMEOUT", "TRANSPORT")


@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_closed_port(proto: str, at: Wire, authority: Authority, udp: OpenVpnServer) -> None:
    """A closed port is REFUSED at TRANSPORT, and told at once."""
    orders = {**udp.profile(), "profile": openvpn_profile(PROVIDER, 1203, proto, authority, udp.static)}
    tunnel = at.tunnel(**orders)
    assert tunnel.failed == ("REFUSED", "TRANSPORT")
    assert tunnel.took_ms < 3000


@pytest.mark.parametrize("wrapping", ["tls-crypt", "none"])
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_garbage(proto: str, wrapping: str, at: Wire, authority: Authority, udp: OpenVpnServer) -> None:
    """An answer that is no OpenVPN is PROTOCOL at TRANSPORT or HANDSHAKE, on both transports."""
    kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
    text = openvpn_profile(PROVIDER, 1204, proto, authority, udp.static if wrapping == "tls-crypt" else None)
    with at.answering(kind, 1204, lambda _data: b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(64))):
        tunnel = at.tunnel(**{**udp.profile(), "profile": text}, seconds=2)
    assert tunnel.failed[0] == "PROTOCOL", tunnel.detail
    assert tunnel.failed[1] in {"TRANSPORT", "HANDSHAKE"}


def test_unreachable(at: Wire, authority: Authority, udp: OpenVpnServer) -> None:
    """A network without a route is UNREACHABLE at TRANSPORT."""
    orders = {**udp.profile(), "profile": openvpn_profile("203.0.113.1", 1194, "udp", authority, udp.static)}
    tunnel = at.tunnel(**orders, seconds=3)
    assert tunnel.failed[0] in {"UNREACHABLE", "UNSUPPORTED"}
    assert tunnel.failed[1] == "TRANSPORT"


def test_denied(at: Wire, udp: OpenVpnServer) -> None:
    """An address that the policy denies is never sent a packet."""
    tunnel = at.tunnel(**udp.profile(), denied=[PROVIDER])
    assert tunnel.failed == ("POLICY", "RESOLVE")


def test_no_address(at: Wire, authority: Authority) -> None:
    """A server that assigns no address is NO_ADDRESS at CONFIGURED."""
    server = OpenVpnServer(at, authority, port=1205, addresses=False)
    tunnel = at.tunnel(**server.profile(), seconds=8)
    assert tunnel.failed == ("NO_ADDRESS", "CONFIGURED"), tunnel.detail


def test_no_cipher_in_common(at: Wire, authority: Authority) -> None:
    """Without a cipher in common it fails as PROTOCOL at CONFIGURED, not as a refused account."""
    server = OpenVpnServer(at, authority, port=1206, options="data-ciphers AES-128-CBC")
    tunnel = at.tunnel(**server.profile(extra="data-ciphers AES-256-GCM"), seconds=8)
    assert tunnel.failed == ("PROTOCOL", "CONFIGURED"), tunnel.detail


def test_lost(at: Wire, udp: OpenVpnServer) -> None:
    """When OpenVPN is killed the tunnel is lost, and its device is gone."""
    tunnel = at.tunnel(**udp.profile(), hold=True)
    for pid in _clients(at):
        os.kill(pid, signal.SIGKILL)
    assert tunnel.lost().failed == ("LOCAL", "TRANSFER")
    assert "sonde" not in at.host.run("ip -br link")


def test_first_process_killed(at: Wire, udp: OpenVpnServer) -> None:
    """When the box's first process is killed, OpenVPN and its device are gone within two seconds."""
    at.tunnel(**udp.profile(), hold=True).kill()
    eventually(lambda: not _clients(at), 2, "OpenVPN still runs")
    eventually(lambda: "sonde" not in at.host.run("ip -br link"), 2, "the device is still there")
