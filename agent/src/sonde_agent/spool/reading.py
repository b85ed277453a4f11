"""Rows and gaps of a stream, merged into one contiguous range."""

import sqlite3

from google.protobuf.message import DecodeError

from sonde_agent.spool.ledger import Stream
from sonde_agent.spool.model import Chunk, checksum
from sonde_proto.v1 import ingest_pb2, results_pb2

_GAPS_A_CHUNK = 1000


class Reader:
    """Reads one chunk.

    Attributes:
        damaged: seqs whose row is damaged or missing; the chunk is then not to be used.
    """

    def __init__(self, db: sqlite3.Connection, stream: Stream, after_seq: int) -> None:
        self._db = db
        self._stream = stream
        self._after = after_seq
        self.damaged: list[int] = []

    def read(self, limit_rows: int, limit_bytes: int) -> Chunk:
        """Merge rows and gaps in the order of seq until a limit, or until another assignment begins."""
        rows = self._db.execute(
            "SELECT seq, origin, body, chain, crc FROM results WHERE stream = ? AND seq > ? "
            "ORDER BY seq LIMIT ?",
            (self._stream.id, self._after, limit_rows),
        ).fetchall()
        gaps = self._gaps()
        results: list[tuple[int, results_pb2.Result]] = []
        taken: list[ingest_pb2.Gap] = []
        last, chain, size, origin = self._after, b"", 0, None
        for seq, row_origin, body, row_chain, crc in rows:
            last, chain = self._take_gaps(gaps, taken, last, chain)
            if last + 1 < seq:
                self.damaged += range(last + 1, seq)
            if results and (size + len(body) > limit_bytes or row_origin != origin):
                break
            result = _parse(body) if checksum(body, row_chain) == crc else None
            if result is None:
                self.damaged.append(seq)
            else:
                results.append((seq, result))
            origin, size, last, chain = row_origin, size + len(body), seq, row_chain
        else:
            if len(rows) < limit_rows:
                last, chain = self._take_gaps(gaps, taken, last, chain)
        database_id, revision = self._origin(origin)
        return Chunk(self._after + 1, last, results, taken, chain, database_id, revision)

    def _gaps(self) -> list[tuple[ingest_pb2.Gap, bytes]]:
        """Gaps beyond the start, the next one last."""
        gaps = []
        for first, last, reason, from_us, until_us, chain in self._db.execute(
            "SELECT first_seq, last_seq, reason, from_us, until_us, chain FROM gaps "
            "WHERE stream = ? AND last_seq > ? ORDER BY first_seq LIMIT ?",
            (self._stream.id, self._after, _GAPS_A_CHUNK),
        ).fetchall():
            gap = ingest_pb2.Gap(
                first_seq=max(first, self._after + 1),
                last_seq=last,
                reason=reason,
                from_us=from_us,
                until_us=until_us,
            )
            gaps.append((gap, chain))
        gaps.reverse()
        return gaps

    @staticmethod
    def _take_gaps(
        gaps: list[tuple[ingest_pb2.Gap, bytes]], taken: list[ingest_pb2.Gap], last: int, chain: bytes
    ) -> tuple[int, bytes]:
        while gaps and gaps[-1][0].first_seq == last + 1:
            gap, chain = gaps.pop()
            taken.append(gap)
            last = gap.last_seq
        return last, chain

    def _origin(self, origin: int | None) -> tuple[bytes, int]:
        found = self._db.execute(
            "SELECT database_id, revision FROM origins WHERE id = ?", (origin or 0,)
        ).fetchone()
        return found or (b"", 0)


def _parse(body: bytes) -> results_pb2.Result | None:
    try:
        return results_pb2.Result.FromString(body)
    except DecodeError:
        return None
