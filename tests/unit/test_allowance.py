"""How often and how much the collector may make an agent send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.allowance import Allowance, Cost, Demand, cost_of, read_by
from sonde_agent.limits import USUAL, Limits
from sonde_proto.units import Size
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

LOW = Limits(tasks=5, runs_per_minute=60, echoes_per_s=20, bodies_hour=Size(3_600_000))


def ping(count: int = 10, every_ms: int = 60_000) -> control_pb2.Task:
    """An assigned ping."""
    spec = control_pb2.PingSpec(host="192.0.2.1", count=count, spacing_ms=10)
    return control_pb2.Task(key="k", interval_ms=every_ms, ping=spec)


def page(**more: object) -> control_pb2.Task:
    """An assigned URL."""
    spec = control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_HTTP, url="http://example.com/", **more)
    return control_pb2.Task(key="k", interval_ms=60_000, endpoint=spec)


def test_what_runs_cost() -> None:
    """Echoes, addresses, redirects, rules and what is inside a tunnel are all counted."""
    assert cost_of(ping(7)) == Cost(1, 7, 0)
    assert cost_of(page()) == Cost(1, 0, 1_048_576)
    assert cost_of(page(max_body_bytes=10, max_redirects=2, connect_to=["192.0.2.1", "192.0.2.2"])) == Cost(
        2, 0, 60
    )
    rules = [control_pb2.UnlockRule(slug=slug) for slug in "abc"]
    unlock = control_pb2.Task(unlock=control_pb2.UnlockSpec(rules=rules, families=[4, 6]))
    assert cost_of(unlock) == Cost(6)
    tunnel = control_pb2.Task()
    tunnel.connection.inside.extend([ping(5), page(max_body_bytes=10)])
    assert cost_of(tunnel) == Cost(3, 10, 10)  # as many echoes beside the tunnel as in it
    assert cost_of(control_pb2.Task(connection=control_pb2.ConnectionSpec(handshake_only=True))).echoes == 10
    assert read_by([pb.Result(endpoint=pb.Endpoint(body_bytes=3)), pb.Result()]) == 3


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (ping(every_ms=1), "limits.runs_per_minute"),
        (ping(count=150, every_ms=1000), "limits.echoes_per_s"),
        (ping(count=201, every_ms=3_600_000), "limits.echoes_per_s: one run of it sends 201"),
        (page(max_body_bytes=3_600_001), "limits.bodies_hour"),
    ],
)
def test_a_task_that_alone_is_beyond_is_refused(task: control_pb2.Task, words: str) -> None:
    """Its refusal names the limit; what comes after it is judged as if it had not been there."""
    demand = Demand(LOW)
    assert words in (demand.refuse(task) or "")
    assert demand.refuse(ping()) is None


def test_tasks_are_refused_from_where_they_are_too_many() -> None:
    """So many as fit are taken, in their order."""
    demand = Demand(LOW)
    assert [demand.refuse(ping()) is None for _ in range(7)] == [True] * 5 + [False] * 2


def test_no_honest_plan_meets_the_defaults() -> None:
    """Ten thousand tasks, a ping of ten echoes each minute and a page for each sixth, are taken."""
    demand = Demand(USUAL)
    assert all(demand.refuse(page() if number % 6 == 0 else ping()) is None for number in range(10_000))


STEPS = st.lists(
    st.tuples(st.floats(0, 30), st.integers(0, 40), st.integers(0, 150), st.integers(0, 2_000_000)),
    max_size=40,
)


@given(STEPS)
def test_no_window_ever_holds_more_than_bucket_and_filling(steps: list[tuple[float, int, int, int]]) -> None:
    """In any time t runs are at most a minute's plus t's, whatever is asked and when; so echoes, bytes."""
    allowance, now = Allowance(LOW, 0.0), 0.0
    taken: list[tuple[float, Cost]] = []
    for wait, runs, echoes, bodies in steps:
        now += wait
        cost = Cost(runs, echoes, bodies)
        if allowance.take(cost, now):
            taken.append((now, cost))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            t = taken[last][0] - taken[first][0]
            within = sum((cost for _, cost in taken[first : last + 1]), Cost())
            assert within.runs <= 60 + t + 1e-6
            assert within.echoes <= 200 + 20 * t + 1e-6
            assert within.bodies <= 3_600_000 + 1000 * t + 1e-3


def test_what_was_not_used_can_be_used() -> None:
    """Bytes that were not read, and a run that was not begun, are there again at once."""
    allowance = Allowance(LOW, 0.0)
    assert allowance.take(Cost(60, 200, 3_600_000), 0.0)
    assert not allowance.take(Cost(1), 0.0)
    assert not allowance.take(Cost(bodies=1), 0.0)
    allowance.give_back(Cost(1, 0, 3_000_000))
    assert allowance.take(Cost(1, 0, 3_000_000), 0.0)
    assert not allowance.take(Cost(0, 1), 0.0)
    assert allowance.take(Cost(0, 20), 1.0)
