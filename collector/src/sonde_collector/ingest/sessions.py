"""Sessions as the event loop takes, renews and leaves them: each call in one of a few threads."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import grpc
import psycopg
import structlog

from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import Database
from sonde_collector.ingest import session
from sonde_collector.ingest.connection import End
from sonde_collector.limits.vantages import Vantages
from sonde_proto.v1 import ingest_pb2

_THREADS = 4

_T = TypeVar("_T")

_log = structlog.get_logger()

_REFUSED = {
    session.Why.UNKNOWN_VANTAGE: grpc.StatusCode.NOT_FOUND,
    session.Why.COPY: grpc.StatusCode.FAILED_PRECONDITION,
    session.Why.TOO_MANY: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Sessions:
    """A few threads with a connection each. `session` holds what is done on them.

    Args:
        database: where to.
        vantages: how many new streams each may begin.
    """

    def __init__(self, database: Database, vantages: Vantages) -> None:
        self._database = database
        self._vantages = vantages
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="hello")
        self._held = threading.local()
        self._all_held: list[HeldConnection] = []
        self._closed = False

    async def take(self, hello: ingest_pb2.Batch) -> session.Session:
        """Takes the stream of a hello over.

        Raises:
            End: the hello is refused, or the database does not answer.
        """
        most = self._vantages.limits.new_streams
        return await self._run(lambda conn: session.take(conn, hello, new_streams=most))

    async def renew(self, held: Sequence[tuple[bytes, int]]) -> set[tuple[bytes, int]]:
        """Says that these (epoch, number) are alive and gives those that still hold their stream.

        Raises:
            End: the database does not answer.
        """
        return await self._run(lambda conn: session.renew(conn, held))

    def leave(self, epoch: bytes, number: int) -> None:
        """Has it said that a connection ended in order; does not wait for it.

        After `close` nothing is said: its time runs out by itself.
        """
        if not self._closed:
            self._threads.submit(self._leave, epoch, number)

    async def close(self) -> None:
        """Finishes what is being done and closes the connections."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        for held in self._all_held:
            held.close()

    def _leave(self, epoch: bytes, number: int) -> None:
        try:
            self._use(lambda conn: session.leave(conn, epoch, number))
        except (psycopg.Error, DatabaseError):
            _log.debug("leave_failed")  # its time runs out by itself

    def _use(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        """Does work on this thread's connection; a second time when the first found it broken."""
        if not hasattr(self._held, "connection"):
            self._held.connection = HeldConnection(self._database)
            self._all_held.append(self._held.connection)
        connection: HeldConnection = self._held.connection
        try:
            with connection as conn:
                return work(conn)
        except psycopg.OperationalError:
            with connection as conn:
                return work(conn)

    async def _run(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        if self._closed:
            raise End(grpc.StatusCode.UNAVAILABLE, "the collector is stopping")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._use, work)
        except session.HelloRefused as refused:
            if refused.why is session.Why.TOO_MANY:
                self._vantages.met(refused.vantage, "new_streams", str(refused))
            raise End(_REFUSED[refused.why], str(refused)) from refused
        except (psycopg.Error, DatabaseError) as error:
            _log.warning("database_unavailable", error=" ".join(str(error).split()))
            raise End(grpc.StatusCode.UNAVAILABLE, "the collector's database does not answer") from error
