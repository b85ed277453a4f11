"""One connection kept by one thread, made when it is needed and made anew when it broke."""

from types import TracebackType

import psycopg

from sonde_collector.db.pool import Database


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
            # A peer that vanished without a word is noticed after half a minute, not after TCP's two hours.
            self._conn = self._database.connect(
                autocommit=True,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=30_000,
            )
        return self._conn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        idle = psycopg.pq.TransactionStatus.IDLE
        if self._conn is not None and error is not None and self._conn.info.transaction_status != idle:
            self.close()

    def close(self) -> None:
        """Ends the connection; the next use makes another."""
        if self._conn is not None:
            self._conn.close()
            self._conn = None
