"""Latest values as time passes: a speed that nobody measures any more is not shown for ever."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from support.builders import inventory
from support.measured import measure, roll

pytestmark = pytest.mark.postgres
NOW = dt.datetime.now(dt.UTC)
SHOWN = "SELECT download_mbps::float8 FROM mv_server_latest_performance"


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with one server."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn)
        yield conn


def speed(protocol: int, mbps: float | None, **ago: float) -> dict[str, Any]:
    """One run through a protocol, so long ago."""
    at = NOW - dt.timedelta(**ago)
    return {
        "server_id": 1,
        "probe_id": 1,
        "measured_at": at,
        "stream_id": 1,
        "seq": round(at.timestamp()),
        "protocol_id": protocol,
        "download_mbps": mbps,
        "ping_ms": 5.0,
    }


def pass_days(conn: psycopg.Connection, days: int) -> None:
    """Lets the limit of what counts move on without any new row."""
    conn.execute(
        "CREATE OR REPLACE FUNCTION sonde.speeds_since() RETURNS timestamptz LANGUAGE sql STABLE AS "
        f"$$ SELECT now() - interval '8 days' + interval '{days} days' $$"
    )


def test_a_speed_goes_by_its_own_time(conn: psycopg.Connection) -> None:
    """A protocol that is pinged still, but was loaded nine days ago, gives way to a slower speed of today."""
    measure(conn, [speed(1, 900.0, days=9), speed(1, None, minutes=1), speed(2, 100.0, minutes=5)])
    roll(conn)
    assert conn.execute(SHOWN).fetchall() == [(100,)]


def test_a_best_speed_ends_with_its_time_although_no_row_comes(conn: psycopg.Connection) -> None:
    """When the fastest grows old the other protocol's is shown; when that does, none; the table keeps it."""
    measure(conn, [speed(1, 900.0, days=7), speed(2, 100.0, days=5)])
    roll(conn)
    assert conn.execute(SHOWN).fetchall() == [(900,)]
    pass_days(conn, 2)
    assert conn.execute(SHOWN).fetchall() == []  # even before the collector's next turn
    roll(conn)
    assert conn.execute(SHOWN).fetchall() == [(100,)]
    assert conn.execute("SELECT sonde.rollup_aged_latest()").fetchone() == (0,)
    pass_days(conn, 4)
    roll(conn)
    assert conn.execute(SHOWN).fetchall() == []
    kept = conn.execute("SELECT protocol_id, download_mbps::float8 FROM sonde.server_latest").fetchall()
    assert kept == [(2, 100)]
