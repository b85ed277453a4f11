"""When an agent comes again: full jitter within a cap, and a fleet that comes bit by bit."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import Future, RetryCallState

from sonde_agent.uplink.backoff import Backoff, Interrupted
from sonde_agent.uplink.send_errors import Action


def pause(backoff: Backoff, attempt: int, error: Interrupted) -> float:
    """The pause after a number of tries."""
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
    state.attempt_number = attempt
    future = Future(attempt)
    future.set_exception(error)
    state.outcome = future
    return backoff(state)


@given(st.integers(1, 10_000))
def test_backoff_stays_within_its_cap(attempt: int) -> None:
    """However many tries, the pause is between nothing and the cap."""
    assert (
        0 <= pause(Backoff(), attempt, Interrupted(Action.RETRY, "x")) <= min(60, 0.5 * 2 ** min(attempt, 20))
    )


def test_backoff_has_full_jitter() -> None:
    """Pauses fill the whole range, so that a fleet does not return at one moment."""
    pauses = [pause(Backoff(), 20, Interrupted(Action.RETRY, "x")) for _ in range(500)]
    assert min(pauses) < 5
    assert max(pauses) > 55


def test_backoff_begins_again_after_progress() -> None:
    """A connection that brought something ends with the shortest pause."""
    assert all(
        pause(Backoff(), 20, Interrupted(Action.RETRY, "x", progressed=True)) <= 0.5 for _ in range(100)
    )


def arrivals(agents: int, stood_s: float, down_s: float) -> list[float]:
    """When each agent of a fleet comes again to a collector that all lost at 0 and that is back at `down_s`.

    An agent connects with whichever of its two calls is due first, so each has two schedules.
    """
    found = []
    for agent in range(agents):
        first = math.inf
        for call in range(2):
            backoff, attempt, at = Backoff(dice=random.Random(f"{agent} {call}")), 1, 0.0
            error = Interrupted(Action.RETRY, "x", progressed=True)
            error.stood_s = stood_s
            while True:
                at += pause(backoff, attempt, error)
                if at >= down_s:
                    break
                attempt, error = attempt + 1, Interrupted(Action.RETRY, "not there")
            first = min(first, at)
        found.append(first)
    return found


@pytest.mark.parametrize("down_s", [0.0, 3.0, 60.0])
def test_a_fleet_at_work_comes_again_bit_by_bit(down_s: float) -> None:
    """Of 10 000 agents that lose a collector at one moment no second sees a tenth, whenever it is back."""
    found = arrivals(10_000, stood_s=3600.0, down_s=down_s)
    assert max(Counter(int(at) for at in found).values()) < 1000
    assert max(found) <= down_s + 60


def test_a_fresh_connection_is_back_at_once() -> None:
    """Agents whose connection stood for seconds wait for nobody: they are back in half a second."""
    assert max(arrivals(200, stood_s=20.0, down_s=0.0)) <= 0.5


def test_a_second_restart_is_spread_like_the_first() -> None:
    """A connection that came again and is lost at once comes again in half the window, not in none."""
    fleet = [Backoff(dice=random.Random(agent)) for agent in range(200)]
    for stood_s, longest_s in ((3600.0, 30.0), (5.0, 15.0), (5.0, 7.5)):
        error = Interrupted(Action.RETRY, "x", progressed=True)
        error.stood_s = stood_s
        pauses = [pause(each, 1, error) for each in fleet]
        assert longest_s * 0.9 < max(pauses) <= longest_s


def test_only_a_lost_connection_is_spread() -> None:
    """What ends a call and not the connection has the short pause, however long the call stood."""
    error = Interrupted(Action.RESYNC, "x", progressed=True)
    error.stood_s = 3600.0
    assert all(pause(Backoff(), 1, error) <= 0.5 for _ in range(100))


def test_waiting_is_patient() -> None:
    """Fenced, unknown or refused agents ask again at 15 to 30 s, whatever came before."""
    for action in (Action.WAIT, Action.STOP, Action.RE_ENROL):
        assert 15 <= pause(Backoff(), 1, Interrupted(action, "x")) <= 30
