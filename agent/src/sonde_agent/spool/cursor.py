"""A stream's cursor: what is committed at the collector, moved inside the caller's transaction."""

import sqlite3

import structlog

from sonde_agent.spool import ledger
from sonde_agent.spool.ledger import Stream

log = structlog.get_logger()


def advance(
    db: sqlite3.Connection, stream: Stream, seq: int, chain: bytes, *, database_id: bytes, at_s: float
) -> None:
    """All up to seq is committed: it is history from now on, aged from at_s on [s since 1970]."""
    ledger.split_gap(db, stream, seq, chain)
    stream.acked_seq, stream.acked_chain, stream.database_id = seq, chain, database_id
    ledger.save(db, stream)
    minute = int(at_s // 60) + 1
    db.execute("INSERT OR REPLACE INTO acks VALUES (?, ?, ?)", (stream.id, minute * 60_000_000, seq))


def rewind(db: sqlite3.Connection, stream: Stream, seq: int, chain: bytes, database_id: bytes) -> None:
    """The collector has less than was acked: history is to be sent again, and what is gone becomes a gap."""
    log.warning("cursor_behind", acked=stream.acked_seq, cursor=seq, hint="the collector's database is older")
    if seq < stream.floor_seq:
        first, last, end = seq + 1, stream.floor_seq, stream.floor_chain
        stream.floor_seq, stream.floor_chain = seq, chain
        stream.acked_seq = seq
        ledger.add_gap(
            db, stream, first, last, reason=ledger.HISTORY_EXPIRED, measured_us=(None, None), chain=end
        )
    else:
        ledger.split_gap(db, stream, seq, chain)
    db.execute("DELETE FROM acks WHERE stream = ? AND seq > ?", (stream.id, seq))
    stream.acked_seq, stream.acked_chain, stream.database_id = seq, chain, database_id
    ledger.save(db, stream)
