"""Judges that are killed in the middle: each change is told once, and nothing that came is lost."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.fleet import collector_toml
from support.health import World
from support.ingest import connection
from support.programs import Program, eventually, free_port

pytestmark = [pytest.mark.postgres, pytest.mark.faults]
ROUNDS = 6
TURNS = """
import sys, psycopg
from sonde_collector.health.evaluate import turn
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    while True:
        turn(conn)
"""


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database."""
    with connection(database_url) as conn:
        yield conn


def settled(conn: psycopg.Connection) -> bool:
    """Whether all that came is judged."""
    return conn.execute("SELECT count(*) FROM sonde.health_inbox").fetchone() == (0,)


def test_killed_at_any_moment(conn: psycopg.Connection, database_url: str, tmp_path: Path) -> None:
    """Two judges that are killed again and again tell what one that lives would: each change once."""
    seed = int(os.environ.get("SONDE_FAULT_SEED") or random.randrange(1 << 30))
    try:
        _rounds(conn, database_url, tmp_path, random.Random(seed))
    except BaseException as error:
        error.add_note(f"SONDE_FAULT_SEED={seed} replays this")
        raise


def _rounds(conn: psycopg.Connection, url: str, folder: Path, chance: random.Random) -> None:
    world = World(conn, servers=("acme/a1", "acme/a2", "other/o1", "other/o2"), targets=("site",))
    world.set("fleet", flap_changes=1000)
    world.turn(rounds=3)
    judges = [Program("python", "-c", TURNS, url, log=folder / f"judge{number}") for number in range(2)]
    wanted = []
    try:
        for number in range(ROUNDS):
            for judge in judges:
                judge.start()
            down = ["a1"] if number % 2 == 0 else []
            for _ in range(2 if down else 3):
                world.measure(down)
            time.sleep(chance.uniform(0.0, 0.8))  # any moment: what is claimed holds at each
            chance.choice(judges).kill()
            eventually(lambda: settled(conn), 60, "the other one judges what came")
            for judge in judges:
                judge.kill()
            wanted.append(("a1", "UNHEALTHY" if down else "HEALTHY", not down))
            assert world.told() == wanted
    finally:
        for judge in judges:
            judge.kill()
    moved = conn.execute("SELECT to_state FROM sonde.health_changes WHERE key = 'a1' ORDER BY at").fetchall()
    assert [row[0] for row in moved] == ["HEALTHY", *(state for _, state, _ in wanted)]


def test_two_services(conn: psycopg.Connection, database_url: str, tmp_path: Path) -> None:
    """Of two collectors that serve, one judges; when it is killed the other goes on where it was."""
    services = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        config = folder / "collector.toml"
        config.write_text(collector_toml(database_url, free_port()))
        services.append(Program("sonde-collector", "serve", "--config", str(config), log=folder / "log"))
    world = World(conn)
    try:
        for service in services:
            service.start()
        for _ in range(3):
            world.measure()
        eventually(lambda: world.state("a1") == "HEALTHY", 60, services[0].tail)
        services[0].kill()
        world.measure(["a1"])
        world.measure(["a1"])
        eventually(lambda: world.state("a1") == "UNHEALTHY", 60, services[1].tail)
        services[0].start()
        services[1].kill()
        for _ in range(3):
            world.measure()
        eventually(lambda: world.state("a1") == "HEALTHY", 60, services[0].tail)
        assert services[0].stop() == 0
    finally:
        for service in services:
            service.kill()
    assert world.told() == [("a1", "UNHEALTHY", False), ("a1", "HEALTHY", True)]
