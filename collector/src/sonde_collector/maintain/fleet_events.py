"""Events of the fleet itself: silent agents, clocks, spools, rejected results, stale rules, the disk.

Any number of collectors may look: each turn is a transaction under an advisory lock that reads what goes on
and writes what changes, so each change is one event.
"""

import asyncio
import shutil
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from sonde_collector.config import Watch
from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.maintain.fleet_watch import (
    Bounds,
    Disk,
    Trouble,
    of_agents,
    of_disk,
    of_limits,
    of_rules,
    seldom,
)

EVERY_S = 10.0
_RETRY_S = 10.0
_ASLEEP_S = 60.0  # between two looks: this process was frozen, and perhaps no other listened
_RULES_S = 60.0  # between two looks at canaries, which speak every hour
_SAMPLE_S = 600.0  # between two looks at the disk that are remembered
_SAMPLES = 145  # a day of them
_log = structlog.get_logger()


class FleetEvents:
    """Looks at the fleet and writes what changed.

    Args:
        database: where to.
        settings: [watch] of the configuration.
        state_dir: what lies on the disk that is watched.
    """

    def __init__(self, database: Database, settings: Watch, state_dir: Path) -> None:
        self.connection = HeldConnection(database)
        self._settings = settings
        self._state_dir = state_dir
        self._host = socket.gethostname()
        self._free: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)
        self._since = self._looked = time.monotonic()
        self._rules_at = float("-inf")

    def turn(self) -> int:
        """Look once; give how many events that made.

        Raises:
            psycopg.Error, DatabaseError, OSError: PostgreSQL is away, or refuses; nothing is half done.
        """
        bounds = _bounds(self._settings)
        disk = self._disk()
        before, self._looked = self._looked, time.monotonic()
        if self._looked - before > _ASLEEP_S:
            self.deaf()
        with self.connection as conn, conn.transaction():
            conn.execute(query("watch_lock"))
            going_on = frozenset(row["topic"] for row in _rows(conn, "watch_going_on"))
            troubles = of_disk(disk, bounds, going_on)
            # Who was not listening can't say that an agent was silent.
            if time.monotonic() - self._since >= bounds.silent_s:
                troubles += of_agents(_rows(conn, "watch_agents"), bounds, going_on)
            if time.monotonic() - self._rules_at >= _RULES_S:
                self._rules_at = time.monotonic()
                troubles += of_rules(_rows(conn, "watch_rules"), going_on)
            troubles += of_limits(_rows(conn, "watch_limits"), going_on)
            if troubles:
                topics = [one.topic for one in troubles]
                begun: dict[str, int] = dict(conn.execute(query("watch_told"), (topics,)).fetchall())
                troubles = seldom(troubles, begun)
            if troubles:
                conn.execute(query("watch_events"), (Jsonb([_row(one) for one in troubles]),))
        return len(troubles)

    def deaf(self) -> None:
        """Say that the database was away: agents' words may have been lost."""
        self._since = time.monotonic()

    def _disk(self) -> Disk:
        path = next(each for each in (self._state_dir, *self._state_dir.parents) if each.exists())
        usage, now = shutil.disk_usage(path), time.monotonic()
        if not self._free or now - self._free[-1][0] >= _SAMPLE_S:
            self._free.append((now, float(usage.free)))
        samples = (*self._free, (now, float(usage.free)))
        return Disk(self._host, str(self._state_dir), samples, float(usage.total))


def _bounds(settings: Watch) -> Bounds:
    return Bounds(
        silent_s=settings.agent_silent,
        clock_ms=settings.agent_clock * 1000,
        certificate_s=settings.agent_certificate,
        spool_s=settings.spool_age,
        spool_bytes=settings.spool_bytes,
        rejected=settings.rejected,
        disk_share=settings.disk_free,
        disk_days=settings.disk_days,
    )


def _row(trouble: Trouble) -> dict[str, Any]:
    return {
        "kind": trouble.kind,
        "subject": trouble.subject,
        "detail": trouble.detail,
        "severity": trouble.severity,
        "topic": trouble.topic,
        "resolved": trouble.resolved,
        "data": dict(trouble.data),
    }


def _rows(conn: psycopg.Connection, name: str) -> Sequence[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query(name)).fetchall()


async def keep_fleet_events(
    database: Database, settings: Watch, state_dir: Path, done: Callable[[], None]
) -> None:
    """Do so for ever, `done` called after each turn; a failure is told once and tried again."""
    watch = FleetEvents(database, settings, state_dir)
    failing = False
    try:
        while True:
            try:
                made = await watch.connection.run(watch.turn)
            except (DatabaseError, psycopg.Error, OSError) as error:
                if not failing:
                    _log.warning("fleet_not_watched", error=" ".join(str(error).split()), advice="retrying")
                failing = True
                watch.deaf()
                await asyncio.sleep(_RETRY_S)
                continue
            if failing:
                _log.info("fleet_watched_again")
            failing = False
            done()
            if made:
                _log.info("fleet_events", events=made)
            await asyncio.sleep(min(EVERY_S, settings.agent_silent / 3))
    finally:
        watch.connection.close()
