"""Sessions of collectors that stopped in the middle are ended by another, and nobody else's are."""

import contextlib
import threading
from collections.abc import Iterator

import psycopg
import pytest
from support.programs import eventually

from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import SERVING, Database
from sonde_collector.db.queries import query
from sonde_collector.maintain.stalled import end_stalled

pytestmark = pytest.mark.postgres

SILENT_S = 0.5
FROZEN = f"{SERVING}ams:7443"


@pytest.fixture
def sessions(database_url: str) -> Iterator["Sessions"]:
    """Sessions of others, and what ends the stalled ones."""
    with contextlib.ExitStack() as stack:
        yield Sessions(database_url, stack)


class Sessions:
    """Opens sessions that stay as they are until the test ends."""

    def __init__(self, url: str, stack: contextlib.ExitStack) -> None:
        self._url, self._stack = url, stack
        self._conn = self.open("sonde-collector serve nyc:7443")

    def open(self, name: str) -> psycopg.Connection:
        """A session of that name."""
        conn = psycopg.connect(self._url, autocommit=True, application_name=name)
        return self._stack.enter_context(contextlib.closing(conn))

    def ended(self) -> list[str]:
        """Ends what is stalled now."""
        return end_stalled(self._conn, SILENT_S)

    def silent(self, pid: int) -> bool:
        """Whether that session has waited for its client for so long."""
        found = self._conn.execute(
            "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Client' "
            "AND state_change < now() - make_interval(secs => %s)",
            (pid, SILENT_S),
        )
        return bool(found.rowcount)

    def gone(self, conn: psycopg.Connection) -> None:
        """Waits until that session is stalled, and expects that it is ended, by name."""
        pid = conn.info.backend_pid
        eventually(lambda: self.silent(pid), 20, "it is not silent")
        assert self.ended() == [FROZEN]
        alive = "SELECT FROM pg_stat_activity WHERE pid = %s"
        eventually(lambda: not self._conn.execute(alive, (pid,)).rowcount, 20, "it is still there")


def test_a_transaction_that_was_left_open(sessions: Sessions) -> None:
    """What it had locked is free for the others."""
    conn = sessions.open(FROZEN)
    conn.execute("BEGIN")
    conn.execute("SELECT FROM sonde.database FOR UPDATE")
    sessions.gone(conn)
    other = sessions.open("psql")
    other.execute("SELECT FROM sonde.database FOR UPDATE NOWAIT")


def test_a_copy_that_was_left_open(sessions: Sessions) -> None:
    """COPY waits for its client with the transaction's locks, and no timeout of PostgreSQL's would end it."""
    conn = sessions.open(FROZEN)
    conn.execute("BEGIN")
    conn.pgconn.send_query(b"COPY sonde.gaps (stream_id) FROM STDIN")
    sessions.gone(conn)


def test_a_lead_that_is_not_used(sessions: Sessions) -> None:
    """Another may send notices."""
    conn = sessions.open(FROZEN)
    assert conn.execute(query("notify_lead")).fetchone() == (True,)
    other = sessions.open("other")
    assert other.execute(query("notify_lead")).fetchone() == (False,)
    sessions.gone(conn)
    assert other.execute(query("notify_lead")).fetchone() == (True,)


def test_all_others_stay(sessions: Sessions) -> None:
    """A command's transaction, a collector that holds nothing, and one that PostgreSQL is busy for."""
    apply, idle, busy = sessions.open("sonde-collector"), sessions.open(FROZEN), sessions.open(FROZEN)
    apply.execute("BEGIN")
    apply.execute("SELECT FROM sonde.database FOR UPDATE")
    busy.execute("BEGIN")

    def work() -> None:
        with pytest.raises(psycopg.errors.QueryCanceled):
            busy.execute("SELECT pg_sleep(300)")

    working = threading.Thread(target=work)
    working.start()
    for conn in (apply, idle):
        pid = conn.info.backend_pid
        eventually(lambda p=pid: sessions.silent(p), 20, "it is not silent")
    assert sessions.ended() == []
    busy.cancel_safe()
    working.join()
    assert idle.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_became_read_only_is_left(database_url: str) -> None:
    """A standby refuses a write, and the next use connects anew: by then its URL may lead to the other."""
    held = HeldConnection(Database(database_url))

    def write() -> None:
        with held as conn:
            conn.execute("UPDATE sonde.agents SET ready = ready")

    with contextlib.closing(held):
        with held as conn:
            conn.execute("SET default_transaction_read_only = on")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            write()
        write()
