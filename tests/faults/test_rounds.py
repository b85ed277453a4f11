"""Nothing lost, nothing doubled: seeded rounds of faults under load, each followed by an audit, seq by seq.

A failing round prints its seed; SONDE_FAULT_SEED=N replays that one.
"""

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.fake_clock import step_clock
from support.fleet import Fleet, copy_state, prepare_database, settle
from support.postgres import Server

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

ROUNDS = 40
SOAK_ROUNDS = 1000


def _kill_agent(fleet: Fleet, chance: random.Random) -> None:
    agent = chance.choice(fleet.agents)
    agent.program.kill()
    settle(chance.uniform(0, 0.5))
    agent.program.start()


def _kill_collector(fleet: Fleet, chance: random.Random) -> None:
    collector = chance.choice(fleet.collectors)
    collector.kill()
    settle(chance.uniform(0, 0.5))
    collector.start()


def _restart_collector(fleet: Fleet, chance: random.Random) -> None:
    collector = chance.choice(fleet.collectors)
    if collector.running:
        collector.stop()
        collector.start()


def _kill_postgres(fleet: Fleet, chance: random.Random) -> None:
    fleet.server.kill9()
    settle(chance.uniform(0, 0.5))
    fleet.server.start()


def _cut(fleet: Fleet, chance: random.Random) -> None:
    chance.choice(fleet.agents).proxy.cut()


def _lose_acks(fleet: Fleet, chance: random.Random) -> None:
    """What the collector says no longer arrives; then the connection breaks: committed, but unacked."""
    proxy = chance.choice(fleet.agents).proxy
    proxy.mute()
    settle(chance.uniform(0.1, 1.0))
    proxy.heal()
    proxy.cut()


def _move_agents(fleet: Fleet, chance: random.Random) -> None:
    """A second collector on the same database, and agents that move between the two."""
    if len(fleet.collectors) == 1:
        fleet.add_collector()
    for agent in fleet.agents:
        agent.proxy.lead_to(chance.choice(fleet.ports))
        if chance.random() < 0.5:
            agent.proxy.cut()


def _lose_spool(fleet: Fleet, chance: random.Random) -> None:
    agent = chance.choice(fleet.agents)
    agent.program.kill()
    fleet.bury(agent)
    for path in agent.spool.parent.glob("spool*"):
        path.unlink()
    agent.program.start()


def _restore_spool(fleet: Fleet, chance: random.Random) -> None:
    """The host is set back to a backup that was made a moment ago."""
    agent = chance.choice(fleet.agents)
    agent.program.kill()
    backup = fleet.directory / f"backup{chance.getrandbits(32):08x}"
    copy_state(agent.directory / "state", backup)
    agent.program.start()
    settle(chance.uniform(0.5, 1.5))
    agent.program.kill()
    fleet.bury(agent)
    for path in agent.spool.parent.glob("spool*"):
        path.unlink()
    copy_state(backup, agent.directory / "state")
    agent.program.start()


def _clone_spool(fleet: Fleet, chance: random.Random) -> None:
    """A second host is made from an image of the first; then the first is taken down for good."""
    agent = chance.choice(fleet.agents)
    agent.program.kill()
    clone = fleet.add_agent(agent.code, state_of=agent)
    agent.program.start()
    settle(chance.uniform(0.5, 1.5))
    clone.program.kill()
    fleet.agents.remove(clone)
    fleet.graves.append(clone.spool)


def _rebuild_database(fleet: Fleet, chance: random.Random) -> None:
    """The database is lost; a new one is made from the same inventory, with other row ids."""
    for collector in fleet.collectors:
        collector.kill()
    name = f"rebuilt_{chance.getrandbits(32):08x}"
    fleet.server.create(name, "fleet_reversed")
    fleet.use_database(name)
    for collector in fleet.collectors:
        collector.start()


FAULTS: tuple[Callable[[Fleet, random.Random], None], ...] = (
    _kill_agent,
    _kill_collector,
    _restart_collector,
    _kill_postgres,
    _cut,
    _lose_acks,
    _move_agents,
    _lose_spool,
    _restore_spool,
    _clone_spool,
    _rebuild_database,
    step_clock,
)


@pytest.fixture(scope="module")
def durable_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may be killed, with two prepared databases that differ in their row ids."""
    server = Server(durable=True)
    server.start()
    try:
        folder = tmp_path_factory.mktemp("inventory")
        prepare_database(server, "fleet_template", folder / "a")
        prepare_database(server, "fleet_reversed", folder / "b", reverse=True)
        yield server
    finally:
        server.stop()


def _round(seed: int, server: Server, directory: Path) -> None:
    chance = random.Random(seed)
    name = f"round_{seed}"
    server.create(name, "fleet_template")
    fleet = Fleet(directory, server, name, spool_bytes=chance.choice(["64MB", "64MB", "64MB", "384KiB"]))
    try:
        with fleet:
            for fault in chance.sample(FAULTS, chance.randint(1, 3)):
                fault(fleet, chance)
                settle(chance.uniform(0, 1.5))
            fleet.heal()
            settle(1)
            fleet.drain()
            for agent in fleet.agents:
                assert agent.program.stop(within_s=15) == 0, agent.program.tail()
            fleet.audit()
    except BaseException as error:
        error.add_note(f"SONDE_FAULT_SEED={seed} replays this round; its files: {directory}")
        raise
    finally:
        if not server.running:
            server.start()
        for database in fleet.databases:  # recovery after a kill syncs every file that is left
            server.drop(database)


def _seeds(count: int) -> list[int]:
    replay = os.environ.get("SONDE_FAULT_SEED")
    return [int(replay)] if replay else list(range(count))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", _seeds(ROUNDS))
def test_after_any_faults_rows_and_gaps_are_exactly_what_was_measured(
    seed: int, durable_server: Server, tmp_path: Path
) -> None:
    """After one to three random faults under load, every measured seq is in the database exactly once."""
    _round(seed, durable_server, tmp_path / "fleet")


@pytest.mark.soak
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", _seeds(SOAK_ROUNDS))
def test_a_thousand_rounds_lose_and_double_nothing(seed: int, durable_server: Server, tmp_path: Path) -> None:
    """The same claim over the long count."""
    _round(ROUNDS + seed, durable_server, tmp_path / "fleet")
