"""What platforms may expect of this host."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.checks.unlock.courtesy import LEAST_WAIT_S, MOST_WAIT_S, Courtesy
from sonde_agent.checks.unlock.resting import hold, note
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb


def test_a_rest_doubles_to_a_day_and_ends_with_an_answer() -> None:
    """One hour, two, four … a day; what the platform asked for itself counts; another answer ends it."""
    now = 0.0
    courtesy = Courtesy(lambda: now)
    rests = []
    for _ in range(7):
        courtesy.note("a", "acme", rate_limited=True)
        rests.append(courtesy.rest_s("a", "acme"))
        now += rests[-1]
        assert courtesy.rest_s("a", "acme") == 0
    assert rests == [3600, 7200, 14_400, 28_800, 57_600, 86_400, 86_400]
    courtesy.note("a", "acme", rate_limited=True, retry_after_s=90)
    assert courtesy.rest_s("a", "acme") == 90
    assert courtesy.rest_s("b", "acme") == courtesy.rest_s("a", "other") == 0
    courtesy.note("a", "acme", rate_limited=False)
    assert courtesy.rest_s("a", "acme") == 0
    courtesy.note("a", "acme", rate_limited=True)
    assert courtesy.rest_s("a", "acme") == LEAST_WAIT_S


@given(st.floats(allow_nan=False))
def test_no_answer_makes_a_rule_rest_for_more_than_a_day(retry_after_s: float) -> None:
    """Whatever a platform asks for."""
    courtesy = Courtesy(lambda: 0.0)
    courtesy.note("", "acme", rate_limited=True, retry_after_s=retry_after_s)
    assert 0 < courtesy.rest_s("", "acme") <= MOST_WAIT_S


def test_a_turn_that_does_not_come_in_time_is_told() -> None:
    """Who waits behind a slow request gives up at its bound; others at other hosts go on."""
    courtesy, held, go = Courtesy(), threading.Event(), threading.Event()

    def holder() -> None:
        with courtesy.turn("a.example", 1):
            held.set()
            go.wait(5)

    thread = threading.Thread(target=holder)
    thread.start()
    held.wait(5)
    began = time.monotonic()
    with pytest.raises(TimeoutError), courtesy.turn("a.example", 0.05):
        pass
    assert time.monotonic() - began < 1
    with courtesy.turn("b.example", 0):
        pass
    go.set()
    thread.join()
    with courtesy.turn("a.example", 0):
        pass


def test_rules_that_rest_are_taken_out_of_a_tunnels_tasks() -> None:
    """The rows of an exit begin its rests; the next run there asks the others alone, and says so."""
    courtesy = Courtesy(lambda: 0.0)
    limited = pb.Unlock(
        platform="acme", verdict=pb.VERDICT_RATE_LIMITED, evidence='{"retry_after_s": 600}', family=4
    )
    note([limited, pb.Unlock(platform="hulu", verdict=pb.VERDICT_AVAILABLE, family=4)], "se1", courtesy)
    both = control_pb2.Task(key="u", timeout_ms=1)
    both.unlock.rules.add(slug="acme")
    both.unlock.rules.add(slug="hulu")
    alone = control_pb2.Task(key="v", timeout_ms=1)
    alone.unlock.rules.add(slug="acme")
    ping = control_pb2.Task(key="p", ping=control_pb2.PingSpec(), timeout_ms=1)
    left, rows = hold([ping, both, alone], "se1", courtesy, 1_800_000_000_000_000)
    assert [task.key for task in left] == ["p", "u"]
    assert [rule.slug for rule in left[1].unlock.rules] == ["hulu"]
    assert {row.platform for row in rows} == {"acme"}
    assert rows[0].detail.startswith("backing off until 2027-01-15 08:10 UTC")
    assert hold([both], "se2", courtesy, 0) == ([both], [])


@pytest.mark.parametrize("evidence", ["", "[]", "null", "{", '{"retry_after_s": "soon"}'])
def test_evidence_that_tells_no_time_is_the_least_rest(evidence: str) -> None:
    """A row comes from another process: whatever it holds, the rest is bounded."""
    courtesy = Courtesy(lambda: 0.0)
    row = pb.Unlock(platform="acme", verdict=pb.VERDICT_RATE_LIMITED, evidence=evidence, family=4)
    note([row], "se1", courtesy)
    assert courtesy.rest_s("se1", "acme") == LEAST_WAIT_S
