"""The collector is away: agents are started, rebooted and stopped all the same."""

import time

import pytest
from support.books import balanced, current, events
from support.fleet import SERVERS, Fleet
from support.programs import eventually

pytestmark = [pytest.mark.faults, pytest.mark.postgres]


def test_a_rebooted_agent_measures_from_its_cache_and_stops_in_seconds(fleet: Fleet) -> None:
    """Without a collector it runs the assignment it once got and stops fast; all of it arrives later."""
    fleet.collectors[0].kill()
    agent = fleet.agents[0]
    agent.program.kill()
    for _ in range(2):
        before = current(agent).highest
        agent.program.start()
        eventually(lambda n=before: current(agent).highest > n + SERVERS, 20, agent.program.tail)
        started = time.monotonic()
        assert agent.program.stop(within_s=10) == 0, agent.program.tail()
        assert time.monotonic() - started < 8
    assert current(agent).acked < current(agent).highest
    said = [event["error"] for event in events(agent.program, "uplink_interrupted")]
    assert said
    assert all(error.startswith("UNAVAILABLE") for error in said)
    balanced(fleet)
