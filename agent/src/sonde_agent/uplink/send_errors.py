"""What to do when the collector, or the way to it, ends a call. **Pure.**

One row per status, beside what `ingest.proto` says about it; control uses the same table.
"""

import enum
from collections.abc import Mapping

import grpc


class Action(enum.Enum):
    """What the agent does next. None of them has an end, and none deletes anything."""

    RETRY = "retry"  # connect anew after a back-off with full jitter
    WAIT = "wait"  # nothing is wrong with us: try again after a longer pause
    RESYNC = "resync"  # start again from hello on the same connection; back-off if it repeats
    QUARANTINE = "quarantine"  # find the result that can't be read, and set it aside
    RE_ENROL = "re-enrol"  # read the certificate anew and try again; a person may have to enrol
    STOP = "stop"  # ask again now and then; a person has to decide. Measuring goes on


ACTIONS: Mapping[grpc.StatusCode, Action] = {
    # The collector ended the stream in good order: it stops or restarts.
    grpc.StatusCode.OK: Action.RETRY,
    # A proxy or the collector's shutdown ended the call.
    grpc.StatusCode.CANCELLED: Action.RETRY,
    # An exception in the collector; it may be gone with the next try.
    grpc.StatusCode.UNKNOWN: Action.RETRY,
    # A batch is malformed: find the result and set it aside.
    grpc.StatusCode.INVALID_ARGUMENT: Action.QUARANTINE,
    # Too slow this time.
    grpc.StatusCode.DEADLINE_EXCEEDED: Action.RETRY,
    # The vantage is not in the inventory yet.
    grpc.StatusCode.NOT_FOUND: Action.WAIT,
    # Not sent by our collector; a proxy's word is no reason to delete or stop.
    grpc.StatusCode.ALREADY_EXISTS: Action.RETRY,
    # The certificate's name is not this vantage, or it was revoked.
    grpc.StatusCode.PERMISSION_DENIED: Action.RE_ENROL,
    # The certificate is missing or expired.
    grpc.StatusCode.UNAUTHENTICATED: Action.RE_ENROL,
    # The collector asks for time.
    grpc.StatusCode.RESOURCE_EXHAUSTED: Action.WAIT,
    # This spool is a copy: its history is not the stream's, or the original is connected.
    grpc.StatusCode.FAILED_PRECONDITION: Action.STOP,
    # Fenced: a newer connection of this stream took over. At once would start a tug of war.
    grpc.StatusCode.ABORTED: Action.WAIT,
    # first_seq is not the cursor's successor.
    grpc.StatusCode.OUT_OF_RANGE: Action.RESYNC,
    # The collector is too old for this call.
    grpc.StatusCode.UNIMPLEMENTED: Action.WAIT,
    # Something broke on the way or in the collector.
    grpc.StatusCode.INTERNAL: Action.RETRY,
    # Not reachable, or going down.
    grpc.StatusCode.UNAVAILABLE: Action.RETRY,
    # Not sent by our collector; what it lost it will tell by its cursor.
    grpc.StatusCode.DATA_LOSS: Action.RETRY,
}

NEW_CONNECTION = frozenset({Action.RETRY, Action.RE_ENROL})
"""Actions after which the next try needs a connection of its own."""
