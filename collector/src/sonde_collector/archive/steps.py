"""The way of a partition out of the database, in steps; where one dies on it, the next one goes on.

leaving → detached → written → archived. What is on the way `query` reads from the table that it still is.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable

import psycopg
from attrs import field, mutable

from sonde_collector.archive import file
from sonde_collector.archive.expiry import Partition, expired
from sonde_collector.archive.ledger import ON_THE_WAY, Record, partitions, quoted, records, run, shaped, table
from sonde_collector.archive.storage import Storage
from sonde_collector.config import Archive, Retention
from sonde_collector.db.queries import query
from sonde_collector.maintain.judge import judge
from sonde_collector.maintain.rollup import PATIENT, SOON

# Detaching waits for the transactions that use the table, and keeps nobody waiting but other DDL.
_DETACH_PATIENCE = "10s"
# Dropping, and detaching beside a default partition, make writers wait as long as we do.
_SHORT_PATIENCE = "500ms"
_TRIES = 20
_PAUSE_S = 0.2
_BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)

Tell = Callable[[str, str], None]


@mutable
class Turn:
    """What a turn did.

    Attributes:
        leading: False where another collector is at it; nothing was done then.
        done: partitions that left.
        waiting: name -> why it did not leave now; the next turn tries again.
        wrong: name -> how its file differs from it; the next turn writes another.
    """

    leading: bool = True
    done: list[str] = field(factory=list)
    waiting: dict[str, str] = field(factory=dict)
    wrong: dict[str, str] = field(factory=dict)


def turn(
    conn: psycopg.Connection,
    storage: Callable[[], Storage],
    retention: Retention,
    archive: Archive,
    *,
    now: dt.datetime | None = None,
    again: Iterable[str] = (),
    tell: Tell = lambda *_: None,
) -> Turn:
    """Goes on with what is on the way, then takes what is due, oldest first.

    Args:
        conn: in autocommit mode, of the caller's own.
        storage: opens the archive's place; called once there is something to write.
        retention: how long what stays.
        archive: what becomes of what does not.
        now: the time to go by.
        again: names of restored partitions that may leave again.
        tell: called with a partition's name and the state that it has come to.

    Raises:
        OSError, StorageError: the archive's place has no room, or can't be used; nothing is lost.
        psycopg.Error: the database is away; nothing is lost.
    """
    found = Turn()
    row = conn.execute(query("archive_lead")).fetchone()
    if row is None or not row[0]:
        found.leading = False
        return found
    try:
        mover = _Mover(conn, storage, archive, tell)
        for record in records(conn):
            if record.state in ON_THE_WAY:
                mover.move(record, found)
        if archive.expired != "keep":
            due = expired(partitions(conn), retention, now or dt.datetime.now(dt.UTC), again)
            for partition in due:
                if partition.name in found.waiting:
                    continue
                if mover.begin(partition):
                    (record,) = (each for each in records(conn) if each.name == partition.name)
                    mover.move(record, found)
                else:
                    found.waiting[partition.name] = "a rollup is due that needs it"
        conn.execute(query("archive_sweep_marks"))
    finally:
        if not conn.closed:
            conn.execute(query("archive_lead_no_more"))
    return found


class _Mover:
    """Takes one partition after another through its steps."""

    def __init__(
        self, conn: psycopg.Connection, storage: Callable[[], Storage], archive: Archive, tell: Tell
    ) -> None:
        self._conn = conn
        self._open = storage
        self._storage: Storage | None = None
        self._archive = archive
        self._tell = tell

    def begin(self, partition: Partition) -> bool:
        """Notes that a partition leaves; False while a rollup is due that needs it."""
        wanted = {
            "name": partition.name,
            "parent": partition.parent,
            "lo": partition.lo,
            "hi": partition.hi,
        }
        self._wait_at_most(_DETACH_PATIENCE)
        try:
            if not self._begun(wanted):
                self._roll_up()
                if not self._begun(wanted):
                    return False
        except _BUSY:
            return False
        self._tell(partition.name, "leaving")
        return True

    def move(self, record: Record, found: Turn) -> None:
        """Takes it as far as it goes, and says so in `found`."""
        try:
            if record.state == "leaving" and not self._detach(record):
                found.waiting[record.name] = "late results came for it"
                return
            if self._archive.expired == "delete":
                self._drop(record, "deleted")
            else:
                self._write(record)
                self._drop(record, "archived")
        except _BUSY:
            found.waiting[record.name] = "its tables are locked by somebody"
        except file.Mismatch as error:
            found.wrong[record.name] = str(error)
        else:
            found.done.append(record.name)

    def _begun(self, wanted: dict[str, object]) -> bool:
        row = run(self._conn, "archive_begin_leaving", **wanted).fetchone()
        return bool(row and row[0])

    def _roll_up(self) -> None:
        """Honours what is dirty, as the rollups' own loop does beside us."""
        while judge(self._conn):
            pass
        for step in (*SOON, *PATIENT):
            while (row := run(self._conn, "rollup_step", step=step.name).fetchone()) and row[0]:
                pass

    def _detach(self, record: Record) -> bool:
        """Takes it from its parent; False where rows came that are not counted yet: it stays."""
        conn, named = self._conn, {"parent": record.parent, "child": quoted(record.child)}
        parts = {"parent": table(record.parent), "child": table(record.child)}
        row = run(conn, "archive_attachment", **named).fetchone()
        if row is None:  # somebody dropped it by hand
            run(conn, "archive_stay", name=record.name)
            return False
        hangs, beside_default = row
        if hangs == "attached" and beside_default:
            self._patiently(lambda: conn.execute(shaped("archive_detach_beside_default", **parts)))
        elif hangs == "attached":
            self._wait_at_most(_DETACH_PATIENCE)
            conn.execute(shaped("archive_detach", **parts))
        elif hangs == "pending":
            self._wait_at_most(_DETACH_PATIENCE)
            conn.execute(shaped("archive_detach_finalize", **parts))
        range_ = {"parent": record.parent, "lo": record.lo, "hi": record.hi}
        row = run(conn, "archive_is_dirty", **range_).fetchone()
        if row and row[0]:
            self._patiently(lambda: self._attach_again(record, named | range_))
            return False
        run(conn, "archive_detached", name=record.name)
        self._tell(record.name, "detached")
        return True

    def _attach_again(self, record: Record, wanted: dict[str, object]) -> None:
        with self._conn.transaction():
            run(self._conn, "archive_attach", **wanted)
            run(self._conn, "archive_stay", name=record.name)

    def _write(self, record: Record) -> None:
        if self._storage is None:
            self._storage = self._open()
        if record.state == "written":
            if _still_there(self._storage, record):
                return
            run(self._conn, "archive_rewrite", name=record.name)
        file.write(self._conn, self._storage, record)
        self._tell(record.name, "written")

    def _drop(self, record: Record, state: str) -> None:
        def drop() -> None:
            with self._conn.transaction():
                self._conn.execute(shaped("archive_drop", child=table(record.child)))
                run(self._conn, "archive_dropped", name=record.name, state=state)

        self._patiently(drop)
        self._tell(record.name, state)

    def _patiently(self, work: Callable[[], object]) -> None:
        """Tries `work` again and again behind the locks of others, each time for an instant."""
        self._wait_at_most(_SHORT_PATIENCE)
        for left in reversed(range(_TRIES)):
            try:
                work()
            except _BUSY:
                if not left:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return

    def _wait_at_most(self, patience: str) -> None:
        self._conn.execute(query("archive_patience"), (patience,))


def _still_there(storage: Storage, record: Record) -> bool:
    """Whether the file of a turn that ended before its table was dropped is what was read back then."""
    assert record.file is not None
    try:
        return storage.sha256(record.file) == (record.sha256, record.bytes)
    except OSError:
        return False
