"""The queue in front of the writers."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sonde_collector.ingest.arrival import Arrival
from sonde_collector.ingest.batcher import Batcher

MAX_ROWS = 10


def arrival(epoch: int, seq: int, rows: int = 1, vantage: str | None = None) -> Arrival:
    """A batch that the batcher can tell from others; it never looks inside."""
    return Arrival(
        vantage=str(epoch) if vantage is None else vantage,
        epoch=bytes([epoch]), session=1, first_seq=seq, last_seq=seq + max(rows, 1) - 1, chain=b"",
        received_at_us=seq, sent_at_us=0, clock_offset_us=None, agent_version="", config_revision=0,
        database_id=b"", strings=[""], gaps=[], tables=[], rows=rows, size=rows, unpacked=rows,
    )  # fmt: skip


class Queue(RuleBasedStateMachine):
    """Batches come in and writers take and finish them in any interleaving."""

    def __init__(self) -> None:
        super().__init__()
        self.batcher = Batcher()
        self.added: dict[bytes, list[Arrival]] = defaultdict(list)
        self.taken: dict[bytes, list[Arrival]] = defaultdict(list)
        self.writing: list[list[Arrival]] = []

    @rule(epoch=st.integers(0, 4), rows=st.integers(0, 15))
    def add(self, epoch: int, rows: int) -> None:
        """A batch arrives."""
        item = arrival(epoch, len(self.added[bytes([epoch])]) + 1, rows)
        self.added[item.epoch].append(item)
        self.batcher.add(item)

    @rule()
    def cut(self) -> None:
        """A writer takes what it may."""
        ready = self.batcher.ready
        cut = self.batcher.cut(MAX_ROWS)
        assert bool(cut) == ready
        assert len(cut) <= 1 or sum(item.rows for item in cut) <= MAX_ROWS
        held = {item.epoch for items in self.writing for item in items}
        assert held.isdisjoint(item.epoch for item in cut), "two writers hold one stream"
        for item in cut:
            self.taken[item.epoch].append(item)
        if cut:
            self.writing.append(cut)

    @precondition(lambda self: self.writing)
    @rule(which=st.integers(0, 100))
    def finish(self, which: int) -> None:
        """A writer is done."""
        self.batcher.done(self.writing.pop(which % len(self.writing)))

    @invariant()
    def in_order_and_none_lost(self) -> None:
        """What was taken of a stream is the beginning of what came, and the rest waits."""
        for epoch, items in self.taken.items():
            assert items == self.added[epoch][: len(items)]
        waiting = [item for epoch, items in self.added.items() for item in items[len(self.taken[epoch]) :]]
        assert len(self.batcher) == len(waiting)
        assert self.batcher.rows == sum(item.rows for item in waiting)
        assert self.batcher.oldest_us == min((item.received_at_us for item in waiting), default=None)


TestQueue = Queue.TestCase


@given(st.integers(2, 8))
def test_no_stream_starves(streams: int) -> None:
    """However much one stream sends, every other is taken within as many cuts as there are streams."""
    batcher = Batcher()
    for seq in range(1, 100):
        batcher.add(arrival(0, seq, MAX_ROWS))
    for epoch in range(1, streams):
        batcher.add(arrival(epoch, 1, MAX_ROWS))
    seen = set()
    for _ in range(streams):
        cut = batcher.cut(MAX_ROWS)
        seen.update(item.epoch for item in cut)
        batcher.done(cut)
        batcher.add(arrival(0, 1000, MAX_ROWS))
    assert seen == {bytes([epoch]) for epoch in range(streams)}


def test_a_batch_larger_than_a_cut_goes_alone() -> None:
    """More rows than a cut may hold do not stop the queue."""
    batcher = Batcher()
    batcher.add(arrival(1, 1, MAX_ROWS * 3))
    batcher.add(arrival(2, 1, 1))
    assert [item.rows for item in batcher.cut(MAX_ROWS)] == [MAX_ROWS * 3]
    assert [item.rows for item in batcher.cut(MAX_ROWS)] == [1]
    assert batcher.cut(MAX_ROWS) == []


def test_streams_are_taken_in_turns() -> None:
    """A cut holds one batch of each stream before the second of any, and goes on where the last one ended."""
    batcher = Batcher()
    for epoch in range(4):
        for seq in (1, 2):
            batcher.add(arrival(epoch, seq, 2))
    cut = batcher.cut(MAX_ROWS)
    assert [(item.epoch[0], item.first_seq) for item in cut] == [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2)]
    batcher.done(cut)
    assert [(item.epoch[0], item.first_seq) for item in batcher.cut(MAX_ROWS)] == [(1, 2), (2, 2), (3, 2)]


@given(st.integers(1, 20), st.integers(1, MAX_ROWS))
def test_many_streams_and_large_batches_get_a_vantage_no_more(streams: int, rows: int) -> None:
    """Whatever one vantage has waiting, the one batch of another is in the first two cuts."""
    batcher = Batcher()
    for epoch in range(streams):
        for seq in range(1, 5):
            batcher.add(arrival(epoch, seq, rows, vantage="flood"))
    batcher.add(arrival(200, 1, 1, vantage="honest"))
    seen = [item.vantage for _ in range(2) for item in batcher.cut(MAX_ROWS)]
    assert "honest" in seen


def test_vantages_share_a_cut_by_rows() -> None:
    """Small batches catch up with a large one before its vantage has another turn."""
    batcher = Batcher()
    for epoch in (0, 1):
        batcher.add(arrival(epoch, 1, 4, vantage="flood"))
    for seq in range(1, 6):
        batcher.add(arrival(2, seq, 1))
    assert [item.epoch[0] for item in batcher.cut(MAX_ROWS)] == [0, 2, 2, 2]
