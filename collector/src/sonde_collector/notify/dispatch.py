"""Delivers: one collector at a time plans and sends; each channel is a task, so that none waits for another.

At least once: what was sent is written after it was sent, so a collector that is killed between the two
sends it again, under the same id.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg
import structlog

from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.pool import Database
from sonde_collector.inventory.model import Notify
from sonde_collector.notify.answers import backoff_s
from sonde_collector.notify.event import Notice
from sonde_collector.notify.message import MOST
from sonde_collector.notify.outbox import Due, Outbox, Turn
from sonde_collector.notify.send import send

_EVERY_S = 1.0
_STANDBY_S = 2.0  # how often one that does not lead asks for the lead
_RETRY_S = 5.0
_FORGET_S = 3600.0
_IN_A_ROW = 3  # failures of a channel before it rests
_LONGEST_REST_S = 60.0
_AWAY = (DatabaseError, psycopg.Error, OSError)
_T = TypeVar("_T")
_log = structlog.get_logger()


class _Dispatcher:
    """Sends what is due, a task for each channel that has something to send.

    Args:
        outbox: where from.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._one_at_a_time = asyncio.Lock()
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}
        self._said_at: dict[str, float] = {}
        self._in_a_row: Counter[str] = Counter()
        self._failing: set[str] = set()
        self._forgot = 0.0

    async def turn(self) -> bool:
        """Plan, and start to send what is due; give whether this collector leads."""
        self._collect()
        now = time.monotonic()
        busy = frozenset(self._sending) | {key for key, at in self._not_before.items() if at > now}
        turn = await self._alone(lambda: self._outbox.turn(busy))
        if turn is None:
            return False
        for key, channel in turn.channels.items():
            again = channel.kind == "alertmanager" and now - self._said_at.get(key, 0.0) >= channel.repeat
            if key not in busy and (turn.due.get(key) or again):
                work = self._serve(channel, turn, repeat=again)
                self._sending[key] = asyncio.create_task(work, name=f"notify {key}")
        if now - self._forgot > _FORGET_S:
            self._forgot = now
            await self._alone(self._outbox.forget)
        return True

    async def stop(self) -> None:
        """End what is being sent: it will be sent again."""
        for task in self._sending.values():
            task.cancel()
        await asyncio.gather(*self._sending.values(), return_exceptions=True)
        self._sending.clear()

    def _collect(self) -> None:
        """Let go of tasks that ended; one that met a failure of the database tells it here."""
        for key in [key for key, task in self._sending.items() if task.done()]:
            self._sending.pop(key).result()

    async def _alone(self, work: Callable[[], _T]) -> _T:
        async with self._one_at_a_time:
            return await self._outbox.connection.run(work)

    async def _serve(self, channel: Notify, turn: Turn, *, repeat: bool) -> None:
        """Send what is due on one channel, until it fails or has had enough."""
        due = list(turn.due.get(channel.key, ()))
        while due:
            some, due = due[: MOST[channel.kind]], due[MOST[channel.kind] :]
            if not await self._deliver(channel, turn.database, some):
                return
            if channel.min_interval:
                self._not_before[channel.key] = time.monotonic() + channel.min_interval
                return
        if repeat:
            await self._say_again(channel, turn.database)

    async def _deliver(self, channel: Notify, database: str, due: Sequence[Due]) -> bool:
        """Send one message; give whether the channel may get the next at once."""
        if not self._outbox.leads:
            return False  # it waits on, for whoever leads now
        events = [one.notice.event.id for one in due]
        outcome = await send(channel, [one.notice for one in due], database)
        if outcome.action == "sent":
            await self._alone(lambda: self._outbox.sent(channel.key, events))
            self._in_a_row[channel.key] = 0
            self._tell(channel.key, failing=False)
            return True
        if outcome.action == "give_up" and len(due) > 1:
            # One of them may be what is not taken.
            return all([await self._deliver(channel, database, [one]) for one in due])
        attempts, age_s = max(one.attempts for one in due) + 1, max(one.age_s for one in due)
        again_s = backoff_s(attempts, outcome.wait_s)
        if outcome.action == "give_up" or age_s + again_s > channel.retry_for:
            await self._alone(lambda: self._outbox.unsent(channel.key, events, outcome.said, None))
            _log.warning("notice_given_up", channel=channel.key, events=events, because=outcome.said)
            return outcome.action == "give_up"
        await self._alone(lambda: self._outbox.unsent(channel.key, events, outcome.said, again_s))
        # A message that alone fails must not hold up all; but what is down for several is down for the next.
        self._in_a_row[channel.key] += 1
        rest_s = outcome.wait_s or _rest_s(self._in_a_row[channel.key])
        self._not_before[channel.key] = time.monotonic() + rest_s
        self._tell(channel.key, failing=True, because=outcome.said)
        return rest_s == 0.0

    async def _say_again(self, channel: Notify, database: str) -> None:
        """Say what goes on once more: Alertmanager takes silence for an end."""
        self._said_at[channel.key] = time.monotonic()
        notices = await self._alone(lambda: self._outbox.going_on(channel.key))
        for start in range(0, len(notices), MOST[channel.kind]):
            some: Sequence[Notice] = notices[start : start + MOST[channel.kind]]
            if not self._outbox.leads:
                return
            outcome = await send(channel, some, database)
            if outcome.action != "sent":
                self._tell(channel.key, failing=True, because=outcome.said)
                return
            self._tell(channel.key, failing=False)

    def _tell(self, key: str, *, failing: bool, because: str = "") -> None:
        """Log when a channel begins to fail, and when it works again."""
        if failing and key not in self._failing:
            _log.warning("channel_fails", channel=key, because=because, advice="retrying")
            self._failing.add(key)
        elif not failing and key in self._failing:
            _log.info("channel_works_again", channel=key)
            self._failing.remove(key)


def _rest_s(in_a_row: int) -> float:
    """Give how long a channel rests after so many failures in a row."""
    return 0.0 if in_a_row < _IN_A_ROW else min(backoff_s(in_a_row - _IN_A_ROW + 1, None), _LONGEST_REST_S)


async def keep_notices(database: Database, done: Callable[[], None]) -> None:
    """Do so for ever, `done` called after each turn that led.

    A failure of the database is told once and tried again.
    """
    outbox = Outbox(database)
    dispatcher = _Dispatcher(outbox)
    failing = False
    try:
        while True:
            try:
                leads = await dispatcher.turn()
            except _AWAY as error:
                if not failing:
                    _log.warning("notices_wait", error=" ".join(str(error).split()), advice="retrying")
                failing = True
                await dispatcher.stop()
                await asyncio.sleep(_RETRY_S)
                continue
            if failing:
                _log.info("notices_go_on")
            failing = False
            if leads:
                done()
            await asyncio.sleep(_EVERY_S if leads else _STANDBY_S)
    finally:
        await dispatcher.stop()
        outbox.close()
