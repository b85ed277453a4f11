"""What the spool gives and takes: streams, chunks, gaps, figures; and the chain over a stream's results."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from sonde_proto.v1 import ingest_pb2, results_pb2


class SpoolError(Exception):
    """The spool can't be used. The message says why and what to do."""


class Diverged(SpoolError):
    """The collector knows another history of this stream than the spool does: the spool is a copy."""


@dataclass(frozen=True, slots=True)
class StreamView:
    """One stream, as it was when asked.

    Attributes:
        id: handle for the other calls.
        epoch: the stream's identity, 16 bytes.
        copied: the file was copied or restored since this stream was last written to.
        acked_seq: all up to here is committed at the collector; 0 = nothing.
        chain: the chain at acked_seq; empty at 0.
        highest_seq: the last seq given; 0 = none.
        current: takes new results; the others only drain.
        refused: why the collector does not take it, in words; empty = it does.
    """

    id: int
    epoch: bytes
    copied: bool
    acked_seq: int
    chain: bytes
    highest_seq: int
    current: bool
    refused: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A contiguous range of a stream, ready to become a batch.

    Attributes:
        first_seq, last_seq: the range, inclusive; last_seq < first_seq when there is nothing.
        results: (seq, result), ascending.
        gaps: ascending; with the results they cover the range exactly.
        chain: the chain at last_seq.
        database_id, revision: the assignment that all these results were measured under.
    """

    first_seq: int
    last_seq: int
    results: Sequence[tuple[int, results_pb2.Result]]
    gaps: Sequence[ingest_pb2.Gap]
    chain: bytes
    database_id: bytes
    revision: int

    def __bool__(self) -> bool:
        return self.last_seq >= self.first_seq


@dataclass(frozen=True, slots=True)
class SpoolStats:
    """How full the spool is.

    Attributes:
        rows: results that wait for an ack.
        bytes: what the file holds, history included.
        oldest_us: measured_at of the oldest waiting result; None = nothing waits.
        gaps: gaps that wait for an ack.
        quarantined: results set aside for a person.
        history: acked results still kept.
        lost: results that found no room on the disk and whose gap is not written yet.
    """

    rows: int
    bytes: int
    oldest_us: int | None
    gaps: int
    quarantined: int
    history: int
    lost: int


def link(chain: bytes, seq: int, body: bytes) -> bytes:
    """**Pure.** The chain after a result: SHA-256 of the chain before, seq (8 bytes LE) and the bytes."""
    return hashlib.sha256(chain + seq.to_bytes(8, "little") + body).digest()


def link_gap(chain: bytes, first_seq: int, last_seq: int) -> bytes:
    """**Pure.** The chain after results that were never written."""
    return hashlib.sha256(
        chain + b"gap" + first_seq.to_bytes(8, "little") + last_seq.to_bytes(8, "little")
    ).digest()


def checksum(body: bytes, chain: bytes) -> int:
    """**Pure.** What tells a row that the disk damaged."""
    return zlib.crc32(chain, zlib.crc32(body))
