"""The reference of benchmarks/ingest.py: the collector's transactions, their rows from files on the server.

Locks of cursors and parents, marks, batches and cursors are the collector's own code and SQL, and the bytes
are those that it would send: rows in order of time, as many in a transaction. What it does not do is all that
lies before: gRPC, decoding, judging, encoding, and the socket.
"""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psycopg
from ingest_agents import AGENTS, epoch
from ingest_timing import Meter, Timing

from sonde_collector.db import copy as db_copy
from sonde_collector.ingest import attempt, transaction
from sonde_collector.ingest.arrival import take_in
from sonde_collector.ingest.prepared import Prepared, prepare
from sonde_collector.ingest.settings import IngestSettings
from sonde_proto.v1 import ingest_pb2

Work = list[tuple[Prepared, Path]]

_SET_CURSOR = "UPDATE sonde.streams SET acked_seq = %s WHERE epoch = %s"
_NEW_STREAMS = """
INSERT INTO sonde.streams (probe_id, epoch)
SELECT p.id, e FROM unnest(%s::bytea[], %s::text[]) x (e, c) JOIN probe_locations p ON p.code = c
"""


def copied(
    url: str, folder: Path, batches: Sequence[Sequence[ingest_pb2.Batch]], connections: int, meter: Meter
) -> Timing:
    """Writes the batches by server-side COPY over so many connections, agents shared out between them.

    Args:
        url: of a fresh database.
        folder: for the files; the server must be able to read it.
        batches: per agent.
        connections: how many.
        meter: times it.
    """
    order = [batch for turn in zip(*batches, strict=True) for batch in turn]
    with psycopg.connect(url, autocommit=True) as conn:
        names = [f"v{agent}" for agent in range(AGENTS)]
        conn.execute(_NEW_STREAMS, ([epoch(agent) for agent in range(AGENTS)], names))
        works = [
            _captured(conn, folder, [item for item in order if int(item.vantage[1:]) % connections == number])
            for number in range(connections)
        ]
        conn.execute("UPDATE sonde.streams SET acked_seq = 0")
        conn.execute("CHECKPOINT")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_from_files())
        conns = [stack.enter_context(psycopg.connect(url, autocommit=True)) for _ in works]
        threads = [threading.Thread(target=_work, args=pair) for pair in zip(conns, works, strict=True)]
        meter.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return meter.stop(sum(int(batch.last_seq - batch.first_seq) + 1 for batch in order))


def _captured(conn: psycopg.Connection, folder: Path, batches: Sequence[ingest_pb2.Batch]) -> Work:
    """Cuts batches into writes as the collector would, and puts each one's bytes into a file."""
    settings = IngestSettings()
    per = max(1, settings.max_batch_rows // int(batches[0].last_seq))
    works = []
    for low in range(0, len(batches), per):
        now = time.time_ns() // 1000
        arrivals = [
            take_in(item, vantage="", session=0, received_at_us=now, size=0)
            for item in batches[low : low + per]
        ]
        prepared = prepare(arrivals, settings)
        path = folder / f"{batches[0].vantage}-{low}"
        for arrival in reversed(arrivals):
            conn.execute(_SET_CURSOR, (arrival.first_seq - 1, arrival.epoch))
        _capture(conn, prepared, path)
        works.append((prepared, path))
    return works


class _Captured(Exception):  # it ends a transaction whose bytes were all that was wanted
    pass


def _capture(conn: psycopg.Connection, prepared: Prepared, path: Path) -> None:
    def keep(_conn: object, _table: str, _names: object, pieces: Iterable[db_copy.Buffer]) -> None:
        path.write_bytes(b"".join(pieces))
        raise _Captured

    attempt.send = keep
    try:
        with contextlib.suppress(_Captured):
            transaction.write(conn, prepared, by_row=False)
    finally:
        attempt.send = db_copy.send


def _work(conn: psycopg.Connection, items: Work) -> None:
    for prepared, path in items:
        conn.execute("SELECT set_config('bench.file', %s, false)", (str(path),))
        transaction.write(conn, prepared, by_row=False)


@contextlib.contextmanager
def _from_files() -> Iterator[None]:
    """Within, a write takes its rows from the file named by bench.file, and nothing is encoded."""
    kept = attempt.send, attempt.encode, attempt.cells

    def send(conn: psycopg.Connection, table: str, names: Sequence[str], _pieces: object) -> None:
        row = conn.execute("SHOW bench.file").fetchone()
        assert row is not None
        conn.execute(f"COPY {table} ({', '.join(names)}) FROM '{row[0]}' (FORMAT binary)".encode())

    attempt.send, attempt.encode, attempt.cells = send, lambda *_: iter(()), lambda *_: []
    try:
        yield
    finally:
        attempt.send, attempt.encode, attempt.cells = kept
