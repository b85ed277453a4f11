"""Where a backend's transport goes, told as a backend tells things."""

from sonde_agent.net.peer import NoPeer, Peer, find_peer
from sonde_agent.tunnel.backends.base import Room, TunnelFailed
from sonde_proto.profiles import Profile
from sonde_proto.v1 import results_pb2 as pb


def peer_of(profile: Profile, room: Room, *, family: int = 0) -> Peer:
    """Give the server's address, and tell the stage RESOLVE where a resolver was asked.

    Args:
        profile: whose host and port.
        room: its family counts where `family` is 0.
        family: which the profile forces, or 0.

    Raises:
        TunnelFailed: there is no such address, or the policy forbids it.
    """
    try:
        peer = find_peer(
            profile.host,
            profile.port,
            family=family or room.family,
            deadline=room.deadline,
            refuse=room.refuse,
        )
    except NoPeer as none:
        raise TunnelFailed(none.failure, none.stage, none.detail) from None
    if peer.resolve_ms is not None:
        room.stage(pb.STAGE_RESOLVE, peer.resolve_ms)
    return peer
