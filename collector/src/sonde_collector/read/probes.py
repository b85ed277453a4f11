"""Whether this collector can do its work: what /readyz answers."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Mapping

import psycopg
from psycopg_pool import PoolTimeout

from sonde_collector.db.errors import SchemaTooNew
from sonde_collector.db.migrate import pending
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.read.status import partitions_lack

CHECK_S = 3.0  # a check that takes longer has failed
KEPT_S = 1.0  # however often one asks, the database is asked once in this time
_READ_ONLY = "it is read only: a standby? With target_session_attrs=read-write its URL finds the other"
_AHEAD = dt.timedelta(hours=12)

Checks = Mapping[str, str | None]


class Readiness:
    """Whether this collector can commit what agents send.

    Args:
        database: where to.
        stuck: gives why the writer makes no progress, or None.
    """

    def __init__(self, database: Database, stuck: Callable[[], str | None]) -> None:
        self._database = database
        self._stuck = stuck
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._checks: Checks = {}
        self.stopping = False

    async def checks(self) -> Checks:
        """Give check -> None when well, else why not, in words."""
        async with self._asking:
            if time.monotonic() - self._asked_at > KEPT_S:
                self._checks = await self._ask()
                self._asked_at = time.monotonic()
        stopping = {"process": "the collector is stopping"} if self.stopping else {}
        return {**self._checks, "writer": self._stuck(), **stopping}

    async def _ask(self) -> Checks:
        try:
            async with asyncio.timeout(CHECK_S):
                return await asyncio.to_thread(self._look)
        except TimeoutError:
            return {"database": f"no answer within {CHECK_S:.0f} s"}

    def _look(self) -> Checks:
        try:
            with self._database.pool.connection(timeout=CHECK_S) as conn:
                standby = conn.execute(query("status_ping")).fetchone()
                if standby is None or standby[0]:
                    return {"database": _READ_ONLY}
                waiting = _waiting(conn)
                lacking = partitions_lack(conn, dt.datetime.now(dt.UTC), ahead=_AHEAD)
        except PoolTimeout:
            return {"database": "no connection is free or can be made"}
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with the database is the answer
            return {"database": " ".join(str(error).split())}
        schema = f"migrations wait: {', '.join(waiting)}; run `sonde-collector migrate`" if waiting else None
        partitions = f"none ahead for {', '.join(lacking)}" if lacking else None
        return {"database": None, "schema": schema, "partitions": partitions}


def _waiting(conn: psycopg.Connection) -> list[str]:
    """Give the migrations that wait.

    While collectors are upgraded one by one, none does for those that run on: a newer schema serves them.
    """
    try:
        return [migration.name for migration in pending(conn)]
    except SchemaTooNew:
        return []
