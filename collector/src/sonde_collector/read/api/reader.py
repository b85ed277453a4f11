"""The database as readers get it: few connections of their own, read only, each query for a bounded time.

Readers can't starve ingest: so many queries run at once and no more, on connections that ingest does not use,
each on one processor, ended by the server when it takes long; who would wait long is sent away.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from sonde_collector.db.pool import RECONNECT_S
from sonde_collector.db.queries import query

T = TypeVar("T")
Connection = psycopg.Connection
WAITING_PER_CONNECTION = 8
"""Requests that wait for each connection, at most; one more is sent away."""
_CONNECT_S = 2.0
_IDLE_S = 120.0


class Busy(Exception):
    """As many wait as may wait."""


class TooSlow(Exception):
    """The server ended a query that took longer than it may."""


class Away(Exception):
    """The database can't be asked now."""


class Reader:
    """Runs what reads.

    Args:
        url: of the database.
        connections: queries that run at once, at most.
        timeout_s: the server ends a query after this. [s]
    """

    def __init__(self, url: str, *, connections: int, timeout_s: float) -> None:
        self._url = url
        self._timeout = f"{round(timeout_s * 1000)}ms"
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="read")
        self._most = connections * (1 + WAITING_PER_CONNECTION)
        self._running = 0
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=0,
            max_size=connections,
            kwargs={
                "autocommit": True,
                "application_name": "sonde-collector api",
                "connect_timeout": 2,
            },
            configure=self._bind,
            check=ConnectionPool.check_connection,
            max_idle=_IDLE_S,
            reconnect_timeout=RECONNECT_S,
            open=False,
            name="sonde-read",
        )

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Give what `work` gives with a connection.

        Raises:
            Busy: too many wait.
            TooSlow: the query took too long.
            Away: there is no connection to be had, or it was lost.
        """
        if self._running >= self._most:
            raise Busy
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)
        finally:
            self._running -= 1

    def close(self) -> None:
        """Close the connections; what runs still is ended by its own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.close()

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            self._pool.open()
            with self._pool.connection(timeout=_CONNECT_S) as conn:
                return work(conn)
        except psycopg.errors.QueryCanceled as error:
            raise TooSlow from error
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise Away from error

    def _bind(self, conn: Connection) -> None:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ  # several statements see one moment
        conn.execute(query("api_session"), {"timeout": self._timeout})
        may = conn.execute(query("adhoc_may_drop_rights")).fetchone()
        if may and may[0]:
            conn.execute(query("api_read_only_role"))
