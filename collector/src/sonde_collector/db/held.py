"""One connection kept by one thread, made when it is needed and made anew when it broke."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import psycopg

from sonde_collector.db.pool import Database

_AGAIN_S = 0.1
_T = TypeVar("_T")


class HeldConnection:
    """A connection in autocommit mode. Entered for each use; what breaks it in there closes it.

    A pool would wait seconds before it tries a connect again; here the caller decides.

    Args:
        database: where to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._conn: psycopg.Connection | None = None

    def __enter__(self) -> psycopg.Connection:
        if self._conn is None or self._conn.closed:
            self._conn = self._database.connect(autocommit=True)
        return self._conn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._conn is None or error is None:
            return
        idle = psycopg.pq.TransactionStatus.IDLE
        # A server that became a standby would refuse for ever: the URL may lead to another one by now.
        standby = isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
        if standby or self._conn.info.transaction_status != idle:
            self.close()

    async def run(self, work: Callable[[], _T]) -> _T:
        """Runs `work`, which enters this connection, in a thread; a cancellation ends its statement too.

        Args:
            work: does nothing lasting after its statement failed.
        """
        working = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            while not working.done():
                if self._conn is not None:
                    self._conn.cancel()
                await asyncio.wait([working], timeout=_AGAIN_S)
            working.exception()
            raise

    def close(self) -> None:
        """Ends the connection; the next use makes another."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
