"""The outbox in PostgreSQL: events become deliveries, these become due, what came of them is written."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from attrs import frozen
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from sonde_collector.db.held import HeldConnection
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.inventory.model import Notify
from sonde_collector.inventory.model.notify import from_spec
from sonde_collector.notify.decide import Silence, decide, silenced_by
from sonde_collector.notify.event import Event, Notice, event_of
from sonde_collector.notify.message import MOST

Row = Mapping[str, Any]

# A lead that was not confirmed for so long may be another's by now: less than `maintain.stalled` waits. [s]
_SURE_S = 10.0


@frozen
class Due:
    """A notice that waits to be sent.

    Attributes:
        attempts: that failed so far.
        age_s: since it was planned.
    """

    notice: Notice
    attempts: int
    age_s: float


@frozen
class Turn:
    """What a leader finds to do.

    Attributes:
        database: its id.
        channels: all that are active.
        due: by channel, of those asked for; in the order in which to send.
    """

    database: str
    channels: Mapping[str, Notify]
    due: Mapping[str, Sequence[Due]]


class Outbox:
    """The outbox, as the one collector that delivers sees it. One call at a time.

    The lead is an advisory lock of its connection, so whoever lost the connection has lost the lead; what it
    still writes is only what came of messages that it did send.

    Args:
        database: where it is.
    """

    def __init__(self, database: Database) -> None:
        self.connection = HeldConnection(database)
        self._led: psycopg.Connection | None = None
        self._sure_at = float("-inf")

    @property
    def leads(self) -> bool:
        """Whether this collector may send now: it led a moment ago. One that was frozen does not know."""
        return time.monotonic() - self._sure_at < _SURE_S

    def turn(self, busy: frozenset[str]) -> Turn | None:
        """Plan what is new, release what is silenced no more, and give what is due; None: another one leads.

        Args:
            busy: channels whose due notices are not asked for.

        Raises:
            psycopg.Error, DatabaseError, OSError: PostgreSQL is away, or refuses; nothing is half done.
        """
        asked_at = time.monotonic()
        with self.connection as conn:
            if self._led is not conn:
                self._sure_at = float("-inf")
                if not _one(conn, "notify_lead")["pg_try_advisory_lock"]:
                    return None
                self._led = conn
            channels = read_channels(conn)
            self._sure_at = asked_at
            while plan(conn, channels):
                continue
            release(conn, channels)
            due = _due(conn, [key for key in channels if key not in busy])
            return Turn(str(_one(conn, "notify_database")["id"]), channels, due)

    def sent(self, channel: str, events: Sequence[int]) -> None:
        """Write that these were told."""
        with self.connection as conn, conn.transaction():
            conn.execute(query("notify_sent"), {"channel": channel, "events": list(events)})
            self._channel_event(conn, channel, resolved=True, detail=f'channel "{channel}" works again')

    def unsent(self, channel: str, events: Sequence[int], error: str, again_s: float | None) -> None:
        """Write that these were not told: tried again in so many seconds, or given up with None."""
        values = {"channel": channel, "events": list(events), "error": error, "again_s": again_s}
        with self.connection as conn, conn.transaction():
            conn.execute(query("notify_unsent"), values)
            if again_s is None:
                detail = f'channel "{channel}" did not take {len(events)} notice(s): {error}'
                self._channel_event(conn, channel, resolved=False, detail=detail)

    def going_on(self, channel: str) -> list[Notice]:
        """Give what a channel was told that goes on still."""
        with self.connection as conn:
            rows = _rows(conn, "notify_going_on", {"channel": channel})
            return [Notice(event_of(row), None, row["since"]) for row in rows]

    def forget(self) -> None:
        """Delete what was dealt with long ago."""
        with self.connection as conn:
            conn.execute(query("notify_forget"))

    def close(self) -> None:
        """End the connection, and with it the lead."""
        self._led, self._sure_at = None, float("-inf")
        self.connection.close()

    @staticmethod
    def _channel_event(conn: psycopg.Connection, channel: str, *, resolved: bool, detail: str) -> None:
        kind = "notify_works" if resolved else "notify_failed"
        values = {"channel": channel, "kind": kind, "resolved": resolved, "detail": detail}
        conn.execute(query("notify_channel_event"), values)


def read_channels(conn: psycopg.Connection) -> dict[str, Notify]:
    """Give the active channels by key, of the kinds that this version knows."""
    rows = _rows(conn, "notify_channels")
    return {row["key"]: from_spec(row["key"], row["spec"]) for row in rows if row["spec"].get("kind") in MOST}


def plan(conn: psycopg.Connection, channels: Mapping[str, Notify]) -> int:
    """Make the deliveries of some events that have none, in one transaction; give how many events that were.

    Args:
        conn: outside any transaction, of the one that leads.
        channels: all that are active.
    """
    with conn.transaction():
        events = [event_of(row) for row in _rows(conn, "notify_unplanned")]
        if not events:
            return 0
        told = _told(conn, events)
        silences = _silences(conn)
        rows = []
        for event in events:
            silence = silenced_by(event, silences)
            for key, channel in channels.items():
                at = (key, event.topic)
                state = decide(channel, event, told.get(at), silence)
                if event.topic is not None and state == "waiting":
                    told[at] = event
                elif event.status == "resolved" and state == "filtered":
                    told.pop(at, None)
                rows.append(_delivery(key, event, state, silence))
        conn.execute(query("notify_plan"), {"rows": Jsonb(rows), "events": [event.id for event in events]})
        conn.execute(query("notify_superseded"), {"rows": Jsonb(rows)})
        return len(events)


def release(conn: psycopg.Connection, channels: Mapping[str, Notify]) -> None:
    """Decide anew about what was silenced and is so no more: what still goes on is told now.

    Args:
        conn: outside any transaction, of the one that leads.
        channels: all that are active.
    """
    with conn.transaction():
        kept = [(row["channel"], event_of(row)) for row in _rows(conn, "notify_silenced")]
        if not kept:
            return
        silences = _silences(conn)
        told = _told(conn, [event for _, event in kept])
        rows = []
        for key, event in kept:
            if key in channels and silenced_by(event, silences) is None:
                state = decide(channels[key], event, told.get((key, event.topic)), None)
                # What is not told now was silenced for good.
                rows.append(_delivery(key, event, "waiting" if state == "waiting" else "silenced", None))
        if rows:
            conn.execute(query("notify_released"), {"rows": Jsonb(rows)})


def _delivery(channel: str, event: Event, state: str, silence: str | None) -> dict[str, Any]:
    return {
        "event_id": event.id,
        "channel": channel,
        "topic": event.topic,
        "state": state,
        "silenced_by": silence if state == "silenced" else None,
    }


def _told(conn: psycopg.Connection, events: Sequence[Event]) -> dict[tuple[str, str | None], Event]:
    topics = sorted({event.topic for event in events if event.topic is not None})
    rows = _rows(conn, "notify_told", {"topics": topics}) if topics else []
    return {(row["channel"], row["topic"]): event_of(row) for row in rows}


def _silences(conn: psycopg.Connection) -> list[Silence]:
    return [Silence(**row) for row in _rows(conn, "notify_silences")]


def _due(conn: psycopg.Connection, channels: Sequence[str]) -> dict[str, list[Due]]:
    out: dict[str, list[Due]] = defaultdict(list)
    if not channels:
        return out
    for row in _rows(conn, "notify_due", {"channels": list(channels)}):
        before = row["before"] and event_of({**row["before"], "at": row["before_at"]})
        notice = Notice(event_of(row), before, row["since"])
        out[row["channel"]].append(Due(notice, row["attempts"], row["age_s"]))
    return out


def _rows(conn: psycopg.Connection, name: str, values: Any = None) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query(name), values).fetchall()


def _one(conn: psycopg.Connection, name: str) -> dict[str, Any]:
    (row,) = _rows(conn, name)
    return row
