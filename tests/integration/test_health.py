"""Health on a real database: what vantages measured becomes states, changes and events."""

from collections.abc import Iterator

import psycopg
import pytest
from support.health import World
from support.ingest import connection

pytestmark = pytest.mark.postgres
OTHERS = ("other/o1", "other/o2")


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database."""
    with connection(database_url) as conn:
        yield conn


def test_a_server_goes_down_and_comes_back(conn: psycopg.Connection) -> None:
    """Two failures from enough vantages make it UNHEALTHY, three successes HEALTHY; each is told once."""
    world = World(conn, servers=("acme/a1", *OTHERS))
    world.turn(rounds=2)
    assert world.states() == {"a1": "UNKNOWN", "o1": "UNKNOWN", "o2": "UNKNOWN"}
    world.turn()
    assert world.states() == {"a1": "HEALTHY", "o1": "HEALTHY", "o2": "HEALTHY"}
    assert world.told() == []
    world.turn(["a1"])
    assert world.state("a1") == "HEALTHY"
    world.turn(["a1"], rounds=3)
    assert world.state("a1") == "UNHEALTHY"
    world.turn(rounds=4)
    assert world.told() == [("a1", "UNHEALTHY", False), ("a1", "HEALTHY", True)]
    event = conn.execute(
        "SELECT detail, data, severity, topic FROM sonde.events ORDER BY id LIMIT 1"
    ).fetchone()
    assert event == (
        'server "a1" is UNHEALTHY, was HEALTHY: fails from 3 of 3 vantages (ams1, lon1, nyc1): timeout',
        {
            "object": "server", "key": "a1", "from": "HEALTHY", "to": "UNHEALTHY", "flapping": False,
            "reason": "fails from 3 of 3 vantages (ams1, lon1, nyc1): timeout",
            "vantages": ["ams1", "lon1", "nyc1"],
        },
        "critical",
        "health/server/a1",
    )  # fmt: skip
    history = conn.execute(
        "SELECT from_state, to_state FROM sonde.health_changes WHERE key = 'a1' ORDER BY at"
    )
    assert history.fetchall() == [("UNKNOWN", "HEALTHY"), ("HEALTHY", "UNHEALTHY"), ("UNHEALTHY", "HEALTHY")]
