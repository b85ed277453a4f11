"""A handshake with an OpenVPN server: a whole connection, up to the assigned address, without a device.

OpenVPN itself does it, with `dev null`, as whatever user the agent is. The provider checks the account and
counts a session like any other; goodbye is said at once.
"""

import tempfile
import time
from pathlib import Path

from sonde_agent.net.dial import Deadline
from sonde_agent.net.handshake.model import Handshake
from sonde_agent.net.peer import Peer
from sonde_agent.tunnel.backends.base import Secrets, TunnelFailed
from sonde_agent.tunnel.backends.openvpn_process import OpenVpnProcess
from sonde_proto.profiles import OpenVpn
from sonde_proto.v1 import results_pb2 as pb


def shake(peer: Peer, settings: OpenVpn, secrets: Secrets, deadline: Deadline) -> Handshake:
    """Connect and leave again. Blocks until `deadline` at most; never raises for what the peer does.

    Returns:
        Stages as a tunnel's, CONFIGURED included: the server assigned an address.
    """
    stages: dict[pb.Stage.ValueType, float] = {}
    try:
        _connect(peer, settings, secrets, deadline, stages)
    except TimeoutError:
        failed = TunnelFailed(pb.FAILURE_TIMEOUT, pb.STAGE_TRANSPORT, "no time left")
    except TunnelFailed as raised:
        failed = raised
    else:
        return Handshake(stages=stages, address=peer.address, family=peer.family)
    return Handshake(stages, failed.failure, failed.stage, failed.detail, peer.address, peer.family)


def _connect(
    peer: Peer,
    settings: OpenVpn,
    secrets: Secrets,
    deadline: Deadline,
    stages: dict[pb.Stage.ValueType, float],
) -> None:
    until = time.monotonic() + deadline.left()
    with tempfile.TemporaryDirectory(prefix="sonde-") as folder:
        process = OpenVpnProcess(
            settings,
            peer,
            device="null",
            secrets=secrets,
            folder=Path(folder),
            deadline=until,
            stage=stages.__setitem__,
        )
    deadline.watch(process.management)
    try:
        deadline.left()  # a cancel may have come before there was anything to wake
        process.until_connected(until)
    finally:
        deadline.watch(None)
        process.end()
