"""Three collectors behind haproxy, killed, stopped and frozen: nothing lost, nothing doubled, one leads.

A failing round prints its seed; SONDE_FAULT_SEED=N replays that one.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.books import events, without_traceback
from support.brute import rollups_equal_raw
from support.identity import Collector
from support.many import COLLECTORS, Many
from support.postgres import Server
from support.programs import eventually

pytestmark = [
    pytest.mark.faults,
    pytest.mark.postgres,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy (Debian: haproxy)"),
]

SOAK_ROUNDS = 1000
Fault = Callable[[Many, Collector, random.Random], None]
LEADERLESS_S = 35.0  # 15 s of silence, 5 s until one looks, 2 s until one asks for the lead; and a busy host
SESSIONS = 28  # of PostgreSQL that one collector has, as collector/README.md says; its API has four besides
CONNECTION_AGE = "10s"


def _signal(collector: Collector, number: signal.Signals) -> None:
    assert collector.program.process is not None
    collector.program.process.send_signal(number)


def _kill(many: Many, collector: Collector, _: random.Random) -> None:
    collector.program.kill()
    many.all_deliver()
    many.start(collector)


def _stop(many: Many, collector: Collector, _: random.Random) -> None:
    assert collector.program.stop() == 0, collector.program.tail()
    many.all_deliver()
    many.start(collector)


def _freeze(many: Many, collector: Collector, chance: random.Random) -> None:
    """It takes connections, answers nothing and holds what it held; then it goes on."""
    leads = many.leader() is collector
    _signal(collector, signal.SIGSTOP)
    try:
        many.all_deliver()
        if leads:
            eventually(lambda: many.leader() not in (None, collector), LEADERLESS_S, "the lead stays")
        else:
            time.sleep(chance.uniform(0, 10))  # any moment: what is claimed holds at each
    finally:
        _signal(collector, signal.SIGCONT)
    many.all_deliver()


def _freeze_leader(many: Many, _: Collector, chance: random.Random) -> None:
    _freeze(many, eventually(many.leader, LEADERLESS_S, "nobody leads"), chance)


def _reload(many: Many, _: Collector, __: random.Random) -> None:
    many.balancer.reload()
    many.all_deliver()


FAULTS: tuple[Fault, ...] = (
    _kill, _stop, _freeze_leader, _reload,
)  # fmt: skip


def _round(seed: int, server: Server, directory: Path, *more: Fault) -> None:
    chance = random.Random(seed)
    many = Many(directory, server)
    many.connection_age = CONNECTION_AGE
    try:
        with many:
            faults = chance.sample((*FAULTS, *more), len(FAULTS) + len(more))
            for fault in faults:
                fault(many, chance.choice(many.collectors), chance)
            eventually(lambda: len(many.spread()) == COLLECTORS, 60, lambda: str(many.spread()))
            many.drain()
            assert many.audit() > 500
            rollups_equal_raw(many.url)
            _told_once(many, kills=faults.count(_kill))
            assert not [names for _, names in many.leaders if len(names) > 1]
            assert 0 < many.most_sessions <= SESSIONS
            assert many.longest_without_leader_s() < LEADERLESS_S
            without_traceback([one.program for one in (*many.collectors, *many.agents)])
            assert any(events(one.program, "stalled_session_ended") for one in many.collectors)
    except BaseException as error:
        error.add_note(f"SONDE_FAULT_SEED={seed} replays this round; its files: {directory}")
        raise


def _told_once(many: Many, kills: int) -> None:
    """Every event was told; again only the one that a killed leader may have been about to write down."""
    wanted = [str(one) for one in many.events]
    eventually(lambda: set(wanted) <= many.notices().keys(), 30, "a notice is missing")
    again = {name: times for name, times in many.notices().items() if times > 1}
    assert len(again) <= kills + 1, again


def _seeds(count: int) -> list[int]:
    replay = os.environ.get("SONDE_FAULT_SEED")
    return [int(replay)] if replay else list(range(count))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", _seeds(1))
def test_agents_outlive_any_collector(seed: int, postgres_server: Server, tmp_path: Path) -> None:
    """Whatever happens to one collector, agents go on at the others, and every seq is accounted once."""
    _round(seed, postgres_server, tmp_path / "many")


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", _seeds(SOAK_ROUNDS))
def test_a_thousand_rounds(seed: int, postgres_server: Server, tmp_path: Path) -> None:
    """The same claim over the long count."""
    _round(1 + seed, postgres_server, tmp_path / "many", _freeze, _kill, _stop)
