"""What an agent takes on when it is asked to run something now."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.on_demand import LEAST_NS, LONGEST_NS, MOST_OPEN, MOST_REQUESTS, Asked, Assigned, OnDemand
from sonde_proto.v1 import control_pb2, results_pb2

SECOND_NS = 1_000_000_000
ASSIGNED = Assigned(5, frozenset("abc"), {"no": "policy"})


def request(
    tasks: Any, number: int = 1, *, revision: int = 5, left_ms: int = 60_000
) -> control_pb2.RunRequest:
    """A request that names some tasks."""
    return control_pb2.RunRequest(id=bytes([number]) * 16, revision=revision, left_ms=left_ms, tasks=tasks)


def outcomes(book: OnDemand) -> dict[str, str]:
    """The answers, by task."""
    return {
        one.task: control_pb2.RunOutcome.Name(one.outcome).removeprefix("RUN_OUTCOME_").lower()
        for one in book.answers()
    }


def test_a_task_is_taken_on_once_and_answered_until_it_is_named_no_more() -> None:
    """Said again it runs no second time; its answer is repeated while it is named, and then no more."""
    book = OnDemand()
    taken = book.take([request("ab")], ASSIGNED, 0)
    assert [one.task for one in taken] == ["a", "b"]
    assert book.take([request("ab")], ASSIGNED, SECOND_NS) == []
    book.ran(taken[0], "", b"e" * 16, 7)
    book.ran(taken[1], "timeout", b"e" * 16, 8)
    assert book.take([request("ab")], ASSIGNED, 2 * SECOND_NS) == []
    assert outcomes(book) == {"a": "done", "b": "failed"}
    assert {(one.task, one.seq, one.detail) for one in book.answers()} == {("a", 7, ""), ("b", 8, "timeout")}
    assert book.take([request("b")], ASSIGNED, 3 * SECOND_NS) == []
    assert outcomes(book) == {"b": "failed"}
    assert book.take([], ASSIGNED, 4 * SECOND_NS) == []
    assert book.answers() == []


def test_only_what_is_assigned_and_allowed_runs() -> None:
    """What policy refuses, what is not assigned, and what another revision meant is answered, never run."""
    book = OnDemand()
    assert [one.task for one in book.take([request(["a", "no", "else"])], ASSIGNED, 0)] == ["a"]
    assert outcomes(book) == {"no": "refused", "else": "gone"}
    assert book.take([request("b", 2, revision=4)], ASSIGNED, 0) == []
    assert outcomes(book) == {"b": "gone"}


def test_a_revision_that_is_on_its_way_is_waited_for() -> None:
    """Tasks of a later assignment than the agent has are taken on once it has that."""
    book = OnDemand()
    assert book.take([request("a", revision=6)], ASSIGNED, 0) == []
    assert book.answers() == []
    later = Assigned(6, frozenset("a"), {})
    assert [one.task for one in book.take([request("a", revision=6)], later, SECOND_NS)] == ["a"]


def test_what_changes_before_it_runs_is_not_run() -> None:
    """A task that is assigned anew is answered gone, unless it runs already."""
    book = OnDemand()
    taken = book.take([request("ab")], ASSIGNED, 0)
    book.gone({"a", "b"}, [taken[0]])
    assert outcomes(book) == {"b": "gone"}
    assert book.is_open(taken[0])


def test_a_paused_agent_says_so() -> None:
    """Nothing is taken on; the answer holds the pause's reason."""
    book = OnDemand()
    assert book.take([request("a")], Assigned(5, frozenset("a"), {}, "new uplink"), 0) == []
    (answer,) = book.answers()
    assert (answer.reason, answer.detail) == (results_pb2.MISS_REASON_PAUSED, "new uplink")


def test_a_request_ends_by_this_hosts_own_clock() -> None:
    """After its time nothing of it is taken on, and it can't ask for longer than an hour."""
    book = OnDemand()
    assert book.take([request("a", left_ms=0)], ASSIGNED, 0) == []
    book.take([request("a", 2, left_ms=1000)], ASSIGNED, 0)
    assert book.take([request("ab", 2, left_ms=1000)], ASSIGNED, 2 * SECOND_NS) == []
    (taken,) = book.take([request("c", 3, left_ms=2**32 - 1)], ASSIGNED, 0)
    assert taken.deadline_ns == LONGEST_NS


words = st.lists(
    st.tuples(
        st.integers(0, 40),  # seconds since the last word
        st.lists(
            st.tuples(
                st.integers(0, 30), st.sets(st.integers(0, 5)), st.integers(4, 6), st.integers(0, 90_000)
            ),
            max_size=20,
        ),
        st.booleans(),  # whether what runs ends now
    ),
    max_size=30,
)


@given(words)
def test_no_collector_makes_it_a_flood(turns: list[Any]) -> None:
    """Whatever is asked: a task no more often than the rule allows, so much at once, each answered once."""
    book = OnDemand()
    now, started, running = 0, dict[str, int](), list[Asked]()
    seen = set[tuple[bytes, str]]()
    for seconds, requests, ends in turns:
        now += seconds * SECOND_NS
        word = [
            request([str(task) for task in tasks], number, revision=revision, left_ms=left)
            for number, tasks, revision, left in requests
        ]
        for asked in book.take(word, Assigned(5, {str(n) for n in range(5)}, {}), now):
            assert (asked.request, asked.task) not in seen or asked.deadline_ns > now
            assert now - started.get(asked.task, -LEAST_NS) >= LEAST_NS
            assert asked.task != "5"
            started[asked.task] = now
            seen.add((asked.request, asked.task))
            running.append(asked)
        assert book.open() == len(running) <= MOST_OPEN
        assert (
            len({answer.id for answer in book.answers()} | {one.request for one in running}) <= MOST_REQUESTS
        )
        if ends:
            for asked in running:
                book.ran(asked, "", b"e" * 16, 1)
            running = []
        named = {(one.id, task) for one in word for task in one.tasks}
        assert {(answer.id, answer.task) for answer in book.answers()} <= named


def test_a_long_list_is_bounded() -> None:
    """A request for more tasks than may wait is taken on in part; endless names are not even kept."""
    many = [str(number) for number in range(MOST_OPEN + 50)]
    book = OnDemand()
    taken = book.take([request(many), request(["x" * 100_000], 2)], Assigned(5, frozenset(many), {}), 0)
    assert len(taken) == book.open() == MOST_OPEN
    assert book.answers() == []
