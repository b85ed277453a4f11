"""WireGuard, as far as it is the same in the kernel and in user space.

The device stands in the box, configured and up, before the peer is made known to it; its transport's socket
stays in the host's namespace, where the device was made. With a keepalive the handshake starts in the moment
in which the peer is set, and the device says exactly when it was complete. So nothing of our own work is in
the handshake's time.
"""

import secrets as random
import time
from abc import ABC, abstractmethod

from pyroute2.netlink.exceptions import NetlinkError

from sonde_agent.net.dial import Deadline
from sonde_agent.net.handshake import wireguard_probe
from sonde_agent.net.peer import Peer
from sonde_agent.tunnel import links
from sonde_agent.tunnel.backends.base import Room, Secrets, TunnelFailed, Up
from sonde_agent.tunnel.backends.transport import peer_of
from sonde_proto.profiles import Profile, WireGuard
from sonde_proto.v1 import results_pb2 as pb

OVERHEAD = 80
"""Bytes that WireGuard adds to a packet, with IPv6 below it: what `wg-quick` takes off."""

KEEPALIVE_S = 25
"""Where the profile says none: a handshake starts by itself only if there is something to send."""

_LEAST_MTU = 1280  # IPv6 needs it
_SESSION_S = 190.0  # REJECT_AFTER_TIME and a retry's jitter: no session is older, if the peer still answers
_ASK_EVERY_S = 1.0
_DIAGNOSIS_S = 2.0  # kept of the time that a handshake has, to find out why there was none
_EAGER_S, _EAGER_STEP_S, _STEP_S = 0.5, 0.001, 0.01


class WireGuardBackend(ABC):
    """What both ways share; a way makes the device, sets it, asks it and removes it."""

    def __init__(self) -> None:
        self.device = f"sonde-{random.token_hex(4)}"
        self._asked_at = 0.0

    @property
    @abstractmethod
    def name(self) -> str:
        """As configuration and results call it."""

    @abstractmethod
    def lacks(self) -> str | None:
        """What this host lacks for it and how to mend that, or None."""

    @abstractmethod
    def _make(self, room: Room) -> None:
        """Make `device` in the box's namespace, its transport in the host's.

        Raises:
            OSError, NetlinkError: this host can't.
        """

    @abstractmethod
    def _set_key(self, private_key: bytes) -> None:
        """Give the device our key."""

    @abstractmethod
    def _set_peer(self, settings: WireGuard, peer: Peer, keepalive_s: int) -> None:
        """Make the peer known; the handshake starts."""

    @abstractmethod
    def _shaken_ns(self) -> int:
        """When the last handshake was complete, on the wall clock [ns since 1970]; 0 = never."""

    @abstractmethod
    def _ended(self) -> str | None:
        """Why there is no device any more, or None."""

    @abstractmethod
    def down(self) -> None:
        """Remove the device. WireGuard has no goodbye."""

    def up(self, profile: Profile, secrets: Secrets, room: Room) -> Up:  # noqa: ARG002 -- the profile has all
        """Connect (see `Backend.up`)."""
        settings = profile.settings
        if not isinstance(settings, WireGuard) or settings.private_key is None:
            raise TunnelFailed(pb.FAILURE_PROFILE, pb.STAGE_NONE, "the profile has no PrivateKey")
        peer = peer_of(profile, room)
        try:
            mtu = settings.mtu or max(peer.mtu() - OVERHEAD, _LEAST_MTU)
            self._make(room)
            links.configure(
                room.box_netns,
                self.device,
                addresses=settings.addresses,
                mtu=mtu,
                routes=_routes(settings),
            )
            self._set_key(settings.private_key)
            took_ms = self._shake_hands(settings, peer, room)
        except (OSError, NetlinkError) as error:
            self.down()
            detail = f"{self.name} could not be set up on this host: {error}"
            raise TunnelFailed(pb.FAILURE_LOCAL, pb.STAGE_NONE, detail) from error
        if took_ms is None:
            self.down()
            raise _diagnosis(peer, settings, room.deadline)
        room.stage(pb.STAGE_HANDSHAKE, took_ms)
        self._asked_at = time.monotonic()
        return Up(
            server_address=peer.address,
            server_port=peer.port,
            family=peer.family,
            device=self.device,
            addresses=settings.addresses,
            gateway=settings.dns[0] if settings.dns else "",
            dns=settings.dns,
            mtu=mtu,
        )

    def lost(self) -> TunnelFailed | None:
        """Why the tunnel is no longer up (see `Backend.lost`)."""
        if ended := self._ended():
            return TunnelFailed(pb.FAILURE_INTERNAL, pb.STAGE_TRANSFER, ended)
        now = time.monotonic()
        if now - self._asked_at < _ASK_EVERY_S:
            return None
        self._asked_at = now
        try:
            age_s = (time.time_ns() - self._shaken_ns()) / 1e9
        except (OSError, NetlinkError) as error:
            return TunnelFailed(pb.FAILURE_INTERNAL, pb.STAGE_TRANSFER, f"{self.name} is gone: {error}")
        if age_s < _SESSION_S:
            return None
        detail = f"the server no longer answers: the last handshake was {age_s:.0f} s ago"
        return TunnelFailed(pb.FAILURE_TIMEOUT, pb.STAGE_TRANSFER, detail)

    def _shake_hands(self, settings: WireGuard, peer: Peer, room: Room) -> float | None:
        """Set the peer and wait for the handshake; give how long it took [ms], or None: there was none."""
        until = room.deadline - min(_DIAGNOSIS_S, (room.deadline - time.monotonic()) / 3)
        began_ns, began = time.time_ns(), time.monotonic()
        self._set_peer(settings, peer, settings.keepalive or KEEPALIVE_S)
        while (now := time.monotonic()) < until:
            shaken_ns = self._shaken_ns()
            if shaken_ns:
                seen_ms = (time.monotonic() - began) * 1e3
                exact_ms = (shaken_ns - began_ns) / 1e6
                # A wall clock that was stepped meanwhile makes nonsense of the difference.
                return exact_ms if 0 < exact_ms <= seen_ms else seen_ms
            if ended := self._ended():
                raise OSError(ended)
            time.sleep(_EAGER_STEP_S if now - began < _EAGER_S else _STEP_S)
        return None


def _routes(settings: WireGuard) -> list[str]:
    """The networks of the families in which we have an address inside; the others would only wait in vain."""
    families = {":" in address for address in settings.addresses}
    return [network for network in settings.allowed_ips if (":" in network) in families]


def _diagnosis(peer: Peer, settings: WireGuard, deadline: float) -> TunnelFailed:
    """Why there was no handshake, as far as an outsider can tell; the device is gone by now."""
    found = wireguard_probe.shake(peer, settings, Deadline(deadline - time.monotonic()))
    if found.failure == pb.FAILURE_NONE:
        detail = "no handshake in time, although a later probe was answered: packets are lost on the way"
        return TunnelFailed(pb.FAILURE_TIMEOUT, pb.STAGE_HANDSHAKE, detail)
    return TunnelFailed(found.failure, found.stage, found.detail)
