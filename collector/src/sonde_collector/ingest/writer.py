"""The writer threads: each with a connection of its own, writing until told to stop, for ever if it must."""

import threading
import time
from collections.abc import Callable, Sequence

import psycopg
import structlog
import tenacity

from sonde_collector.db import partitions
from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.ingest.arrival import Arrival
from sonde_collector.ingest.attempt import lacks_partition
from sonde_collector.ingest.batcher import Batcher
from sonde_collector.ingest.metrics import IngestMetrics
from sonde_collector.ingest.prepared import Prepared, prepare
from sonde_collector.ingest.rules import Reason
from sonde_collector.ingest.settings import IngestSettings
from sonde_collector.ingest.tables import TABLES, places
from sonde_collector.ingest.transaction import Outcome, Settled, write

# A batch that waits longer than this is worth an operator's look: /readyz says so. [s]
STUCK_S = 30.0

# Between tries while the database is away: short at first, never longer than this, never in step. [s]
_LONGEST_WAIT_S = 5.0

_log = structlog.get_logger()

Settle = Callable[[Sequence[Settled]], None]


class CannotSkipChecks(DatabaseError):
    """`ingest.fk_check = "batch"` is set, and this role may not."""


class Writer:
    """Takes batches from the service, commits them, and says what became of each.

    Args:
        database: where to.
        settings: of ingestion.
        metrics: what is counted.
    """

    def __init__(self, database: Database, settings: IngestSettings, metrics: IngestMetrics) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        metrics.queue_limit.set(settings.queue_bytes)
        self._batcher = Batcher()
        self._changed = threading.Condition()
        self._writing: dict[int, Sequence[Arrival]] = {}
        self._bytes = 0
        self._stopping = False
        self._given_up = threading.Event()
        self._threads: list[threading.Thread] = []
        self._settle: Settle = lambda _: None
        self._coverage: partitions.Coverage | None = None
        self._last_error = ""

    @property
    def full(self) -> bool:
        """Whether enough is in memory; streams are then not read."""
        return self._bytes >= self._settings.queue_bytes

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is being written."""
        with self._changed:
            return not self._writing and not len(self._batcher)

    def start(self, settle: Settle) -> None:
        """Starts the threads.

        Args:
            settle: called in a writer's thread with the batches of each write, committed or refused.

        Raises:
            CannotSkipChecks: fk_check is "batch" and the database does not let this role.
        """
        if self._settings.fk_check == "batch":
            self._try_skipping_checks()
        self._settle = settle
        for number in range(self._settings.writers):
            thread = threading.Thread(target=self._run, args=(number,), name=f"writer-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, arrival: Arrival) -> None:
        """Queues a batch. From any thread; never waits."""
        with self._changed:
            self._batcher.add(arrival)
            self._bytes += arrival.size
            self._changed.notify()

    def stop(self) -> None:
        """Ends the threads after the write that each is in; what still waits stays in the agents' spools."""
        self._given_up.set()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def stuck(self) -> str | None:
        """Why batches don't get committed, in words; None while they do."""
        with self._changed:
            waiting = [arrival for cut in self._writing.values() for arrival in cut]
            times = [arrival.received_at_us for arrival in waiting]
            if (oldest := self._batcher.oldest_us) is not None:
                times.append(oldest)
        age = time.time() - min(times, default=0) / 1e6 if times else 0.0
        if age < STUCK_S:
            return None
        why = self._last_error or "the database takes longer than that"
        return f"the oldest queued batch has waited for {age:.0f} s: {why}"

    def _run(self, number: int) -> None:
        connection = HeldConnection(self._database)
        try:
            while cut := self._take(number):
                settled = self._write_for_ever(connection, cut)
                with self._changed:
                    # Before the word is out: who waits for room looks when it hears it, and not again.
                    self._bytes -= sum(arrival.size for arrival in cut)
                self._settle(settled)
                with self._changed:
                    self._writing.pop(number)
                    self._batcher.done(cut)
                    self._measure_queue()
                    self._changed.notify_all()
        finally:
            connection.close()

    def _take(self, number: int) -> list[Arrival]:
        with self._changed:
            while not self._stopping and not self._batcher.ready:
                self._changed.wait()
            if self._stopping:
                return []
            cut = self._batcher.cut(self._settings.max_batch_rows)
            self._writing[number] = cut
            self._measure_queue()
            return cut

    def _measure_queue(self) -> None:
        self._metrics.queue_rows.set(self._batcher.rows)
        self._metrics.queue_bytes.set(self._bytes)

    def _write_for_ever(self, connection: HeldConnection, cut: Sequence[Arrival]) -> Sequence[Settled]:
        retrying = tenacity.Retrying(
            # A mistake of ours too: a writer that ended would take its share of all streams with it, unseen.
            retry=tenacity.retry_if_exception_type(Exception),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=_LONGEST_WAIT_S),
            stop=tenacity.stop_when_event_set(self._given_up),
            sleep=tenacity.sleep_using_event(self._given_up),
            before_sleep=self._note_failure,
        )
        started = time.monotonic()
        try:
            prepared = retrying(prepare, cut, self._settings)
            outcome = retrying(self._write_once, connection, prepared)
        except tenacity.RetryError:
            return ()  # we are stopping: the agents still have all of it
        self._metrics.commit_seconds.observe(time.monotonic() - started)
        self._count(outcome)
        if self._last_error:
            self._last_error = ""
            _log.info("writes_go_on")
        return outcome.settled

    def _write_once(self, connection: HeldConnection, prepared: Prepared) -> Outcome:
        by_row = self._settings.fk_check == "row"
        self._ensure_partitions(prepared)
        with connection as conn:
            try:
                return write(conn, prepared, by_row=by_row)
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                if lacks_partition(error):
                    self._coverage = None
                    raise
                _log.warning("rows_refused_by_database", sqlstate=error.sqlstate, error=_one_line(error))
            return write(conn, prepared, by_row=by_row, careful=True)

    def _ensure_partitions(self, prepared: Prepared) -> None:
        """Makes what lacks, on a connection of its own and before the write's transaction."""
        coverage = self._coverage
        if coverage is not None:
            refuse_what_left(prepared, coverage)
            wanted = _wanted(prepared)
            if not any(coverage.missing(table, times) for table, times in wanted):
                return
        with self._database.connect(autocommit=True) as conn:
            coverage = partitions.covered(conn)
            refuse_what_left(prepared, coverage)
            made: list[str] = []
            for table, times in _wanted(prepared):
                for at in coverage.missing(table, times):
                    made += partitions.ensure(conn, table, at, at, self._settings.partition_every)
            if made:
                _log.info("partitions_made", names=made)
                coverage = partitions.covered(conn)
            self._coverage = coverage

    def _note_failure(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        text = _one_line(error)
        self._metrics.retries.inc()
        if text != self._last_error:
            self._last_error = text
            _log.warning("write_failed", error=text, next="tried again until it succeeds")

    def _count(self, outcome: Outcome) -> None:
        self._metrics.batches.inc(sum(settled.refusal is None for settled in outcome.settled))
        self._metrics.rows.inc(outcome.rows)
        self._metrics.trimmed.inc(outcome.trimmed)
        for reason, count in outcome.rejected.items():
            self._metrics.rejected.labels(reason).inc(count)
        for reason, count in outcome.lost.items():
            self._metrics.gaps.labels(reason).inc(count)

    def _try_skipping_checks(self) -> None:
        with self._database.connect(autocommit=True) as conn:
            try:
                with conn.transaction():
                    conn.execute(query("ingest_keys_checked"))
            except psycopg.errors.InsufficientPrivilege as error:
                raise CannotSkipChecks(
                    'ingest.fk_check = "batch" needs a right that this role lacks: run GRANT SET ON '
                    f'PARAMETER session_replication_role TO "{conn.info.user}" as a superuser, '
                    'or set fk_check = "row"'
                ) from error


def refuse_what_left(prepared: Prepared, coverage: partitions.Coverage) -> None:
    """Judges too old what belongs into a partition that has left the database, or is about to."""
    for rows, verdict in prepared.parts:
        for table, mine in places(rows):
            verdict.flag(mine & coverage.has_left(TABLES[table], rows.measured_at_us), Reason.TOO_OLD)


def _wanted(prepared: Prepared) -> list[tuple[str, partitions.Microseconds]]:
    """Which times of which tables need a partition."""
    wanted = [("sonde.batches", prepared.received_at_us)]
    for rows, verdict in prepared.parts:
        wanted += [
            (TABLES[table], rows.measured_at_us[verdict.accepted & mine]) for table, mine in places(rows)
        ]
    return wanted


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__
