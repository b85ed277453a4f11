"""WireGuard in the kernel, through netlink.

The device is made by one message that is sent in the host's namespace and names the box's: it never stands in
the host's own, and its transport's socket lives where the message was sent from.
"""

import contextlib
import errno
import os
from base64 import b64encode

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import WireGuard as WireGuardNetlink

from sonde_agent.net.peer import Peer
from sonde_agent.tunnel import links, namespaces
from sonde_agent.tunnel.backends.base import Room
from sonde_agent.tunnel.backends.wireguard import WireGuardBackend
from sonde_proto.profiles import WireGuard

_UNKNOWN_KIND = frozenset({errno.EOPNOTSUPP, errno.ENOENT})


class WireGuardKernel(WireGuardBackend):
    """One tunnel by the kernel."""

    def __init__(self) -> None:
        super().__init__()
        self._box_netns = -1
        self._netlink: WireGuardNetlink | None = None

    @property
    def name(self) -> str:
        """As configuration and results call it."""
        return "wireguard-kernel"

    def lacks(self) -> str | None:
        """What this host lacks for it and how to mend that, or None; needs root to know."""
        try:
            scratch = namespaces.new_netns()
        except PermissionError:
            return "only root can ask the kernel for WireGuard"
        try:
            with links.netlink(scratch) as there:
                there.link("add", ifname=self.device, kind="wireguard")
            with namespaces.inside(scratch):
                WireGuardNetlink().close()
        except NetlinkError as error:
            if error.code in _UNKNOWN_KIND:
                return "this kernel has no WireGuard: modprobe wireguard, or apt install wireguard-go"
            return f"this kernel makes no WireGuard device: {error}"
        finally:
            os.close(scratch)
        return None

    def _make(self, room: Room) -> None:
        self._box_netns = room.box_netns
        with links.netlink(room.host_netns) as host:
            host.link("add", ifname=self.device, kind="wireguard", net_ns_fd=room.box_netns)
        with namespaces.inside(room.box_netns):
            self._netlink = WireGuardNetlink()

    def _set_key(self, private_key: bytes) -> None:
        self._open.set(self.device, private_key=b64encode(private_key))

    def _set_peer(self, settings: WireGuard, peer: Peer, keepalive_s: int) -> None:
        described = {
            "public_key": b64encode(settings.public_key),
            "endpoint_addr": peer.address,
            "endpoint_port": peer.port,
            "persistent_keepalive": keepalive_s,
            "allowed_ips": list(settings.allowed_ips),
        }
        if settings.preshared_key:
            described["preshared_key"] = b64encode(settings.preshared_key)
        self._open.set(self.device, peer=described)

    def _shaken_ns(self) -> int:
        for message in self._open.info(self.device):
            for peer in message.get_attr("WGDEVICE_A_PEERS") or ():
                at = peer.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME")
                if at is not None:
                    return int(at["tv_sec"]) * 10**9 + int(at["tv_nsec"])
        return 0

    def _ended(self) -> str | None:
        return None

    def down(self) -> None:
        """Remove the device. WireGuard has no goodbye."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
        if self._box_netns >= 0:
            with contextlib.suppress(OSError, NetlinkError), links.netlink(self._box_netns) as there:
                there.link("del", index=links.index_of(there, self.device))

    @property
    def _open(self) -> WireGuardNetlink:
        if self._netlink is None:
            raise OSError(errno.ENODEV, "there is no device")
        return self._netlink
