"""The backends by the names that configuration and results use."""

from collections.abc import Mapping

OF_PROTOCOL: Mapping[str, tuple[str, ...]] = {
    "WireGuard": ("wireguard-kernel", "wireguard-go"),
    "OpenVPN-UDP": ("openvpn",),
    "OpenVPN-TCP": ("openvpn",),
    "IKEv2": ("ikev2",),
}
"""What can speak a protocol, the best first."""
