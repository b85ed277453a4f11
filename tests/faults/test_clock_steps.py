"""The wall clock is set under running programs, as an operator or a bad time server does it."""

import itertools
import time
from pathlib import Path

import pytest
from support.audit import read_spool
from support.books import balanced, current, events, rows
from support.fake_clock import FakeClock, needs_faketime
from support.fleet import SERVERS, TARGETS, Agent, Fleet
from support.programs import Program, eventually

from sonde_proto.v1 import results_pb2

pytestmark = [pytest.mark.faults, pytest.mark.postgres, needs_faketime]

HOUR_S = 3600
STEPS = (HOUR_S, -HOUR_S, -HOUR_S, HOUR_S)
"""Ahead, true again, behind, true again."""
PER_SECOND = SERVERS + TARGETS


def _wear(program: Program, clock: FakeClock) -> None:
    program.stop()
    program.env |= clock.env
    program.start()


def _measures_on(agent: Agent, seconds: int) -> float:
    """Waits for the results of so many seconds; returns how long they took."""
    before, started = current(agent).highest, time.monotonic()
    eventually(lambda: current(agent).highest >= before + seconds * PER_SECOND, 30, agent.program.tail)
    return time.monotonic() - started


def test_a_stepped_agent_keeps_its_pace_and_says_so_once(fleet: Fleet, tmp_path: Path) -> None:
    """Over steps of an hour both ways nothing bursts, stops or is doubled; each step is one row."""
    agent, clock = fleet.agents[0], FakeClock(tmp_path / "clock")
    _wear(agent.program, clock)
    _measures_on(agent, 2)
    for count, step in enumerate(STEPS, 1):
        clock.step(step)
        eventually(lambda n=count: len(events(agent.program, "clock_stepped")) == n, 20, agent.program.tail)
        assert _measures_on(agent, 3) > 1.5, "three seconds' results came in a burst"
    balanced(fleet)
    assert len(events(agent.program, "clock_stepped")) == len(STEPS)

    results = [
        results_pb2.Result.FromString(body)
        for stream in read_spool(agent.spool)
        for _, body in sorted(stream.bodies.items())
    ]
    missed = [result for result in results if result.HasField("missed")]
    steps = [result for result in missed if result.missed.reason == results_pb2.MISS_REASON_CLOCK_STEP]
    spans = [(result.missed.until_us - result.measured_at_us) / 1e6 for result in steps]
    assert spans == pytest.approx([HOUR_S] * len(STEPS), abs=5)
    assert sum(result.missed.slots for result in missed) < PER_SECOND * len(STEPS), "a step is no missed slot"

    said = rows(fleet, "SELECT detail FROM sonde.rejected_results WHERE reason = 'from_the_future'")
    assert len(said) >= 3 * SERVERS, "an hour ahead is refused"
    assert all("check the vantage's clock" in detail for (detail,) in said)
    (behind,) = rows(
        fleet,
        "SELECT (SELECT count(*) FROM performance_logs WHERE measured_at < now() - interval '50 min')"
        "     + (SELECT count(*) FROM sonde.performance_held WHERE measured_at < now() - interval '50 min')",
    )[0]
    assert behind >= 3 * SERVERS - PER_SECOND, "an hour behind is a result like any other"


def test_a_stepped_collector_loses_and_doubles_nothing(fleet: Fleet, tmp_path: Path) -> None:
    """The collector's clock goes an hour ahead and behind: agents go on, each seq is accounted for once."""
    clock = FakeClock(tmp_path / "clock")
    _wear(fleet.collectors[0], clock)
    for step in (HOUR_S, -2 * HOUR_S, HOUR_S):
        clock.step(step)
        for agent in fleet.agents:
            _measures_on(agent, 2)
        fleet.drain(30)
    balanced(fleet)
    behind = rows(fleet, "SELECT count(*) FROM sonde.rejected_results WHERE reason = 'from_the_future'")
    assert behind[0][0] > 0, "for a clock that is behind, true results are of the future"
    pairs = itertools.pairwise(
        rows(fleet, "SELECT stream_id, first_seq, last_seq FROM sonde.batches ORDER BY 1, 2")
    )
    assert all(a[0] != b[0] or a[2] + 1 == b[1] for a, b in pairs), "a batch was taken twice"
