"""What agents measured against what the database holds: seq by seq, value by value."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import psycopg

from sonde_proto.v1 import results_pb2

TABLES = {
    "performance_logs": "measured_at",
    "sonde.performance_held": "measured_at",
    "sonde.endpoint_checks": "measured_at",
    "sonde.vantage_health": "measured_at",
    "sonde.missed_runs": "measured_at",
    "sonde.rejected_results": "measured_at",
}


@dataclass
class Stream:
    """What a spool knows of one of its streams."""

    epoch: bytes
    acked: int
    database_id: bytes
    """The database that all up to acked is committed in."""
    highest: int
    bodies: dict[int, bytes]
    gaps: list[tuple[int, int]]


def read_spool(path: Path, *, bodies: bool = True) -> list[Stream]:
    """The streams of a spool, read beside a running agent."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10) as db:
        db.execute("BEGIN")
        streams: list[Stream] = []
        if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'results'").fetchone():
            return streams  # it is being made
        for number, epoch, acked, database_id in db.execute(
            "SELECT id, epoch, acked_seq, database_id FROM streams WHERE NOT aside ORDER BY id"
        ).fetchall():
            gaps = db.execute("SELECT first_seq, last_seq FROM gaps WHERE stream = ?", (number,)).fetchall()
            (last,) = db.execute("SELECT max(seq) FROM results WHERE stream = ?", (number,)).fetchone()
            highest = max([acked, last or 0, *(gap[1] for gap in gaps)])
            rows = db.execute("SELECT seq, body FROM results WHERE stream = ?", (number,)) if bodies else ()
            streams.append(Stream(epoch, acked, database_id, highest, dict(rows), gaps))
    db.close()
    return streams


def audit_stream(conn: psycopg.Connection, stream: Stream, spool: Path) -> int:
    """One stream of one spool against the database; returns how many rows were compared."""
    where = f"stream {stream.epoch.hex()} of {spool}"
    cursor = conn.execute(
        "SELECT id, acked_seq FROM sonde.streams WHERE epoch = %s", (stream.epoch,)
    ).fetchone()
    acked = stream.acked if stream.database_id == _database_id(conn) else 0
    if cursor is None:
        assert acked == 0, f"{where}: acked up to {acked}, but the database does not know it"
        return 0
    number, committed = cursor
    assert committed >= acked, f"{where}: acked {acked}, committed {committed}"
    found: dict[int, tuple[str, float]] = {}
    for table, column in TABLES.items():
        for seq, at in conn.execute(
            f"SELECT seq, extract(epoch FROM {column}) * 1000000 FROM {table} WHERE stream_id = %s", (number,)
        ):
            assert seq not in found, f"{where}: seq {seq} is in {found[seq][0]} and in {table}"
            found[seq] = (table, at)
    gaps = conn.execute(
        "SELECT first_seq, last_seq FROM sonde.gaps WHERE stream_id = %s", (number,)
    ).fetchall()
    covered = set(found)
    for first, last in gaps:
        inside = set(range(first, last + 1))
        assert not inside & set(found), f"{where}: rows inside the gap {first}..{last}"
        covered |= inside
    missing = sorted(set(range(1, committed + 1)) - covered)
    beyond = sorted(seq for seq in covered if seq > committed)
    assert not missing, (
        f"{where}: committed up to {committed}, but {len(missing)} are nowhere: {missing[:10]}"
    )
    assert not beyond, f"{where}: committed up to {committed}, but there is {beyond[:10]}"
    keys = dict(
        conn.execute(
            "SELECT l.seq, k.key FROM performance_logs l JOIN sonde.server_keys k USING (server_id) "
            "WHERE l.stream_id = %s",
            (number,),
        ).fetchall()
    )
    compared = 0
    for seq, body in stream.bodies.items():
        if seq not in found:
            continue
        result = results_pb2.Result.FromString(body)
        table, at = found[seq]
        assert int(at) == result.measured_at_us, f"{where}: seq {seq} in {table} is of another time"
        if table == "performance_logs":
            assert keys[seq] == result.target, f"{where}: seq {seq} is {keys[seq]}, not {result.target}"
        compared += 1
    return compared


def _database_id(conn: psycopg.Connection) -> bytes:
    found = conn.execute("SELECT id FROM sonde.database").fetchone()
    assert found is not None
    return bytes(found[0].bytes)
