"""What every way to bring a tunnel up offers to the box, and what the box lends to it.

A backend runs in the box's first process: root, PID 1 of a PID namespace, mount namespace of its own, network
namespace of the host. Whatever it starts dies with that process, and whatever it writes into `Room.folder`
vanishes with it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from attrs import field, frozen

from sonde_proto.profiles import Profile
from sonde_proto.v1 import results_pb2 as pb


class TunnelFailed(Exception):
    """No tunnel came up, or it went down.

    Args:
        failure: why.
        stage: in which it failed.
        detail: in words for a person, one line, no secret.
    """

    def __init__(self, failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.stage = stage
        self.detail = detail


@frozen
class Secrets:
    """What the provider's account is proven with, where the profile itself does not hold it."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@frozen
class Room:
    """Where a backend works.

    Attributes:
        folder: a private tmpfs of mode 0700 for sockets and configurations.
        host_netns: open file of the host's network namespace; the transport's sockets live there.
        box_netns: open file of the namespace in which the checks run; the device ends up there.
        deadline: `time.monotonic()` by which `Backend.up` must have returned or raised.
        family: of the transport: 4, 6, or 0 = what the server's name has first.
        refuse: why the policy forbids a transport address and port, or None.
        stage: tells that a stage of the connection is over, and how long it took [ms].
    """

    folder: Path
    host_netns: int
    box_netns: int
    deadline: float
    family: int
    refuse: Callable[[str, int | None], str | None]
    stage: Callable[[pb.Stage.ValueType, float], None]


@frozen
class Up:
    """A tunnel that is up: its device stands configured in the box's namespace.

    Attributes:
        server_address, server_port: the transport's peer.
        family: of the transport, 4 or 6.
        device: its name in the box.
        addresses: ours inside, with prefix length.
        gateway: the provider's end as far as it is known: the route gateway, else the first DNS server,
            else "".
        dns: resolvers to use inside.
        mtu: of the device.
    """

    server_address: str
    server_port: int
    family: int
    device: str
    addresses: tuple[str, ...]
    gateway: str
    dns: tuple[str, ...]
    mtu: int


class Backend(Protocol):
    """One way to bring a tunnel up. An instance serves one tunnel."""

    @property
    def name(self) -> str:
        """As configuration and results call it."""

    def lacks(self) -> str | None:
        """What this host lacks for it and how to mend that, or None: it can be used."""

    def up(self, profile: Profile, secrets: Secrets, room: Room) -> Up:
        """Connect, and leave the device configured in the box's namespace.

        Stages are told as they end, and hold the protocol's own time only: what our plumbing costs (moving
        the device, starting a program) is no part of any stage.

        Raises:
            TunnelFailed: no handshake, refused, no address, or past the deadline.
        """

    def lost(self) -> TunnelFailed | None:
        """Why the tunnel is no longer up, or None: it is. Cheap; asked several times a second."""

    def down(self) -> None:
        """Say goodbye to the peer where the protocol can, so that the account's session ends.

        It takes less than a second.
        """
