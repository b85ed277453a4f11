"""What a batch promises about itself. **Pure**: no socket, clock or SQL.

A batch that contradicts itself is refused whole (`MalformedBatch`), because nobody can say which of its rows
are meant. Everything else is judged row by row (`judge`), and a bad row never costs its neighbours.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sonde_collector.ingest.rules import YEAR_1_US, YEAR_10000_US
from sonde_proto.columns import MalformedBatch, Table
from sonde_proto.v1 import ingest_pb2

_ID_BYTES = 16
_CHAIN_BYTES = 32
_MAX_INT64 = 2**63 - 1
_MAX_VERSION = 64

# Ten times what agents send, so that none of them is ever told: they send 1000 results and 1 MiB at most.
MAX_ROWS = 10_000
_MAX_GAPS = 10_000
_MAX_STRINGS = 200_000
_MAX_UNPACKED_BYTES = 16 << 20


def check_size(batch: ingest_pb2.Batch, tables: Sequence[Table], unpacked: int) -> None:
    """Checks that a batch is of a size that the others need not wait for.

    Args:
        batch: as it came.
        tables: its results.
        unpacked: what they take one by one. [bytes]

    Raises:
        MalformedBatch: it is too large; the text says in what.
    """
    for count, most, what in (
        (sum(map(len, tables)), MAX_ROWS, "results"),
        (len(batch.gaps), _MAX_GAPS, "gaps"),
        (len(batch.strings), _MAX_STRINGS, "strings"),
        (unpacked, _MAX_UNPACKED_BYTES, "bytes once unpacked"),
    ):
        if count > most:
            raise MalformedBatch(f"{count} {what}: at most {most} are taken at once; send fewer results")


def check_batch(batch: ingest_pb2.Batch, tables: Sequence[Table]) -> None:
    """Checks what a batch promises about itself: its range, its gaps, each seq exactly once, its header.

    Raises:
        MalformedBatch: a promise is broken; the text names which.
    """
    first, last = batch.first_seq, batch.last_seq
    if not 1 <= first <= last <= _MAX_INT64:
        raise MalformedBatch(
            f"first_seq {first} and last_seq {last} are no range of seqs, which count from 1"
        )
    if len(batch.chain) != _CHAIN_BYTES:
        raise MalformedBatch(f"chain is {len(batch.chain)} bytes, not {_CHAIN_BYTES}")
    if len(batch.database_id) not in {0, _ID_BYTES}:
        raise MalformedBatch(f"database_id is {len(batch.database_id)} bytes, not {_ID_BYTES}")
    if len(batch.agent_version) > _MAX_VERSION or "\0" in batch.agent_version:
        raise MalformedBatch(f"agent_version is longer than {_MAX_VERSION} characters or holds a NUL")
    if batch.config_revision > _MAX_INT64:
        raise MalformedBatch(f"config_revision {batch.config_revision} is above 2^63 - 1")
    if batch.strings and batch.strings[0]:
        raise MalformedBatch('strings[0] is not ""')
    in_gaps = _check_gaps(batch)
    seqs = [np.asarray(table.seq) for table in tables if len(table)]
    _check_seqs(np.concatenate(seqs) if seqs else np.empty(0, np.int64), batch, in_gaps)


def _check_gaps(batch: ingest_pb2.Batch) -> int:
    for gap in batch.gaps:
        if not batch.first_seq <= gap.first_seq <= gap.last_seq <= batch.last_seq:
            raise MalformedBatch(
                f"gap {gap.first_seq}..{gap.last_seq} is outside {batch.first_seq}..{batch.last_seq}"
            )
        if gap.reason not in ingest_pb2.GapReason.values()[1:]:
            raise MalformedBatch(f"gap {gap.first_seq}..{gap.last_seq} has the unknown reason {gap.reason}")
        for name in ("from_us", "until_us"):
            if gap.HasField(name) and not YEAR_1_US <= getattr(gap, name) < YEAR_10000_US:
                raise MalformedBatch(
                    f"gap {gap.first_seq}..{gap.last_seq}: {name} is outside the years 1..9999"
                )
    for before, after in pairwise(batch.gaps):
        if after.first_seq <= before.last_seq:
            raise MalformedBatch(
                f"gap {after.first_seq}..{after.last_seq} begins inside or before the one before it"
            )
    return sum(gap.last_seq - gap.first_seq + 1 for gap in batch.gaps)


def _check_seqs(seqs: NDArray[np.int64], batch: ingest_pb2.Batch, in_gaps: int) -> None:
    first, last = batch.first_seq, batch.last_seq
    if len(seqs) == last - first + 1 and not in_gaps and (seqs == np.arange(first, last + 1)).all():
        return  # nearly every batch: one kind, nothing missing
    ordered = np.sort(seqs)
    if len(ordered) and not first <= ordered[0] <= ordered[-1] <= last:
        stray = ordered[0] if ordered[0] < first else ordered[-1]
        raise MalformedBatch(f"seq {stray} is outside the batch {first}..{last}")
    twice = np.flatnonzero(np.diff(ordered) == 0)
    if len(twice):
        raise MalformedBatch(f"seq {ordered[twice[0]]} stands twice")
    if batch.gaps and len(ordered):
        starts = np.array([gap.first_seq for gap in batch.gaps], np.int64)
        ends = np.array([gap.last_seq for gap in batch.gaps], np.int64)
        at = np.searchsorted(starts, ordered, side="right") - 1
        inside = np.flatnonzero((at >= 0) & (ordered <= ends[at]))
        if len(inside):
            raise MalformedBatch(f"seq {ordered[inside[0]]} has a row and is in a gap too")
    missing = last - first + 1 - len(ordered) - in_gaps
    if missing:
        raise MalformedBatch(f"{missing} seqs of {first}..{last} are neither a row nor in a gap")
