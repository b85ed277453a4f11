"""The configuration of an OpenVPN process: only ours, and never a program."""

from pathlib import Path

import pytest

from sonde_agent.net.peer import Peer
from sonde_agent.tunnel.backends.openvpn_config import config_text, device_mtu
from sonde_proto.profiles import OpenVpn, Remote

V4, V6 = Peer("192.0.2.1", 1194, 4), Peer("2001:db8::1", 1194, 6)


def settings(proto: str = "udp", **more: object) -> OpenVpn:
    """Of a profile that says next to nothing."""
    return OpenVpn(remotes=(Remote("vpn.example", 1194, proto),), ca="-----BEGIN CERTIFICATE-----\n", **more)  # type: ignore[arg-type]


def lines_of(given: OpenVpn, peer: Peer = V4) -> list[str]:
    """The lines of its configuration."""
    text = config_text(given, peer, device="sonde0", management=Path("/run/x.sock"), seconds=9.5)
    return text.splitlines()


def test_nothing_runs() -> None:
    """It neither configures the host nor may run anything, and takes its secrets from us alone."""
    lines = lines_of(settings(wants_user_pass=True))
    for line in (
        "ifconfig-noexec",
        "route-noexec",
        "script-security 0",
        "auth-user-pass",
        "management-query-passwords",
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("proto", "peer", "line"),
    [
        ("udp", V4, "proto udp4"),
        ("udp", V6, "proto udp6"),
        ("tcp", V4, "proto tcp4-client"),
        ("tcp", V6, "proto tcp6-client"),
    ],
)
def test_transport(proto: str, peer: Peer, line: str) -> None:
    """The transport has the address's family; where it goes is an address, never a name."""
    lines = lines_of(settings(proto), peer)
    assert line in lines
    assert f"remote {peer.address} 1194" in lines


def test_old_cipher() -> None:
    """A profile's own cipher is offered beside the modern ones, and used where nothing is negotiated."""
    lines = lines_of(settings(cipher="AES-256-CBC"))
    assert "data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305:AES-256-CBC" in lines
    assert "data-ciphers-fallback AES-256-CBC" in lines


@pytest.mark.parametrize(
    ("given", "peer", "pushed", "cipher", "mtu"),
    [
        (settings(), V4, 1500, "AES-256-GCM", 1448),
        (settings(), V6, None, "", 1428),
        (settings(), V4, 1400, "AES-256-GCM", 1400),
        (settings(auth="SHA512"), V4, None, "AES-256-CBC", 1368),
        (settings(compression="compress"), V4, None, "AES-128-GCM", 1447),
        (settings("tcp"), V4, None, "", 1500),
        (settings(tun_mtu=1300), V4, None, "", 1300),
    ],
)
def test_mtu(given: OpenVpn, peer: Peer, pushed: int | None, cipher: str, mtu: int) -> None:
    """The device's MTU leaves room for what OpenVPN and the transport add; TCP cuts packets itself."""
    assert device_mtu(given, peer, 1500, pushed=pushed, cipher=cipher) == mtu
