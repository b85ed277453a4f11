"""Handshakes without a tunnel: no device, no privilege.

None of them is run beside a tunnel of the same account or key: a server takes the newest for the only one.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

from attrs import evolve

from sonde_agent.net.dial import Deadline
from sonde_agent.net.handshake.model import Handshake, Refuse
from sonde_agent.net.peer import NoPeer, Peer, find_peer
from sonde_agent.tunnel.backends.base import Secrets
from sonde_proto.profiles import Ike, OpenVpn, Profile, WireGuard
from sonde_proto.v1 import results_pb2 as pb

__all__ = ["Handshake", "probe"]


_MOST_AT_ONCE = 64


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=_MOST_AT_ONCE, thread_name_prefix="handshake")


async def probe(
    profile: Profile, secrets: Secrets, family: int, deadline: float, refuse: Refuse
) -> Handshake:
    """Shake hands with a profile's server, as far as its protocol goes without a tunnel.

    WireGuard: the whole handshake. OpenVPN: all up to the assigned address. IKEv2: IKE_SA_INIT.

    Args:
        profile: the way to the server.
        secrets: the account's, where the protocol asks for them.
        family: 4, 6, or 0 = what the server's name has first.
        deadline: `time.monotonic()` by which it ends.
        refuse: why the policy forbids an address and port, or None.
    """
    if isinstance(profile.settings, OpenVpn):
        family = family or profile.settings.remotes[0].family
    find = partial(find_peer, profile.host, profile.port, family=family, deadline=deadline, refuse=refuse)
    end = Deadline(deadline - time.monotonic())
    try:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_workers(), _probe, find, profile.settings, secrets, end)
    finally:
        end.cancel()


def _probe(
    find: Callable[[], Peer], settings: WireGuard | OpenVpn | Ike, secrets: Secrets, end: Deadline
) -> Handshake:
    try:
        peer = find()
    except NoPeer as none:
        return Handshake(failure=none.failure, stage=none.stage, detail=none.detail)
    made = _shake(peer, settings, secrets, end)
    if peer.resolve_ms is None:
        return made
    return evolve(made, stages={pb.STAGE_RESOLVE: peer.resolve_ms, **made.stages})


def _shake(peer: Peer, settings: WireGuard | OpenVpn | Ike, secrets: Secrets, end: Deadline) -> Handshake:
    if isinstance(settings, WireGuard):
        from sonde_agent.net.handshake import wireguard_probe  # noqa: PLC0415 -- cryptography costs 8 MB

        return wireguard_probe.shake(peer, settings, end)
    if isinstance(settings, OpenVpn):
        from sonde_agent.net.handshake import openvpn_probe  # noqa: PLC0415 -- as above

        return openvpn_probe.shake(peer, settings, secrets, end)
    from sonde_agent.net.handshake import ike_probe  # noqa: PLC0415 -- as above

    return ike_probe.shake(peer, settings, end)
