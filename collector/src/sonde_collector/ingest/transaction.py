"""The one transaction that turns batches into rows: all of it is committed, or nothing.

Lock the cursors in one order → admit (fence, order, trim) → resolve stable keys and lock their parents → COPY
→ rejects, gaps, marks, batches → advance the cursors → COMMIT. Whatever happens to a COMMIT's answer, the
same write can simply be made again: what was committed lies below the cursor and is trimmed.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

import numpy as np
import psycopg
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from sonde_collector.db.copy import Texts, encode, send
from sonde_collector.db.queries import query
from sonde_collector.ingest.arrival import Arrival
from sonde_collector.ingest.cursors import Admitted, Cursor, Refusal, admit
from sonde_collector.ingest.judge import Verdict, explain, instant, judge
from sonde_collector.ingest.merge import Rows, merge, strings
from sonde_collector.ingest.rules import MAX_TARGET, Reason
from sonde_collector.ingest.settings import IngestSettings
from sonde_collector.ingest.tables import TABLES, Resolved, cells, columns_of, hours
from sonde_proto import columns
from sonde_proto.quality import Quality

LIVE_S = 60.0
"""A session counts as alive for so long after its last sign. [s]"""

_PARENTS = {"performance": "ingest_lock_servers", "endpoint": "ingest_lock_targets"}
_SERIES = {"performance": "performance", "endpoint": "endpoint"}
_PROTOCOL = next(at for at, item in enumerate(columns.FIELDS["performance"]) if item.name == "protocol")


@frozen(eq=False)
class Prepared:
    """A write before its transaction: merged and judged once, however often the transaction is tried."""

    arrivals: Sequence[Arrival]
    received_at_us: NDArray[np.int64]
    strings: Sequence[str]
    texts: Texts
    parts: Sequence[tuple[Rows, Verdict]]


def prepare(arrivals: Sequence[Arrival], settings: IngestSettings) -> Prepared:
    """Merges and judges the rows of a write. **Pure**; this is the larger part of its CPU time."""
    words = strings(arrivals)
    received = np.array([arrival.received_at_us for arrival in arrivals], np.int64)
    retention_us = int(settings.retention_s * 1e6)
    parts = [(rows, judge(rows, words, received, retention_us=retention_us)) for rows in merge(arrivals)]
    return Prepared(arrivals, received, words, Texts(words), parts)


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


@frozen
class _Reject:
    batch: int
    seq: int
    kind: str
    target: str
    measured_at_us: int
    reason: Reason
    detail: str
    result: bytes


@frozen(eq=False)
class _Write:
    """One try of the transaction."""

    conn: psycopg.Connection
    prepared: Prepared
    admitted: Admitted
    careful: bool
    stream_id: NDArray[np.int32]
    probe_id: NDArray[np.int16]
    rejects: list[_Reject] = field(factory=list)
    copied: list[tuple[str, Rows]] = field(factory=list)

    def resolve(self, rows: Rows, verdict: Verdict) -> Resolved:
        """Finds the ids of what the rows name, locks those parents, and rejects rows that name nothing."""
        prepared = self.prepared
        parent_id = np.zeros(len(prepared.strings), np.int32)
        protocol_id = np.zeros(len(prepared.strings), np.int16)
        if rows.kind in _PARENTS:
            named = self._ids(_PARENTS[rows.kind], "keys", rows.target[verdict.accepted], parent_id)
            unknown = ~named[rows.target] & (rows.target >= 0)
            verdict.flag(unknown, Reason.UNKNOWN_TARGET)
        protocols = rows.columns.get("protocol")
        if protocols is not None:
            codes = protocols.astype(np.int32, copy=False)
            named = self._ids("ingest_protocols", "names", codes[verdict.accepted], protocol_id)
            verdict.flag(~named[codes] & (codes >= 0), Reason.UNKNOWN_PROTOCOL, _PROTOCOL)
        return Resolved(self.stream_id, self.probe_id, parent_id, protocol_id, prepared.texts)

    def _ids(
        self, name: str, parameter: str, codes: NDArray[np.int32], into: NDArray[np.int32] | NDArray[np.int16]
    ) -> NDArray[np.bool_]:
        """Writes the id of each string used into its place; says which strings have one."""
        words = self.prepared.strings
        used = np.zeros(len(words), np.bool_)
        used[codes[codes >= 0]] = True
        places = np.flatnonzero(used).tolist()
        distinct = list({words[place] for place in places})
        found: dict[str, int] = {}
        if distinct:
            found = dict(self.conn.execute(query(name), {parameter: distinct}).fetchall())
        into[places] = [found.get(words[place], 0) for place in places]
        named: NDArray[np.bool_] = into != 0
        return named

    def copy(self, table: str, rows: Rows, resolved: Resolved) -> None:
        """Copies accepted rows; in a careful write, bisects what the database refuses down to the row."""
        if not len(rows):
            return
        data = encode(cells(table, rows, resolved), len(rows))
        names = [column.name for column in columns_of(table)]
        if not self.careful:
            send(self.conn, TABLES[table], names, data)
        else:
            try:
                with self.conn.transaction():
                    send(self.conn, TABLES[table], names, data)
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                if lacks_partition(error):
                    raise
                if len(rows) == 1:
                    detail = str(error.diag.message_primary or error)
                    self.reject(rows, 0, Reason.REFUSED_BY_DATABASE, f"{error.sqlstate}: {detail}")
                    return
                half = np.arange(len(rows))
                self.copy(table, rows.pick(half[: len(rows) // 2]), resolved)
                self.copy(table, rows.pick(half[len(rows) // 2 :]), resolved)
                return
        self.copied.append((table, rows))

    def reject(self, rows: Rows, row: int, reason: Reason, detail: str) -> None:
        """Notes a row that can't be written, with the bytes of its result."""
        batch, index = int(rows.batch[row]), int(rows.index[row])
        arrival = self.prepared.arrivals[batch]
        (table,) = (table for table in arrival.tables if table.kind == rows.kind)
        result = columns.row(table, index, arrival.strings)
        self.rejects.append(
            _Reject(
                batch=batch,
                seq=int(rows.seq[row]),
                kind=rows.kind,
                target=result.target.replace("\0", "\ufffd")[:MAX_TARGET],
                measured_at_us=int(rows.measured_at_us[row]),
                reason=reason,
                detail=detail,
                result=result.SerializeToString(),
            )
        )


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
        attempt = _Write(
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


def lacks_partition(error: psycopg.Error) -> bool:
    """Whether a row had no partition to go to: class 23 like a bad row, but our own fault and mendable."""
    return error.sqlstate == "23514" and error.diag.constraint_name is None


def _lock(conn: psycopg.Connection, arrivals: Sequence[Arrival]) -> dict[bytes, Cursor]:
    # The probe needs no lock of its own: nobody can delete it while a stream of it exists, which is locked.
    epochs = list({arrival.epoch for arrival in arrivals})
    found = conn.execute(query("ingest_lock_cursors"), {"epochs": epochs}, binary=True).fetchall()
    return {
        epoch: Cursor(stream_id=stream, probe_id=probe, acked_seq=acked, chain=chain, session=session)
        for stream, epoch, probe, acked, chain, session in found
    }


def _write_kind(attempt: _Write, rows: Rows, verdict: Verdict) -> NDArray[np.int64]:
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
    quality = rows.columns.get("quality")
    if rows.kind == "performance" and quality is not None:
        held = (quality > 0) & (quality.astype(np.int32) & Quality.NOT_READY != 0)
        if held.any():
            attempt.copy("held", rows.pick(held), resolved)
            rows = rows.pick(~held)
    attempt.copy(rows.kind, rows, resolved)
    return trimmed


def _finish(attempt: _Write, cursors: dict[bytes, Cursor], trimmed: NDArray[np.int64]) -> Outcome:
    conn, prepared, admitted = attempt.conn, attempt.prepared, attempt.admitted
    batches = len(prepared.arrivals)
    committed = np.zeros(batches, np.int64)
    for _, rows in attempt.copied:
        committed += np.bincount(rows.batch, minlength=batches)
    rejected = np.bincount([reject.batch for reject in attempt.rejects], minlength=batches)
    if attempt.rejects:
        conn.execute(query("ingest_rejects"), _reject_columns(attempt))
    _write_gaps(attempt)
    marks = hours(
        [(_SERIES[table], rows) for table, rows in attempt.copied if table in _SERIES], attempt.probe_id
    )
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
            },
        )
    reasons: dict[str, int] = {}
    for reject in attempt.rejects:
        reasons[reject.reason.name.lower()] = reasons.get(reject.reason.name.lower(), 0) + 1
    return Outcome(list(_settle(prepared, admitted)), int(committed.sum()), int(trimmed.sum()), reasons)


def _is_fresh(admitted: Admitted, number: int) -> bool:
    return bool(admitted.floor[number] != np.iinfo(np.int64).max)


def _settle(prepared: Prepared, admitted: Admitted) -> Iterable[Settled]:
    for arrival, refusal in zip(prepared.arrivals, admitted.refusals, strict=True):
        cursor = admitted.after.get(arrival.epoch)
        if cursor is None:
            yield Settled(arrival, 0, b"", refusal)
        else:
            yield Settled(arrival, cursor.acked_seq, cursor.chain, refusal)


def _write_gaps(attempt: _Write) -> None:
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


def _reject_columns(attempt: _Write) -> dict[str, object]:
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
