"""Health, for ever: a turn when something came, and every few seconds in any case, as silence speaks too."""

import asyncio
import time
from collections.abc import Callable

import psycopg
import structlog

from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import Database
from sonde_collector.health.evaluate import Turned, turn, waiting

_EVERY_S = 2.0
_AT_LEAST_S = 10.0  # without news: what was measured grows old, a vantage falls silent
_CERTIFICATES_S = 60.0
_SHARE = 5  # of the time, one in so many at most goes into turns
_RETRY_S = 10.0
_log = structlog.get_logger()


class Health:
    """Does a turn when it is due.

    Args:
        database: where to.
    """

    def __init__(self, database: Database) -> None:
        self.connection = HeldConnection(database)
        self._turned = float("-inf")
        self._certificates = float("-inf")
        self._took = 0.0

    def turn(self) -> Turned:
        """Do a turn, if something came or the last one is some time ago.

        Raises:
            psycopg.Error, DatabaseError, OSError: PostgreSQL is away, or refuses; nothing is half done.
        """
        with self.connection as conn:
            begun = time.monotonic()
            if begun - self._turned < _AT_LEAST_S and not waiting(conn):
                self._took = 0.0
                return Turned(led=False)
            certificates = begun - self._certificates > _CERTIFICATES_S
            done = turn(conn, certificates=certificates)
            self._turned = begun
            if certificates and done.led:
                self._certificates = begun
            self._took = time.monotonic() - begun
            return done

    def next_s(self, done: Turned) -> float:
        """Give the pause after a turn. [s]"""
        return max(0.0 if done.more else _EVERY_S, self._took * (_SHARE - 1))


async def keep_health(database: Database, done: Callable[[], None]) -> None:
    """Do so for ever, `done` called after each turn that led; a failure is told once and tried again."""
    health = Health(database)
    failing = False
    try:
        while True:
            try:
                turned = await health.connection.run(health.turn)
            except (DatabaseError, psycopg.Error, OSError) as error:
                if not failing:
                    _log.warning("health_failed", error=" ".join(str(error).split()), advice="retrying")
                failing = True
                await asyncio.sleep(_RETRY_S)
                continue
            if failing:
                _log.info("health_works_again")
            failing = False
            if turned.led:
                done()
            if turned.changes:
                _log.info("health_changed", states=turned.changes)
            await asyncio.sleep(health.next_s(turned))
    finally:
        health.connection.close()
