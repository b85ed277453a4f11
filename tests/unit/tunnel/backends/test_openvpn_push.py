"""What a server pushes, from the log line to addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.tunnel.backends import openvpn_push
from sonde_agent.tunnel.backends.openvpn_push import Pushed

FULL = (
    "route-gateway 10.8.1.1,topology subnet,ping 5,ifconfig-ipv6 fd08:1::1000/64 fd08:1::1,"
    "ifconfig 10.8.1.2 255.255.255.0,peer-id 0,cipher AES-256-GCM,dhcp-option DNS 10.8.1.254,tun-mtu 1500"
)
LINE = "PUSH: Received control message: 'PUSH_REPLY,{}'"


@pytest.mark.parametrize(
    ("pushed", "meaning"),
    [
        (
            FULL,
            Pushed(("fd08:1::1000/64", "10.8.1.2/24"), "10.8.1.1", ("10.8.1.254",), 1500, "AES-256-GCM"),
        ),
        ("ifconfig 10.8.0.6 10.8.0.5", Pushed(("10.8.0.6/32",), "10.8.0.5")),  # topology net30
        ("dns server 1 address 10.1.1.1 fd00::53", Pushed(dns=("10.1.1.1", "fd00::53"))),
        ("dhcp-option DNS6 fd00::53,dhcp-option DOMAIN lan", Pushed(dns=("fd00::53",))),
        ("dhcp-option DNS 10.1.1.1,dhcp-option DNS 10.1.1.1", Pushed(dns=("10.1.1.1",))),
        ("ifconfig 10.8.0.999 255.255.255.0,tun-mtu 99999,route-gateway here", Pushed()),
        ("redirect-gateway def1,script-security 3", Pushed()),
    ],
)
def test_read(pushed: str, meaning: Pushed) -> None:
    """Each option that assigns something is taken, and everything else is as if it were not said."""
    message = openvpn_push.message_of(LINE.format(pushed))
    assert message is not None
    assert openvpn_push.read([message]) == meaning


def test_in_parts() -> None:
    """A reply in several messages counts as one, and only the last says that it is the last."""
    first, last = (
        "PUSH_REPLY,ifconfig 10.0.0.2 255.255.0.0,push-continuation 2",
        "PUSH_REPLY,push-continuation 1",
    )
    assert (openvpn_push.is_last(first), openvpn_push.is_last(last)) == (False, True)
    assert openvpn_push.read([first, last]).addresses == ("10.0.0.2/16",)


def test_no_reply() -> None:
    """Another line shows no reply."""
    assert openvpn_push.message_of("AUTH: Received control message: AUTH_FAILED") is None


@given(st.text(alphabet="abcdinfogmutr-.:/ ,0123456789", max_size=200))
def test_never_breaks(text: str) -> None:
    """Whatever a server pushes, reading it ends, with prefix lengths on all addresses."""
    assert all("/" in address for address in openvpn_push.read([f"PUSH_REPLY,{text}"]).addresses)
