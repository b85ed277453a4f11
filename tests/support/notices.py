"""Channels, events and the dispatching program, as small as a test can say them."""

import sys
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from support.programs import Program

_DISPATCHER = """
import asyncio, sys
from sonde_collector import log
from sonde_collector.db.pool import Database
from sonde_collector.notify.dispatch import keep_notices
log.configure()
asyncio.run(keep_notices(Database(sys.argv[1]), lambda: None))
"""


def dispatcher(url: str, log: Path) -> Program:
    """A process that does what `serve` does for notices, and nothing else: it starts in a second."""
    return Program(sys.executable, "-c", _DISPATCHER, url, log=log)


def channel(conn: psycopg.Connection, key: str, kind: str = "json", **spec: Any) -> None:
    """A channel, as `apply` writes it."""
    conn.execute(
        "INSERT INTO sonde.notify_channels (key, spec) VALUES (%s, %s)", (key, Jsonb({"kind": kind, **spec}))
    )


def event(conn: psycopg.Connection, kind: str = "health_changed", subject: str = "s1", **values: Any) -> int:
    """An event, as whoever has one to tell writes it; returns its id."""
    filled: dict[str, Any] = {
        "detail": f"{subject} changed",
        "severity": "warning",
        "topic": f"{kind}/{subject}",
        "resolved": False,
        "data": {},
    } | values
    row = conn.execute(
        "INSERT INTO sonde.events (kind, subject, detail, severity, topic, resolved, data)"
        " VALUES (%(kind)s, %(subject)s, %(detail)s, %(severity)s, %(topic)s, %(resolved)s, %(data)s)"
        " RETURNING id",
        {"kind": kind, "subject": subject, **filled, "data": Jsonb(filled["data"])},
    ).fetchone()
    assert row is not None
    return int(row[0])


def states(conn: psycopg.Connection, key: str) -> list[tuple[int, str]]:
    """Event and state of each delivery on a channel."""
    return [
        (int(row[0]), str(row[1]))
        for row in conn.execute(
            "SELECT event_id, state FROM sonde.deliveries WHERE channel = %s ORDER BY event_id", (key,)
        )
    ]
