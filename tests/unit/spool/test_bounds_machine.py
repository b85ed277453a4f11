"""A spool always near its bounds, against a collector that counts: each seq is a row or in a gap, once."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from support.results import number, result

from sonde_agent.spool import Spool
from sonde_proto.v1 import ingest_pb2

DATABASE = b"d" * 16
BOUND = 256 << 10
PADDING = "x" * 1500  # so that some 150 results fill the spool


class BoundsMachine(RuleBasedStateMachine):
    """Appends, batches under way, acks, quarantine, damage, failing writes and restarts, in a small spool."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="sonde-bounds-"))
        self.spool = self.open()
        self.stream = self.spool.streams()[-1]
        self.next = 0
        self.forget()

    def forget(self) -> None:
        """An empty database."""
        self.cursor, self.chain = 0, b""
        self.covered: set[int] = set()
        self.rows: dict[int, int] = {}

    def open(self) -> Spool:
        """Open with a bound that is soon reached."""
        return Spool.open(self.folder / "spool.db", max_bytes=BOUND, max_age_s=1e9, history_s=1e9)

    @rule(count=st.integers(1, 90))
    def append(self, count: int) -> None:
        """Never fails, and never leaves the file over its bound."""
        self.spool.append([result(n, f"{n}-{PADDING}") for n in range(self.next, self.next + count)])
        self.next += count
        assert self.spool.stats().bytes <= BOUND

    @rule(limit=st.integers(1, 60), acked=st.booleans(), late=st.integers(0, 90))
    def deliver(self, limit: int, *, acked: bool, late: int) -> None:
        """The collector commits a chunk; more may be appended (and dropped) before the ack, if any."""
        assert self.spool.reconcile(self.stream, self.cursor, self.chain, DATABASE) == self.cursor
        chunk = self.spool.peek(self.stream, self.cursor, limit, 1 << 20)
        if not chunk:
            assert self.cursor == self.next
            return
        for gap in chunk.gaps:
            self.cover(set(range(gap.first_seq, gap.last_seq + 1)))
        for seq, kept in chunk.results:
            self.cover({seq})
            assert number(kept) == seq - 1
            self.rows[seq] = number(kept)
        self.cursor, self.chain = chunk.last_seq, chunk.chain
        assert self.covered == set(range(1, self.cursor + 1))
        if late:
            self.append(late)
        if acked:
            self.spool.ack(self.stream, self.cursor, DATABASE, self.chain)

    def cover(self, seqs: set[int]) -> None:
        """Take seqs in; none may come twice."""
        assert not seqs & self.covered
        self.covered |= seqs

    @rule()
    def rebuild_database(self) -> None:
        """The collector starts from nothing."""
        self.forget()

    @rule(ahead=st.integers(1, 50))
    def quarantine(self, ahead: int) -> None:
        """A result that waits is set aside."""
        self.spool.quarantine(self.stream, min(self.cursor + ahead, self.next), "unreadable")

    @rule(ahead=st.integers(1, 50))
    def damage(self, ahead: int) -> None:
        """The disk changes a row."""
        self.spool._book.db.execute("UPDATE results SET crc = crc + 1 WHERE seq = ?", (self.cursor + ahead,))

    @rule(count=st.integers(1, 20))
    def lose(self, count: int) -> None:
        """Results come while no write succeeds."""
        self.spool._book.db.execute("PRAGMA query_only = 1")
        self.append(count)
        self.spool._book.db.execute("PRAGMA query_only = 0")
        self.append(1)

    @rule()
    def reopen(self) -> None:
        """A restart keeps the stream."""
        self.spool.close()
        self.spool = self.open()
        assert [view.epoch for view in self.spool.streams()] == [self.stream.epoch]

    def teardown(self) -> None:
        """Drained, rows and gaps cover all that was ever appended, and the newest is a row."""
        while self.cursor < self.next:
            self.deliver(limit=1000, acked=True, late=0)
        assert self.covered == set(range(1, self.next + 1))
        assert self.spool.stats().gaps == self.spool.stats().rows == 0
        self.spool.close()
        shutil.rmtree(self.folder)


def test_gap_reasons_are_known() -> None:
    """Each reason that the spool writes is one of the wire's."""
    assert set(ingest_pb2.GapReason.values()) == set(range(6))


TestBounds = BoundsMachine.TestCase
TestBounds.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
