"""The one transaction that turns batches into rows: all of it is committed, or nothing.

Lock the cursors in one order → admit (fence, order, trim) → resolve stable keys and lock their parents → COPY
→ rejects, gaps, marks, batches → advance the cursors → COMMIT. Whatever happens to a COMMIT's answer, the
same write can simply be made again: what was committed lies below the cursor and is trimmed.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

import numpy as np
import psycopg
from attrs import evolve, frozen
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from sonde_collector.db.queries import query
from sonde_collector.ingest import hold
from sonde_collector.ingest.arrival import Arrival
from sonde_collector.ingest.attempt import Attempt
from sonde_collector.ingest.cursors import Admitted, Cursor, Refusal, admit
from sonde_collector.ingest.judge import Verdict, explain, instant
from sonde_collector.ingest.merge import Rows
from sonde_collector.ingest.prepared import Prepared
from sonde_collector.ingest.rules import Reason
from sonde_collector.ingest.tables import hours, places

LIVE_S = 60.0
"""A session counts as alive for so long after its last sign. [s]"""

_SERIES = {"performance": "performance", "endpoint": "endpoint"}


@frozen(eq=False)
class Settled:
    """How a batch ended: its stream's cursor after the write, or why it was refused."""

    arrival: Arrival
    acked_seq: int
    chain: bytes
    refusal: Refusal | None


@frozen(eq=False)
class Outcome:
    """What a committed write did."""

    settled: Sequence[Settled]
    rows: int
    trimmed: int
    rejected: dict[str, int]
    lost: dict[str, int]
    """Reason of a gap -> results in it."""


def write(conn: psycopg.Connection, prepared: Prepared, *, by_row: bool, careful: bool = False) -> Outcome:
    """Commits a write.

    Args:
        conn: in autocommit mode, so that the transaction is this function's own.
        prepared: what to write.
        by_row: leave foreign keys to PostgreSQL's triggers; else their parents' locks taken here must do.
        careful: with savepoints, so that a row that the database refuses costs only itself.

    Raises:
        psycopg.Error: nothing was committed, or, when the connection broke in COMMIT, nobody knows: again.
    """
    with conn.transaction():
        cursors = _lock(conn, prepared.arrivals)
        admitted = admit(prepared.arrivals, cursors)
        if not by_row:
            conn.execute(query("ingest_keys_checked"))
        owners = [cursors.get(arrival.epoch) for arrival in prepared.arrivals]
        attempt = Attempt(
            conn,
            prepared,
            admitted,
            careful,
            np.array([owner.stream_id if owner else 0 for owner in owners], np.int32),
            np.array([owner.probe_id if owner else 0 for owner in owners], np.int16),
        )
        trimmed = np.zeros(len(owners), np.int64)
        for rows, verdict in prepared.parts:
            trimmed += _write_kind(attempt, rows, verdict)
        return _finish(attempt, cursors, trimmed)


def _lock(conn: psycopg.Connection, arrivals: Sequence[Arrival]) -> dict[bytes, Cursor]:
    # The probe needs no lock of its own: nobody can delete it while a stream of it exists, which is locked.
    epochs = list({arrival.epoch for arrival in arrivals})
    found = conn.execute(query("ingest_lock_cursors"), {"epochs": epochs}, binary=True).fetchall()
    return {
        epoch: Cursor(stream_id=stream, probe_id=probe, acked_seq=acked, chain=chain, session=session)
        for stream, epoch, probe, acked, chain, session in found
    }


def _write_kind(attempt: Attempt, rows: Rows, verdict: Verdict) -> NDArray[np.int64]:
    """Copies or rejects the rows of one kind; gives per batch how many were trimmed."""
    fresh = rows.seq > attempt.admitted.floor[rows.batch]
    trimmed = np.zeros(len(attempt.prepared.arrivals), np.int64)
    if not fresh.all():
        trimmed = np.bincount(rows.batch[~fresh], minlength=len(trimmed))
        rows = rows.pick(fresh)
        verdict = Verdict(verdict.reason[fresh], verdict.about[fresh])
    else:
        verdict = Verdict(verdict.reason.copy(), verdict.about.copy())
    if not len(rows):
        return trimmed
    resolved = attempt.resolve(rows, verdict)
    accepted = verdict.accepted
    if not accepted.all():
        for row in np.flatnonzero(~accepted).tolist():
            received = attempt.prepared.arrivals[int(rows.batch[row])].received_at_us
            detail = explain(rows, row, verdict, attempt.prepared.strings, received)
            attempt.reject(rows, row, Reason(int(verdict.reason[row])), detail)
        rows = rows.pick(accepted)
    for table, mine in places(rows):
        attempt.copy(table, rows if mine.all() else rows.pick(mine), resolved)
    return trimmed


def _finish(attempt: Attempt, cursors: dict[bytes, Cursor], trimmed: NDArray[np.int64]) -> Outcome:
    conn, prepared, admitted = attempt.conn, attempt.prepared, attempt.admitted
    batches = len(prepared.arrivals)
    committed = np.zeros(batches, np.int64)
    for _, rows in attempt.copied:
        committed += np.bincount(rows.batch, minlength=batches)
    rejected = np.bincount([reject.batch for reject in attempt.rejects], minlength=batches)
    if attempt.rejects:
        conn.execute(query("ingest_rejects"), _reject_columns(attempt))
    lost = _write_gaps(attempt)
    marks = hours(_dirty(attempt.copied), attempt.probe_id)
    fresh = [number for number in range(batches) if _is_fresh(admitted, number)]
    moved = [cursor for epoch, cursor in admitted.after.items() if cursor is not cursors[epoch]]
    if fresh:
        arrivals = [prepared.arrivals[number] for number in fresh]
        offsets = [arrival.clock_offset_us for arrival in arrivals]
        conn.execute(
            query("ingest_finish"),
            {
                "series": [mark[0] for mark in marks],
                "hours": [instant(mark[1]) for mark in marks],
                "probes": [mark[2] for mark in marks],
                "streams": attempt.stream_id[fresh].tolist(),
                "first": (np.maximum([a.first_seq for a in arrivals], admitted.floor[fresh] + 1)).tolist(),
                "last": [arrival.last_seq for arrival in arrivals],
                "received_at": [instant(arrival.received_at_us) for arrival in arrivals],
                "rows": committed[fresh].tolist(),
                "trimmed": trimmed[fresh].tolist(),
                "rejected": rejected[fresh].tolist(),
                "offsets": [None if offset is None else offset / 1000 for offset in offsets],
                "versions": [arrival.agent_version for arrival in arrivals],
                "revisions": [arrival.config_revision for arrival in arrivals],
                "databases": [UUID(bytes=a.database_id) if a.database_id else None for a in arrivals],
                "cursors": [cursor.stream_id for cursor in moved],
                "acked": [cursor.acked_seq for cursor in moved],
                "chains": [cursor.chain for cursor in moved],
                "seconds": LIVE_S,
                "server_verdicts": attempt.told.verdicts.get("server"),
                "target_verdicts": attempt.told.verdicts.get("target"),
                "labels": Jsonb(attempt.told.labels),
            },
        )
    reasons: dict[str, int] = {}
    for reject in attempt.rejects:
        reasons[reject.reason.name.lower()] = reasons.get(reject.reason.name.lower(), 0) + 1
    settled = list(_settle(prepared, admitted))
    return Outcome(settled, int(committed.sum()), int(trimmed.sum()), reasons, lost)


def _dirty(copied: Sequence[tuple[str, Rows]]) -> Iterable[tuple[str, Rows]]:
    """Gives what must be counted anew, or judged, because of these rows: series and rows."""
    for table, rows in copied:
        if table in _SERIES:
            yield _SERIES[table], rows
        if rows.kind == "performance" and (told := hold.evidence(rows)).any():
            yield "held", rows.pick(told)


def _is_fresh(admitted: Admitted, number: int) -> bool:
    return bool(admitted.floor[number] != np.iinfo(np.int64).max)


def _settle(prepared: Prepared, admitted: Admitted) -> Iterable[Settled]:
    for arrival, refusal in zip(prepared.arrivals, admitted.refusals, strict=True):
        cursor = admitted.after.get(arrival.epoch)
        if cursor is None:
            yield Settled(arrival, 0, b"", refusal)
        else:
            yield Settled(arrival, cursor.acked_seq, cursor.chain, refusal)


def _write_gaps(attempt: Attempt) -> dict[str, int]:
    gaps = [
        (int(attempt.stream_id[number]), evolve(gap, first_seq=max(gap.first_seq, int(floor) + 1)))
        for number, (arrival, floor) in enumerate(
            zip(attempt.prepared.arrivals, attempt.admitted.floor, strict=True)
        )
        for gap in arrival.gaps
        if gap.last_seq > floor
    ]
    if gaps:
        attempt.conn.execute(
            query("ingest_gaps"),
            {
                "streams": [stream for stream, _ in gaps],
                "first": [gap.first_seq for _, gap in gaps],
                "last": [gap.last_seq for _, gap in gaps],
                "reasons": [gap.reason for _, gap in gaps],
                "from_at": [None if gap.from_us is None else instant(gap.from_us) for _, gap in gaps],
                "until_at": [None if gap.until_us is None else instant(gap.until_us) for _, gap in gaps],
            },
        )
    lost: dict[str, int] = {}
    for _, gap in gaps:
        lost[gap.reason] = lost.get(gap.reason, 0) + gap.last_seq - gap.first_seq + 1
    return lost


def _reject_columns(attempt: Attempt) -> dict[str, object]:
    rejects = attempt.rejects
    return {
        "streams": [int(attempt.stream_id[reject.batch]) for reject in rejects],
        "seqs": [reject.seq for reject in rejects],
        "kinds": [reject.kind for reject in rejects],
        "targets": [reject.target for reject in rejects],
        "measured_at": [instant(reject.measured_at_us) for reject in rejects],
        "reasons": [reject.reason.name.lower() for reject in rejects],
        "details": [reject.detail for reject in rejects],
        "results": [reject.result for reject in rejects],
    }
