"""What a handshake without a tunnel yields."""

from collections.abc import Callable

from attrs import field, frozen

from sonde_proto.v1 import results_pb2 as pb

Refuse = Callable[[str, int | None], str | None]
"""Why the policy forbids an address and port, or None: it does not."""


@frozen
class Handshake:
    """How far a handshake came.

    Attributes:
        stages: how long each stage took that was passed [ms], in order.
        failure: FAILURE_NONE = the peer shook hands.
        stage: in which it failed.
        detail: why, in words for a person; "" = it did not fail.
        address: the peer's; "" = there was none.
        family: of the address, 4 or 6; 0 = there was none.
    """

    stages: dict[pb.Stage.ValueType, float] = field(factory=dict)
    failure: pb.Failure.ValueType = pb.FAILURE_NONE
    stage: pb.Stage.ValueType = pb.STAGE_NONE
    detail: str = ""
    address: str = ""
    family: int = 0
