"""What of a write may be committed, given the cursors: fence, order, trim. **Pure.**"""

from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from sonde_collector.ingest.arrival import Arrival

_NOTHING = np.iinfo(np.int64).max


class Refused(Enum):
    """Why a batch was not written; its connection ends."""

    FENCED = "fenced: a newer connection of this stream took over"
    OUT_OF_RANGE = "out of range"
    DIVERGED = "diverged"


@frozen
class Cursor:
    """How far a stream is committed, and who may write it."""

    stream_id: int
    probe_id: int
    acked_seq: int
    chain: bytes
    session: int


@frozen
class Refusal:
    """The end of a batch that was not written."""

    why: Refused
    detail: str


@frozen(eq=False)
class Admitted:
    """What to do with each batch of a write.

    Attributes:
        floor: per batch, rows up to this seq are trimmed; the largest int64 where nothing of it is written.
        refusals: per batch; None where it is written or is a replay.
        after: stream -> its cursor when the write is committed.
    """

    floor: NDArray[np.int64]
    refusals: Sequence[Refusal | None]
    after: Mapping[bytes, Cursor]


def admit(arrivals: Sequence[Arrival], cursors: Mapping[bytes, Cursor]) -> Admitted:
    """Decides batch by batch, in order; the second of a stream continues where the first will have ended."""
    after = dict(cursors)
    floor = np.full(len(arrivals), _NOTHING, np.int64)
    refusals: list[Refusal | None] = []
    for number, arrival in enumerate(arrivals):
        cursor = after.get(arrival.epoch)
        refusal = _refuse(arrival, cursor)
        refusals.append(refusal)
        if refusal is None and cursor is not None and arrival.last_seq > cursor.acked_seq:
            floor[number] = cursor.acked_seq
            after[arrival.epoch] = evolve(cursor, acked_seq=arrival.last_seq, chain=arrival.chain)
    return Admitted(floor, refusals, after)


def _refuse(arrival: Arrival, cursor: Cursor | None) -> Refusal | None:
    if cursor is None or cursor.session != arrival.session:
        return Refusal(Refused.FENCED, Refused.FENCED.value)
    if arrival.first_seq > cursor.acked_seq + 1:
        return Refusal(
            Refused.OUT_OF_RANGE,
            f"first_seq {arrival.first_seq} does not follow {cursor.acked_seq}: begin with a hello",
        )
    if arrival.last_seq == cursor.acked_seq and arrival.chain != cursor.chain:
        return Refusal(
            Refused.DIVERGED,
            f"this spool's history up to {arrival.last_seq} is not what was committed: it is a copy that "
            "went its own way; `sonde-agent spool --new-stream` lets it go on as a stream of its own",
        )
    return None
