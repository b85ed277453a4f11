"""Canaries tell a stale rule from a blocked exit: the events, and what the matrix says of a server."""

import datetime as dt
import random
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.builders import inventory
from support.unlocks import NOW, PLATFORMS, Check, insert, platforms, rule_states

from sonde_collector.config import Watch
from sonde_collector.db import partitions
from sonde_collector.db.pool import Database
from sonde_collector.maintain.fleet_events import FleetEvents
from sonde_collector.unlock.voiding import void

pytestmark = pytest.mark.postgres
HOUR = 3600.0
STATES = (
    "SELECT platform_id, rule_version, state FROM sonde.rule_states(now() - interval '15 days') ORDER BY 1, 2"
)
EVENTS = "SELECT topic, severity, resolved FROM sonde.events WHERE kind = 'rule_stale' ORDER BY id"


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with two servers, three vantages, three platforms."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=("ams1", "lon1", "nyc1"), servers=("s1", "s2"))
        platforms(conn)
        for table in ("streaming_checks", "sonde.canary_checks"):
            partitions.ensure(conn, table, NOW - dt.timedelta(days=20), NOW)
        yield conn


def canary(
    ago_h: float, verdict: str = "inconclusive", probe: int = 1, family: int = 4, version: str = "1"
) -> Check:
    """One direct check of netflix."""
    return Check(None, probe=probe, ago_s=ago_h * HOUR, verdict=verdict, family=family, version=version)


def look(url: str, tmp_path: Path) -> int:
    """Look at the fleet once, as a collector does that just started; give how many events that made."""
    watch = FleetEvents(Database(url), Watch(disk_free=0.0, disk_days=0.0), tmp_path)
    try:
        return watch.turn()
    finally:
        watch.connection.close()


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        ([], None),
        ([canary(1)], "unknown"),
        ([canary(1, "not_in_region")], "fine"),
        ([canary(3, "available"), canary(2)], "fine"),
        ([canary(3, "available"), canary(2), canary(1)], "stale"),
        ([canary(2), canary(1)], "stale"),
        # Both families of one run are not two in a row.
        ([canary(1), canary(1, family=6)], "unknown"),
        # Another vantage spoke once: wait for it. A third one's good answer outweighs both.
        ([canary(3), canary(2), canary(1.5, probe=2)], "unknown"),
        ([canary(3), canary(2), canary(1.5, probe=2), canary(0.5, probe=2)], "stale"),
        ([canary(3), canary(2), canary(1.5, probe=2), canary(1, probe=2), canary(0.5, probe=3)], "stale"),
        ([canary(3), canary(2), canary(2, probe=2), canary(1, probe=2), canary(0.5, "blocked", 3)], "fine"),
        # What says nothing of a rule changes nothing.
        ([canary(3, "available"), canary(2, "network_error"), canary(1, "rate_limited")], "fine"),
        # A pack with a new version: the old one is forgotten.
        ([canary(3), canary(2), canary(1, version="1")], "stale"),
    ],
)
def test_when_a_rule_is_stale(conn: psycopg.Connection, checks: list[Check], state: str | None) -> None:
    """Twice in a row in one series, at two vantages or all that speak, and nobody knew better since."""
    insert(conn, checks)
    found = conn.execute(STATES).fetchall()
    assert found == ([] if state is None else [(1, "1", state)])


def test_states_are_what_brute_force_gives(conn: psycopg.Connection) -> None:
    """Over random canaries, direct and by good servers, of several versions, one of them voided."""
    known = {1: (1, 3)}
    conn.execute("INSERT INTO sonde.canary_servers VALUES (1, ARRAY['netflix', 'hulu', 'nothing'])")
    void(conn, PLATFORMS[1], "2", "stale")
    dice = random.Random(11)
    seen = set()
    for _ in range(40):
        made = [
            Check(
                dice.choice([None, None, 1, 2]),
                dice.randint(1, 3),
                dice.randint(1, 3),
                dice.randint(1, 400) * HOUR / 2,
                dice.choice(
                    ["inconclusive", "inconclusive", "inconclusive", "available", "blocked", "rate_limited"]
                ),
                dice.choice(["1", "1", "2", None]),
                dice.choice([4, 4, 6, None]),
                failure=dice.choice([None, None, None, "auth"]),
                quality=dice.choice([0, 0, 0, 4]),
            )
            for _ in range(dice.randint(1, 60))
        ]
        conn.execute("TRUNCATE streaming_checks, sonde.canary_checks")
        checks = [check for check in insert(conn, made) if check.ago_s <= 15 * 24 * HOUR - 60]
        states = rule_states(checks, known, {(2, "2")})
        assert {(row[0], row[1]): row[2] for row in conn.execute(STATES)} == states
        seen |= set(states.values())
    assert seen == {"stale", "fine", "unknown"}


def test_a_stale_rule_is_one_event_that_ends(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """It begins once, ends once when a canary is conclusive again, and notices know whom it is about."""
    insert(conn, [canary(5), canary(4)])
    assert look(database_url, tmp_path) == 1
    assert look(database_url, tmp_path) == 0
    assert conn.execute(EVENTS).fetchall() == [("rule_stale/netflix@1", "warning", False)]
    conn.execute("TRUNCATE sonde.canary_checks")
    insert(conn, [canary(5), canary(4), canary(3, "available")])
    assert look(database_url, tmp_path) == 1
    assert look(database_url, tmp_path) == 0
    assert conn.execute(EVENTS).fetchall()[1] == ("rule_stale/netflix@1", "info", True)


@pytest.mark.parametrize("how", ["voided", "superseded"])
def test_what_no_canary_uses_ends(
    conn: psycopg.Connection, database_url: str, tmp_path: Path, how: str
) -> None:
    """A stale version that is voided, or that a new pack replaced, is trouble no more."""
    insert(conn, [canary(5), canary(4)])
    assert look(database_url, tmp_path) == 1
    if how == "voided":
        void(conn, "netflix", "1", "stale")
    else:
        conn.execute("TRUNCATE sonde.canary_checks")
        insert(conn, [canary(5), canary(4), canary(3, version="2")])
    assert look(database_url, tmp_path) == 1
    assert [row[2] for row in conn.execute(EVENTS)] == [False, True]


@pytest.mark.parametrize(
    ("canaries", "verdict", "cause"),
    [
        ([canary(3, "available")], "inconclusive", "exit"),
        ([canary(3, "available")], "blocked", "exit"),
        ([canary(3, "available")], "network_error", None),
        ([canary(3, "available")], "available", None),
        ([canary(3), canary(2)], "inconclusive", "rule"),
        ([canary(3), canary(2)], "blocked", None),
        ([canary(3)], "inconclusive", None),
        ([canary(3, "available", version="2")], "inconclusive", None),
        ([], "inconclusive", None),
    ],
)
def test_exit_or_rule(
    conn: psycopg.Connection, canaries: list[Check], verdict: str, cause: str | None
) -> None:
    """Where canaries of the same version are well the exit is at fault; where they are not, the rule."""
    insert(conn, [*canaries, Check(verdict=verdict)])
    found = conn.execute("SELECT cause FROM sonde.unlock_matrix(now() - interval '2 days')").fetchall()
    assert found == [(cause,)]
