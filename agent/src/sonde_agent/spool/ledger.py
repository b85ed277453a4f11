"""What a stream consists of: rows, gaps, floor and cursor, changed inside the caller's transaction."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from sonde_agent.spool.model import StreamView, link_gap
from sonde_proto.v1 import ingest_pb2

CORRUPT = ingest_pb2.GAP_REASON_CORRUPT
HISTORY_EXPIRED = ingest_pb2.GAP_REASON_HISTORY_EXPIRED
QUARANTINED = ingest_pb2.GAP_REASON_QUARANTINED
SPOOL_FULL = ingest_pb2.GAP_REASON_SPOOL_FULL
TOO_OLD = ingest_pb2.GAP_REASON_TOO_OLD

ROW_OVERHEAD_BYTES = 64  # chain, numbers and headers beside the body, measured at 61 on pages 90 % full


@dataclass(slots=True)
class Stream:
    """A stream's state; equal to the file's after each transaction."""

    id: int
    epoch: bytes
    copied: bool
    floor_seq: int
    floor_chain: bytes
    acked_seq: int
    acked_chain: bytes
    database_id: bytes
    refused: str
    aside: bool
    highest_seq: int
    chain: bytes
    """The chain at highest_seq."""

    def view(self, *, current: bool) -> StreamView:
        """The state for others to read."""
        return StreamView(
            id=self.id,
            epoch=self.epoch,
            copied=self.copied,
            acked_seq=self.acked_seq,
            chain=self.acked_chain,
            highest_seq=self.highest_seq,
            current=current,
            refused=self.refused,
        )


def load(db: sqlite3.Connection) -> list[Stream]:
    """All streams, oldest first."""
    streams = []
    for row in db.execute(
        "SELECT id, epoch, copied, floor_seq, floor_chain, acked_seq, acked_chain, database_id, refused, "
        "aside, floor_seq, floor_chain FROM streams ORDER BY id"
    ).fetchall():
        stream = Stream(*row)
        stream.copied, stream.aside = bool(stream.copied), bool(stream.aside)
        for last in (
            "SELECT seq, chain FROM results WHERE stream = ? ORDER BY seq DESC LIMIT 1",
            "SELECT last_seq, chain FROM gaps WHERE stream = ? ORDER BY first_seq DESC LIMIT 1",
        ):
            found = db.execute(last, (stream.id,)).fetchone()
            if found and found[0] > stream.highest_seq:
                stream.highest_seq, stream.chain = found
        streams.append(stream)
    return streams


def begin(db: sqlite3.Connection, epoch: bytes) -> Stream:
    """Add a new stream, which becomes the current one."""
    stream_id = db.execute("INSERT INTO streams (epoch) VALUES (?)", (epoch,)).lastrowid
    assert stream_id is not None
    return Stream(stream_id, epoch, False, 0, b"", 0, b"", b"", "", False, 0, b"")


def save(db: sqlite3.Connection, stream: Stream) -> None:
    """Write floor, cursor and standing of a stream."""
    db.execute(
        "UPDATE streams SET copied = ?, floor_seq = ?, floor_chain = ?, acked_seq = ?, acked_chain = ?, "
        "database_id = ?, refused = ?, aside = ? WHERE id = ?",
        (
            stream.copied,
            stream.floor_seq,
            stream.floor_chain,
            stream.acked_seq,
            stream.acked_chain,
            stream.database_id,
            stream.refused,
            stream.aside,
            stream.id,
        ),
    )


def forget(db: sqlite3.Connection, stream: Stream) -> None:
    """Remove a stream that holds nothing."""
    for table in ("acks", "gaps", "results", "quarantine"):
        db.execute(f"DELETE FROM {table} WHERE stream = ?", (stream.id,))  # noqa: S608  # names of our own
    db.execute("DELETE FROM streams WHERE id = ?", (stream.id,))


def chain_at(db: sqlite3.Connection, stream: Stream, seq: int) -> bytes | None:
    """The chain at a seq; None where the spool no longer knows it."""
    known = {
        0: b"",
        stream.floor_seq: stream.floor_chain,
        stream.acked_seq: stream.acked_chain,
        stream.highest_seq: stream.chain,
    }
    if seq in known:
        return known[seq]
    for query in (
        "SELECT chain FROM results WHERE stream = ? AND seq = ?",
        "SELECT chain FROM gaps WHERE stream = ? AND last_seq = ?",
    ):
        found = db.execute(query, (stream.id, seq)).fetchone()
        if found:
            return bytes(found[0])
    return None


def split_gap(db: sqlite3.Connection, stream: Stream, seq: int, chain: bytes) -> None:
    """Cut the gap that reaches over a seq, so that one part ends there."""
    found = db.execute(
        "SELECT first_seq, last_seq, reason, from_us, until_us, chain FROM gaps "
        "WHERE stream = ? AND first_seq <= ? AND last_seq > ?",
        (stream.id, seq, seq),
    ).fetchone()
    if found:
        first, last, reason, from_us, until_us, end = found
        db.execute(
            "UPDATE gaps SET last_seq = ?, chain = ? WHERE stream = ? AND first_seq = ?",
            (seq, chain, stream.id, first),
        )
        db.execute(
            "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?)",
            (stream.id, seq + 1, last, reason, from_us, until_us, end),
        )


def raise_floor(db: sqlite3.Connection, stream: Stream, seq: int) -> None:
    """Delete history up to a seq whose chain is known: that of a row, or acked_seq."""
    if seq <= stream.floor_seq:
        return
    chain = chain_at(db, stream, seq)
    assert chain is not None
    split_gap(db, stream, seq, chain)
    db.execute("DELETE FROM results WHERE stream = ? AND seq <= ?", (stream.id, seq))
    db.execute("DELETE FROM gaps WHERE stream = ? AND last_seq <= ?", (stream.id, seq))
    db.execute("DELETE FROM acks WHERE stream = ? AND seq <= ?", (stream.id, seq))
    stream.floor_seq, stream.floor_chain = seq, chain
    save(db, stream)


def declare(db: sqlite3.Connection, stream: Stream, first: int, last: int, reason: int) -> None:
    """Put a gap in the place of rows first..last, joined to an equal one right before it.

    Gaps that lie in the range already stay as they are.
    """
    position = first
    inside = db.execute(
        "SELECT first_seq, last_seq FROM gaps WHERE stream = ? AND last_seq >= ? AND first_seq <= ? "
        "ORDER BY first_seq",
        (stream.id, first, last),
    ).fetchall()
    for gap_first, gap_last in [*inside, (last + 1, last)]:
        if gap_first > position:
            _declare_rows(db, stream, position, gap_first - 1, reason)
        position = max(position, gap_last + 1)


def _declare_rows(db: sqlite3.Connection, stream: Stream, first: int, last: int, reason: int) -> None:
    from_us, until_us = db.execute(
        "SELECT min(measured_us), max(measured_us) FROM results WHERE stream = ? AND seq BETWEEN ? AND ?",
        (stream.id, first, last),
    ).fetchone()
    before = chain_at(db, stream, first - 1) or b""
    chain = chain_at(db, stream, last) or link_gap(before, first, last)
    db.execute("DELETE FROM results WHERE stream = ? AND seq BETWEEN ? AND ?", (stream.id, first, last))
    add_gap(db, stream, first, last, reason=reason, measured_us=(from_us, until_us), chain=chain)


def add_gap(
    db: sqlite3.Connection,
    stream: Stream,
    first: int,
    last: int,
    *,
    reason: int,
    measured_us: tuple[int | None, int | None],
    chain: bytes,
) -> None:
    """Record a gap, joined to one of the same reason that ends right before it, unless that one is acked."""
    from_us, until_us = measured_us
    joined = 0
    if first - 1 != stream.acked_seq:
        joined = db.execute(
            "UPDATE gaps SET last_seq = ?, chain = ?, "
            "from_us = min(coalesce(from_us, ?), coalesce(?, from_us)), "
            "until_us = max(coalesce(until_us, ?), coalesce(?, until_us)) "
            "WHERE stream = ? AND last_seq = ? AND reason = ?",
            (last, chain, from_us, from_us, until_us, until_us, stream.id, first - 1, reason),
        ).rowcount
    if not joined:
        db.execute(
            "INSERT INTO gaps VALUES (?, ?, ?, ?, ?, ?, ?)",
            (stream.id, first, last, reason, from_us, until_us, chain),
        )


def free_oldest(db: sqlite3.Connection, streams: list[Stream], want_bytes: int) -> int:
    """Delete the oldest history, then what is quarantined, then the oldest that waits, leaving gaps.

    Returns:
        How many waiting results were dropped.
    """
    for stream in streams:
        seq, freed = _oldest(db, stream, stream.floor_seq, stream.acked_seq, want_bytes)
        if freed:
            raise_floor(db, stream, stream.acked_seq if freed < want_bytes else seq)
            want_bytes -= freed
        if want_bytes <= 0:
            return 0
    for stream_id, seq, size in db.execute(
        "SELECT stream, seq, length(body) FROM quarantine ORDER BY stream, seq"
    ).fetchall():
        db.execute("DELETE FROM quarantine WHERE stream = ? AND seq = ?", (stream_id, seq))
        want_bytes -= size + ROW_OVERHEAD_BYTES
        if want_bytes <= 0:
            return 0
    dropped = 0
    for stream in streams:
        seq, freed = _oldest(db, stream, stream.acked_seq, stream.highest_seq, want_bytes)
        if freed:
            dropped += drop(db, stream, seq, SPOOL_FULL)
            want_bytes -= freed
        if want_bytes <= 0:
            break
    return dropped


def drop(db: sqlite3.Connection, stream: Stream, seq: int, reason: int) -> int:
    """Drop waiting results up to a seq and leave a gap; the stream's history goes with them.

    Returns:
        How many results.
    """
    raise_floor(db, stream, stream.acked_seq)
    (count,) = db.execute(
        "SELECT count(*) FROM results WHERE stream = ? AND seq <= ?", (stream.id, seq)
    ).fetchone()
    declare(db, stream, stream.acked_seq + 1, seq, reason)
    return int(count)


def _oldest(
    db: sqlite3.Connection, stream: Stream, after: int, until: int, want_bytes: int
) -> tuple[int, int]:
    """The seq up to which rows in (after, until] amount to the bytes wanted, and what they amount to."""
    seq, freed = after, 0
    for seq, size in _sizes(db, stream, after, until):  # noqa: B007  # the last one is the answer
        freed += size + ROW_OVERHEAD_BYTES
        if freed >= want_bytes:
            break
    return seq, freed


def _sizes(db: sqlite3.Connection, stream: Stream, after: int, until: int) -> Iterator[tuple[int, int]]:
    rows = db.execute(
        "SELECT seq, length(body) FROM results WHERE stream = ? AND seq > ? AND seq <= ? ORDER BY seq",
        (stream.id, after, until),
    )
    try:
        yield from rows
    finally:
        rows.close()  # an open cursor would hold the transaction
