"""The other end of a tunnel's transport: a server's name to one address that the policy allows."""

import socket
import time
from collections.abc import Callable

from attrs import frozen

from sonde_agent.net.dial import Deadline
from sonde_agent.net.resolve import FAMILIES, family_of, host_lacks, resolve
from sonde_proto.v1 import results_pb2 as pb

_NO_ADDRESS = frozenset(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
)
_MTU_OPTION = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}  # IP_MTU, IPV6_MTU


class NoPeer(Exception):
    """There is no address to connect to.

    Args:
        failure: why.
        stage: in which it failed.
        detail: in words for a person, one line.
    """

    def __init__(self, failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.stage = stage
        self.detail = detail


@frozen
class Peer:
    """The transport's other end.

    Attributes:
        address: IPv4 or IPv6.
        port: 1..65535.
        family: 4 or 6.
        resolve_ms: how long the resolver took; None = it was not asked.
    """

    address: str
    port: int
    family: int
    resolve_ms: float | None = None

    @property
    def endpoint(self) -> str:
        """As configurations write it: "192.0.2.1:51820", "[2001:db8::1]:51820"."""
        return f"[{self.address}]:{self.port}" if self.family == 6 else f"{self.address}:{self.port}"  # noqa: PLR2004

    def datagrams(self) -> socket.socket:
        """Open a UDP socket connected to it, so that ICMP errors about it come back. The caller closes it.

        Raises:
            OSError: this host has no way there.
        """
        sock = socket.socket(FAMILIES[self.family], socket.SOCK_DGRAM)
        try:
            sock.connect((self.address, self.port))
        except OSError:
            sock.close()
            raise
        return sock

    def mtu(self) -> int:
        """The largest packet that this host's route to it carries [bytes]; asks the kernel, sends nothing.

        Raises:
            OSError: this host has no way there.
        """
        with self.datagrams() as sock:
            return sock.getsockopt(*_MTU_OPTION[self.family])


def find_peer(
    host: str,
    port: int,
    *,
    family: int,
    deadline: float,
    refuse: Callable[[str, int | None], str | None],
) -> Peer:
    """Give the address to which the transport goes: the first that the name has in the family.

    Args:
        host: address or name.
        port: 1..65535.
        family: 4, 6, or 0 = what the name has first.
        deadline: `time.monotonic()` by which the resolver must have answered.
        refuse: why the policy forbids an address and port, or None.

    Raises:
        NoPeer: there is none, or the policy forbids it.
    """
    try:
        found = resolve(host, family, Deadline(deadline - time.monotonic()))
    except TimeoutError:
        raise NoPeer(pb.FAILURE_DNS, pb.STAGE_RESOLVE, f"no answer from the resolver for {host}") from None
    except socket.gaierror as error:
        if error.errno in _NO_ADDRESS:
            kind = f"IPv{family} address" if family else "address"
            raise NoPeer(pb.FAILURE_NO_ADDRESS, pb.STAGE_RESOLVE, f"{host} has no {kind}") from None
        detail = f"the resolver has no answer for {host}: {error.strerror}"
        raise NoPeer(pb.FAILURE_DNS, pb.STAGE_RESOLVE, detail) from None
    address = found.addresses[0]
    if reason := refuse(address, port):
        raise NoPeer(pb.FAILURE_POLICY, pb.STAGE_RESOLVE, reason)
    took_ms = None if found.took is None else found.took.ns / 1e6
    peer = Peer(address, port, family_of(address), took_ms)
    try:
        peer.datagrams().close()
    except OSError as error:
        if host_lacks(peer.family):
            detail = f"this host has no IPv{peer.family}"
            raise NoPeer(pb.FAILURE_UNSUPPORTED, pb.STAGE_TRANSPORT, detail) from None
        detail = f"no way to {address}: {error.strerror}"
        raise NoPeer(pb.FAILURE_UNREACHABLE, pb.STAGE_TRANSPORT, detail) from None
    return peer
