"""A provider whose servers all fail at once is held until a person says whose fault it is."""

import random
from collections.abc import Iterator
from itertools import groupby

import psycopg
import pytest
from support.health import World, server_result
from support.ingest import connection

from sonde_collector.health.evaluate import turn
from sonde_collector.health.hold_judge import Judged, NotHeld, judge

pytestmark = pytest.mark.postgres
ACME = ("acme/a1", "acme/a2", "acme/a3", "acme/a4")
DOWN = ("a1", "a2", "a3", "a4")


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """Two providers, all well."""
    with connection(database_url) as conn:
        world = World(conn, vantages=("ams1", "lon1"), servers=(*ACME, "other/o1", "other/o2"))
        world.turn(rounds=4)
        assert set(world.states().values()) == {"HEALTHY"}
        yield world


def held(world: World) -> set[str]:
    """Keys of the servers whose states are kept."""
    return {row[0] for row in world.conn.execute("SELECT key FROM sonde.health_states WHERE held")}


def test_it_is_held_and_told_once(world: World) -> None:
    """All of its servers at once: one event, no state changes, and what failed leaves the books."""
    world.turn(DOWN, rounds=4)
    assert set(world.states().values()) == {"HEALTHY"}
    assert held(world) == set(DOWN)
    assert world.told() == []
    (event,) = world.told("provider_held")
    assert event[0] == "acme"
    assert event[1].startswith('all servers of provider "acme" fail at once since ')
    assert world.books() == (4 * 12 + 4 * 4, 0, 32)
    assert [world.uptime(key) for key in ("a1", "o1")] == [100.0, 100.0]


def test_it_ends_by_itself(world: World) -> None:
    """Once they answer again the states go on as before, and what failed waits on."""
    world.turn(DOWN, rounds=3)
    world.turn(rounds=2)
    assert held(world) == set()
    assert set(world.states().values()) == {"HEALTHY"}
    assert [event[2] for event in world.told("provider_held")] == [False, True]
    assert world.books()[1:] == (0, 24)
    late = world.at_us(5) + 500
    world.send("ams1", [server_result("a1", late, ok=False)])
    turn(world.conn)
    assert world.books()[1:] == (0, 25)
    assert judge(world.conn, "acme", "down") == Judged(25, ended=True, again=False)
    assert world.books()[1:] == (25, 0)
    world.turn(rounds=3)
    assert world.told() == []


def test_judged_down(world: World) -> None:
    """It was an outage: the failures enter uptime, the states follow, and it is not held anew."""
    world.turn(DOWN, rounds=4)
    assert judge(world.conn, "acme", "down") == Judged(32, ended=False, again=False)
    turn(world.conn)
    assert {key: state for key, state in world.states().items() if key in DOWN} == dict.fromkeys(
        DOWN, "UNHEALTHY"
    )
    world.turn(DOWN, rounds=2)
    assert held(world) == set()
    assert world.books()[1:] == (48, 0)
    assert world.uptime("a1") == pytest.approx(40.0)
    world.turn(rounds=4)
    assert set(world.states().values()) == {"HEALTHY"}
    assert [event[:2] for event in world.told("provider_judged")] == [
        ("acme", 'provider "acme" was down: 32 held results count')
    ]
    assert judge(world.conn, "acme", "down") == Judged(0, ended=True, again=True)
    with pytest.raises(NotHeld, match="was judged down already"):
        judge(world.conn, "acme", "ours")
    world.turn(DOWN, rounds=2)
    assert len(world.told("provider_held")) == 3


def test_judged_ours(world: World) -> None:
    """It was us: what failed never counts, not in uptime and not in health, also while it goes on."""
    world.turn(DOWN, rounds=3)
    assert judge(world.conn, "acme", "ours") == Judged(0, ended=False, again=False)
    world.turn(DOWN, rounds=3)
    assert held(world) == set(DOWN)
    assert world.books()[1:] == (0, 48)
    world.turn(rounds=1)
    assert set(world.states().values()) == {"HEALTHY"}
    assert held(world) == set()
    assert world.told() == []
    assert world.uptime("a1") == 100.0
    world.turn(["a1"], rounds=2)
    assert world.state("a1") == "UNHEALTHY"


def test_one_after_another_is_no_hold(world: World) -> None:
    """With a server that works, or with other providers that fail too, each server is judged by itself."""
    world.turn(["a1", "a2", "a3"], rounds=3)
    assert {key for key, state in world.states().items() if state == "UNHEALTHY"} == {"a1", "a2", "a3"}
    assert world.told("provider_held") == []
    world.turn([*DOWN, "o1", "o2"], rounds=3)
    assert set(world.states().values()) == {"UNHEALTHY"}
    assert world.told("provider_held") == []


def test_before_all_was_measured_twice(database_url: str) -> None:
    """Vantages measure one server after another: the hold comes before any of them is called DEGRADED."""
    chance = random.Random(4)
    servers = [*(f"acme/a{i}" for i in range(8)), *(f"other/o{i}" for i in range(4))]
    with connection(database_url) as conn:
        world = World(conn, servers=servers)
        runs = sorted(
            (world.begin_us + round((60 * n + phase + chance.uniform(0, 3)) * 1_000_000), vantage, key)
            for vantage in world.vantages
            for key in world.servers
            for phase in [chance.uniform(0, 60)]
            for n in range(6)
        )
        begins = world.begin_us + 200 * 1_000_000
        for at, of_moment in groupby(runs, key=lambda run: (run[0] - world.begin_us) // 4_000_000):
            for when, vantage, key in of_moment:
                ok = when < begins or not key.startswith("a")
                world.send(vantage, [server_result(key, when, ok=ok)])
            if at * 4_000_000 > begins - world.begin_us - 20_000_000:
                turn(conn)
        assert world.told() == []
        assert [event[2] for event in world.told("provider_held")] == [False]
        assert set(world.states().values()) == {"HEALTHY"}


def test_nothing_to_judge(world: World) -> None:
    """Who names no provider, or one that is not held, is told so."""
    with pytest.raises(NotHeld, match='"nobody" is no provider of the fleet'):
        judge(world.conn, "nobody", "down")
    with pytest.raises(NotHeld, match='provider "acme" is not held: nothing waits for a judgement'):
        judge(world.conn, "acme", "ours")


def test_moved_rows_are_whole(world: World) -> None:
    """A row that is held and released is the same row."""
    conn: psycopg.Connection = world.conn
    world.turn(["a4"])
    world.turn(["a4"])
    world.turn(rounds=3)
    rows = "SELECT to_jsonb(l) FROM performance_logs l ORDER BY measured_at, server_id, probe_id"
    world.measure(DOWN)
    before = conn.execute(rows).fetchall()
    turn(conn)
    assert len(conn.execute(rows).fetchall()) == len(before) - 8
    judge(conn, "acme", "down")
    assert conn.execute(rows).fetchall() == before
