"""What one tunnel run says about its server. No socket, no clock."""

from dataclasses import dataclass, field

from sonde_proto.v1 import results_pb2 as pb
from sonde_proto.v1 import tunnel_pb2

OURS = frozenset(
    (
        pb.FAILURE_LOCAL,
        pb.FAILURE_UNSUPPORTED,
        pb.FAILURE_POLICY,
        pb.FAILURE_INTERNAL,
        pb.FAILURE_PROFILE,
        pb.FAILURE_PERMISSION,
    )
)
"""Failures of our side: they say nothing about the server."""

WIREGUARD = "WireGuard"


@dataclass(slots=True, kw_only=True)
class Course:
    """What was seen of one run, filled in as it goes on.

    Attributes:
        protocol: what was spoken.
        stages: how long each stage took that was passed [ms].
        up: the tunnel; None = none came up.
        inside: kind and result of what ran inside, in order.
        ended: how the tunnel ended; None = it was still up when the run's time was over.
        family: of the server's address; 0 = there was none.
        direct_ping: the direct echoes; None = none were sent.
        direct_throughput: the direct transfer; None = there was none.
        own_address: under which the exit's URL sees this host without a tunnel; None = nobody could say.
        exit_silent: the exit's URL was silent through the tunnel, and is so without one.
        own_family: False = this host has no way out for the exit's family, so that the exit can't be ours.
    """

    protocol: str
    stages: dict[pb.Stage.ValueType, float] = field(default_factory=dict)
    up: tunnel_pb2.TunnelUp | None = None
    inside: list[tuple[str, pb.Result]] = field(default_factory=list)
    ended: tunnel_pb2.TunnelEnded | None = None
    family: int = 0
    direct_ping: pb.Performance | None = None
    direct_throughput: pb.Performance | None = None
    own_address: str | None = None
    own_family: bool = True
    exit_silent: bool = False

    @property
    def answers_ping(self) -> bool:
        """Whether the server's host is alive, by an echo."""
        return self.direct_ping is not None and self.direct_ping.received > 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run is to be judged; `connected` None = it says nothing about the server."""

    connected: bool | None
    failure: pb.Failure.ValueType = pb.FAILURE_NONE
    stage: pb.Stage.ValueType = pb.STAGE_NONE
    detail: str = ""


def judge(course: Course) -> Verdict:
    """Say whether there was a connection, and what failed where. **Pure.**"""
    if course.up is None:
        return _without_tunnel(course, course.ended)
    up = course.up
    if up.exit_address and up.exit_address == course.own_address:
        words = f"the world sees {up.exit_address} through the tunnel, which is this host's own address"
        return Verdict(False, pb.FAILURE_LEAK, pb.STAGE_FIRST_BYTE, words)
    asked = [result for _, result in course.inside if _failure(result) not in OURS]
    # That one platform gives no answer is no word on the tunnel; that one gives an answer is.
    doubtful = [result for result in asked if not result.HasField("unlock")]
    if doubtful and not up.first_byte_ms and not any(map(_came_through, asked)):
        words = "the tunnel is up, but nothing comes through it"
        return Verdict(False, pb.FAILURE_TIMEOUT, pb.STAGE_FIRST_BYTE, words)
    if course.ended is None:
        return Verdict(True, pb.FAILURE_TIMEOUT, pb.STAGE_TRANSFER, "the run's time was over")
    if course.ended.failure:
        return Verdict(True, course.ended.failure, course.ended.stage, course.ended.detail)
    return _of_inside(course)


def _without_tunnel(course: Course, ended: tunnel_pb2.TunnelEnded | None) -> Verdict:
    if ended is None:
        last = max(course.stages, default=pb.STAGE_NONE)
        connected = False if course.stages else None  # the helper tells a server's silence: this is its own
        return Verdict(connected, pb.FAILURE_TIMEOUT, last, "the run's time was over before the tunnel stood")
    if not ended.failure:
        return Verdict(True)  # a handshake alone was asked for
    if course.exit_silent:
        words = f"the exit URL does not answer directly either: {ended.detail}"
        return Verdict(None, pb.FAILURE_LOCAL, ended.stage, words)
    connected = None if ended.failure in OURS else False
    return Verdict(connected, ended.failure, _stage(course, ended), ended.detail)


def _of_inside(course: Course) -> Verdict:
    """Tell the first failure of what ran in a tunnel that stood."""
    for kind, result in course.inside:
        row = result.performance
        if row.failure:
            words = f"{kind} inside the tunnel" + (f": {row.detail}" if row.detail else "")
            return Verdict(True, row.failure, max(row.stage, pb.STAGE_FIRST_BYTE), words)
    return Verdict(True)


def _stage(course: Course, ended: tunnel_pb2.TunnelEnded) -> pb.Stage.ValueType:
    """Where it failed. WireGuard is silent for two reasons, which an answer to our echoes tells apart."""
    if (
        course.protocol == WIREGUARD
        and ended.failure == pb.FAILURE_TIMEOUT
        and ended.stage in (pb.STAGE_TRANSPORT, pb.STAGE_HANDSHAKE)
    ):
        return pb.STAGE_HANDSHAKE if course.answers_ping else pb.STAGE_TRANSPORT
    return ended.stage


def _failure(result: pb.Result) -> pb.Failure.ValueType:
    return getattr(result, result.WhichOneof("payload") or "performance").failure  # type: ignore[no-any-return]


def _came_through(result: pb.Result) -> bool:
    """Whether anything came back; a refusal did."""
    if _failure(result) == pb.FAILURE_REFUSED:
        return True
    if result.HasField("unlock"):
        return result.unlock.exchanges > 0
    if result.HasField("endpoint"):
        return result.endpoint.ok or result.endpoint.stage > pb.STAGE_TRANSPORT
    row = result.performance
    return bool(row.received or row.down_bytes or row.up_bytes)
