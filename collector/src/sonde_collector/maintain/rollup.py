"""Rollups: what was written since the last turn is counted anew; hours soon, days and months with patience.

Any number of collectors may do it: each turn takes an advisory lock of its series to its transaction's end.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import psycopg
import structlog
from attrs import frozen

from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.maintain.turns import Turns

_SHARE = 20  # of the time, one in so many at most goes into a step: a dirty day of a big fleet takes seconds
_TURN_S = 1.0  # of one step before the others have theirs: in a busy fleet something is always dirty
_LONG_S = 2.0  # a turn of hours that took longer is looked into
_RETRY_S = 10.0
_log = structlog.get_logger()


@frozen
class Step:
    """One rollup function.

    Attributes:
        name: as the query knows it.
        least_s: pause between two turns, at least.
        series: of the raw hours that it counts, one of which a vantage may have made heavy; "" where none.
    """

    name: str
    least_s: float
    series: str = ""


SOON = (
    Step("performance_hours", 2.0, "performance"),
    Step("endpoint_hours", 2.0, "endpoint"),
)
PATIENT = (
    Step("performance_days", 10.0),
    Step("server_days", 10.0),
    Step("endpoint_days", 10.0),
    Step("endpoint_months", 60.0),
    Step("aged_latest", 600.0),
)


class Rollup:
    """Runs each step when it is due.

    Args:
        database: where to.
        steps: which.
        complete: called with a step's name when nothing of it is dirty.
    """

    def __init__(self, database: Database, steps: Sequence[Step], complete: Callable[[str], None]) -> None:
        self.connection = HeldConnection(database)
        self._steps = steps
        self._complete = complete
        self._due = dict.fromkeys((step.name for step in steps), 0.0)

    def turn(self) -> None:
        """Run every step that is due until nothing of it is dirty, or its time is over.

        Raises:
            psycopg.Error, DatabaseError, OSError: PostgreSQL is away, or refuses; nothing is half done.
        """
        with self.connection as conn:
            for step in self._steps:
                begun = time.monotonic()
                if begun < self._due[step.name]:
                    continue
                dirty = True
                while dirty and time.monotonic() - begun < _TURN_S:
                    dirty = _turn(conn, step)
                if not dirty:
                    self._complete(step.name)
                took = time.monotonic() - begun
                if step.series and took > _LONG_S and _put_off(conn, step):
                    took = 0.0  # what it was spent on waits now: the others need not
                # A backlog goes on at once; what is up to date may rest.
                pause = 0.0 if dirty else max(step.least_s, took * (_SHARE - 1))
                self._due[step.name] = begun + took + pause

    def next_s(self) -> float:
        """Seconds until a step is due."""
        return max(0.0, min(self._due.values()) - time.monotonic())

    def close(self) -> None:
        """End the connection."""
        self.connection.close()


def _turn(conn: psycopg.Connection, step: Step) -> bool:
    """Whether anything was dirty."""
    row = conn.execute(query("rollup_step"), {"step": step.name}).fetchone()
    assert row is not None
    return bool(row[0])


def _put_off(conn: psycopg.Connection, step: Step) -> bool:
    """Whether hours that one vantage made heavy wait from now on."""
    row = conn.execute(query("rollup_put_off"), {"series": step.series}).fetchone()
    assert row is not None
    if row[0]:
        _log.warning("heavy_hours_put_off", series=step.series, hours=row[0])
    return bool(row[0])


async def keep_rollups(database: Database, turns: Turns) -> None:
    """Do so for ever: a month may take minutes, and the hours do not wait for it."""
    async with asyncio.TaskGroup() as group:
        for steps in (SOON, PATIENT):
            group.create_task(_keep(database, steps, turns))


async def _keep(database: Database, steps: Sequence[Step], turns: Turns) -> None:
    """Do some steps for ever; a failure is told once and tried again."""
    rollup = Rollup(database, steps, turns.complete)
    done = turns.of("rollups")
    failing = False
    try:
        while True:
            try:
                await rollup.connection.run(rollup.turn)
            except (DatabaseError, psycopg.Error, OSError) as error:
                if not failing:
                    _log.warning("rollup_failed", error=" ".join(str(error).split()), advice="retrying")
                failing = True
                await asyncio.sleep(_RETRY_S)
                continue
            if failing:
                _log.info("rollup_works_again")
            failing = False
            done()
            await asyncio.sleep(rollup.next_s())
    finally:
        rollup.close()
