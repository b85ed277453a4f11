"""One datagram out, the next one in: what handshake probes over UDP share. Belongs in a worker thread."""

import contextlib
import socket
import time
from types import TracebackType
from typing import NamedTuple, Self

from sonde_agent.net.dial import SO_RCVTIMEO, Deadline, timeval
from sonde_agent.net.handshake.model import Handshake
from sonde_agent.net.peer import Peer
from sonde_proto.v1 import results_pb2 as pb

_LARGEST = 65_535


class Answer(NamedTuple):
    """A datagram that came, and when (`time.monotonic_ns`)."""

    datagram: bytes
    at_ns: int


class Exchange:
    """A socket to one peer.

    Attributes:
        began_ns: when the first datagram left (`time.monotonic_ns`); 0 = none has.

    Args:
        peer: whom to ask.
        deadline: ends every wait; cancelling it does so at once.
    """

    def __init__(self, peer: Peer, deadline: Deadline) -> None:
        self._deadline = deadline
        self._socket = peer.datagrams()
        self.began_ns = 0

    def __enter__(self) -> Self:
        self._deadline.watch(self._socket)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadline.watch(None)
        self._socket.close()

    def ask(self, packet: bytes, wait_s: float) -> Answer | None:
        """Send `packet` and give the next datagram; None = nothing came within `wait_s`.

        Raises:
            TimeoutError: the deadline is over.
            OSError: the network or this host says that it can't be.
        """
        wait = timeval(min(self._deadline.left(), wait_s))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVTIMEO, wait)
        self.began_ns = self.began_ns or time.monotonic_ns()
        self._socket.send(packet)
        with contextlib.suppress(BlockingIOError):
            datagram = self._socket.recv(_LARGEST)
            at_ns = time.monotonic_ns()
            self._deadline.left()  # a cancel wakes the socket with nothing
            return Answer(datagram, at_ns)
        self._deadline.left()
        return None


def unreached(error: OSError, peer: Peer) -> Handshake:
    """Give what an error of a connected UDP socket says about the peer. **Pure.**"""
    if isinstance(error, ConnectionRefusedError):
        detail = f"UDP port {peer.port} is closed: the host says that nothing listens there"
        return failed(peer, pb.FAILURE_REFUSED, pb.STAGE_TRANSPORT, detail)
    if isinstance(error, PermissionError):
        detail = "this host's own firewall refuses the packet"
        return failed(peer, pb.FAILURE_LOCAL, pb.STAGE_TRANSPORT, detail)
    detail = f"the network says that {peer.address} can't be reached: {error.strerror}"
    return failed(peer, pb.FAILURE_UNREACHABLE, pb.STAGE_TRANSPORT, detail)


def failed(peer: Peer, failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, detail: str) -> Handshake:
    """Give the handshake that did not happen. **Pure.**"""
    return Handshake(failure=failure, stage=stage, detail=detail, address=peer.address, family=peer.family)
