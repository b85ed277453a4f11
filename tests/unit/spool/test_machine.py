"""The spool against a model, through appends, acks, reopening, copies, restores and bounds."""

import copy
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.results import number, result

from sonde_agent.spool import Spool, StreamView
from sonde_agent.spool.model import link
from sonde_proto.v1 import ingest_pb2

DATABASE = b"d" * 16


class Collector:
    """What a collector does with batches: it keeps rows and gaps per epoch, and a cursor."""

    def __init__(self) -> None:
        self.rows: dict[tuple[bytes, int], int] = {}
        self.gaps: dict[bytes, list[ingest_pb2.Gap]] = {}
        self.cursor: dict[bytes, tuple[int, bytes]] = {}

    def take(self, spool: Spool, stream: StreamView, limit: int) -> bool:
        """Commit the next chunk after the cursor; says whether there was one."""
        cursor, _ = self.cursor.get(stream.epoch, (0, b""))
        chunk = spool.peek(stream, cursor, limit, 1 << 20)
        if not chunk:
            return False
        covered = {seq for seq, _ in chunk.results}
        for gap in chunk.gaps:
            span = set(range(gap.first_seq, gap.last_seq + 1))
            assert not covered & span
            covered |= span
        assert covered == set(range(cursor + 1, chunk.last_seq + 1))
        for seq, kept in chunk.results:
            assert (stream.epoch, seq) not in self.rows
            self.rows[stream.epoch, seq] = number(kept)
        self.gaps.setdefault(stream.epoch, []).extend(chunk.gaps)
        self.cursor[stream.epoch] = (chunk.last_seq, chunk.chain)
        return True


class SpoolMachine(RuleBasedStateMachine):
    """Every number appended is committed exactly once, or lies in a gap; across copies as well."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="sonde-spool-"))
        self.state = self.root / "state"
        self.next = 0
        self.chains: dict[tuple[bytes, int], bytes] = {}
        self.backup: Path | None = None
        self.lost_to_restore: set[int] = set()
        self.since_backup: set[int] = set()
        self.collector = Collector()
        self.saved_database = Collector()

    @initialize()
    def begin(self) -> None:
        """Open a new spool."""
        self.spool = self.open()

    def open(self) -> Spool:
        """Open with a bound that nothing here reaches."""
        return Spool.open(self.state / "spool.db", max_bytes=8 << 20, max_age_s=1e9, history_s=1e9)

    @rule(count=st.integers(1, 40))
    def append(self, count: int) -> None:
        """New results take the next seqs of the current stream, each linked to the one before."""
        current = self.spool.streams()[-1]
        numbers = range(self.next, self.next + count)
        results = [result(n) for n in numbers]
        self.spool.append(results)
        self.next += count
        self.since_backup |= set(numbers)
        chain = self.chains.get((current.epoch, current.highest_seq), b"")
        for seq, kept in enumerate(results, current.highest_seq + 1):
            chain = self.chains[current.epoch, seq] = link(chain, seq, kept.SerializeToString())

    @rule(limit=st.integers(1, 60))
    def commit(self, limit: int) -> None:
        """The collector takes a chunk of the first stream that has one, but no ack arrives."""
        for stream in self.spool.streams():
            self.hello(stream)
            if self.collector.take(self.spool, stream, limit):
                return

    def hello(self, stream: StreamView) -> None:
        """Reconcile with the collector's cursor, as the uplink does."""
        cursor, chain = self.collector.cursor.get(stream.epoch, (0, b""))
        self.spool.reconcile(stream, cursor, chain, DATABASE)

    @rule(limit=st.integers(1, 60))
    def commit_and_ack(self, limit: int) -> None:
        """The collector takes a chunk and its ack arrives."""
        for stream in self.spool.streams():
            self.hello(stream)
            if self.collector.take(self.spool, stream, limit):
                cursor, chain = self.collector.cursor[stream.epoch]
                self.spool.ack(stream, cursor, DATABASE, chain)
                assert chain == self.chains.get((stream.epoch, cursor), chain)
                return

    @rule()
    def reopen(self) -> None:
        """A restart changes nothing."""
        before = [(view.epoch, view.acked_seq, view.highest_seq) for view in self.spool.streams()]
        self.spool.close()
        self.spool = self.open()
        after = [(view.epoch, view.acked_seq, view.highest_seq) for view in self.spool.streams()]
        assert after == before

    @rule()
    def rebuild_database(self) -> None:
        """The collector's database is rebuilt: it knows nothing, and history fills it again."""
        self.collector = Collector()

    @rule()
    def back_up_database(self) -> None:
        """The collector's database is backed up, somewhere amid the streams."""
        self.saved_database = copy.deepcopy(self.collector)

    @rule()
    def restore_database(self) -> None:
        """The collector's database is restored as it was: it knows less than it acked."""
        self.collector = copy.deepcopy(self.saved_database)

    @rule()
    def take_backup(self) -> None:
        """Somebody copies the state directory while the agent is stopped."""
        self.spool.close()
        if self.backup:
            shutil.rmtree(self.backup)
        self.backup = self.root / "backup"
        shutil.copytree(self.state, self.backup)
        self.since_backup = set()
        self.spool = self.open()

    @precondition(lambda self: self.backup is not None)
    @rule(in_place=st.booleans())
    def restore(self, *, in_place: bool) -> None:
        """An old spool comes back, as a new file or written over the old one's inode."""
        assert self.backup
        self.spool.close()
        if in_place:
            for suffix in ("-wal", "-shm"):
                (self.state / f"spool.db{suffix}").unlink(missing_ok=True)
            (self.state / "spool.db").write_bytes((self.backup / "spool.db").read_bytes())
        else:
            shutil.rmtree(self.state)
            shutil.copytree(self.backup, self.state)
        older = bool(self.since_backup)
        self.lost_to_restore |= self.since_backup
        self.since_backup = set()
        self.spool = self.open()
        if older or not in_place:
            assert self.spool.streams()[-1].highest_seq == 0

    @rule()
    def new_stream(self) -> None:
        """An operator begins a new stream; the old one drains."""
        self.spool.new_stream()

    @invariant()
    def nothing_twice(self) -> None:
        """No number is committed under two names."""
        numbers = list(self.collector.rows.values())
        assert len(numbers) == len(set(numbers))

    def teardown(self) -> None:
        """Once all is drained, every number is a row, was lost with the file that held it, or never was."""
        for stream in self.spool.streams():
            self.hello(stream)
            while self.collector.take(self.spool, stream, 1000):
                pass
        committed = set(self.collector.rows.values())
        missing = set(range(self.next)) - committed
        assert missing <= self.lost_to_restore
        assert not any(self.collector.gaps.values())
        self.spool.close()
        shutil.rmtree(self.root)


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
