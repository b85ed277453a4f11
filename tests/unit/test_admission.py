"""Which due run starts, waits or is missed."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.admission import BACKGROUND, CAPACITY, DISPLACED, EXCLUSIVE, NORMAL, OVERLAP, Admission, Slot
from sonde_agent.on_demand import Asked

actions = st.lists(
    st.tuples(st.just("offer"), st.integers(0, 7)) | st.tuples(st.just("finish"), st.integers(0, 7)),
    max_size=200,
)


@given(st.integers(1, 4), actions)
def test_limits_hold_and_every_slot_is_accounted_for(limit: int, steps: list[tuple[str, int]]) -> None:
    """Never too many, never one task twice, an exclusive run alone; offered = started + missed + waiting."""
    classes: dict[str, Any] = {"7": EXCLUSIVE, "6": BACKGROUND}
    admission = Admission(limit)
    running: dict[str, Slot] = {}
    count: Counter[str] = Counter()
    for number, (what, n) in enumerate(steps):
        key = str(n)
        if what == "finish" and key in running:
            del running[key]
            admission.finish(key)
        elif what == "offer":
            count["offered"] += 1
            count["missed"] += len(admission.offer(Slot(key, number, classes.get(key, NORMAL))))
        for slot in admission.start():
            assert slot.key not in running
            running[slot.key] = slot
            count["started"] += 1
        assert len(running) <= limit
        assert "7" not in running or len(running) == 1
        assert admission.running == len(running)
        assert count["offered"] == count["started"] + count["missed"] + admission.waiting
    for key in list(running):
        admission.finish(key)
    while started := admission.start():
        for slot in started:
            admission.finish(slot.key)
    assert admission.waiting == 0


def test_each_reason_is_the_true_one() -> None:
    """Still running: overlap. No room in the interval: capacity. An exclusive run in the way: displaced."""
    admission = Admission(1)
    assert admission.offer(Slot("a", 1, NORMAL)) == []
    assert [slot.key for slot in admission.start()] == ["a"]
    assert [(m.slot.nominal_ns, m.reason) for m in admission.offer(Slot("a", 2, NORMAL))] == [(2, OVERLAP)]
    assert admission.offer(Slot("b", 3, NORMAL)) == []
    assert admission.start() == []
    assert [(m.slot.nominal_ns, m.reason) for m in admission.offer(Slot("b", 4, NORMAL))] == [(3, CAPACITY)]
    assert admission.offer(Slot("x", 5, EXCLUSIVE)) == []
    assert admission.offer(Slot("c", 6, NORMAL)) == []
    admission.finish("a")
    assert [slot.key for slot in admission.start()] == ["x"]
    assert admission.start() == []
    assert [(m.slot.nominal_ns, m.reason) for m in admission.offer(Slot("c", 7, NORMAL))] == [(6, DISPLACED)]
    admission.finish("x")
    assert [slot.key for slot in admission.start()] == ["b"]


def test_who_waited_through_an_exclusive_run_goes_before_the_next() -> None:
    """Exclusive runs in a row starve nobody: between two of them all that waited runs, and nothing newer."""
    admission = Admission(2)
    for number in (1, 2):
        admission.offer(Slot(f"x{number}", number, EXCLUSIVE))
    assert [slot.key for slot in admission.start()] == ["x1"]
    for key in ("a", "b", "c"):
        assert admission.offer(Slot(key, 3, NORMAL)) == []
    admission.finish("x1")
    assert [slot.key for slot in admission.start()] == ["a", "b"]
    admission.offer(Slot("newer", 4, NORMAL))
    admission.finish("a")
    assert [slot.key for slot in admission.start()] == ["c"]
    for key in ("b", "c"):
        assert admission.start() == []
        admission.finish(key)
    assert [slot.key for slot in admission.start()] == ["x2"]
    admission.finish("x2")
    assert [slot.key for slot in admission.start()] == ["newer"]


def test_background_waits_for_normal() -> None:
    """With one place free, a normal run that came later goes first."""
    admission = Admission(1)
    admission.offer(Slot("low", 1, BACKGROUND))
    admission.offer(Slot("high", 2, NORMAL))
    assert [slot.key for slot in admission.start()] == ["high"]


def test_a_withdrawn_task_starts_no_more() -> None:
    """What waits of a task that is no longer assigned is forgotten."""
    admission = Admission(1)
    admission.offer(Slot("a", 1, NORMAL))
    admission.withdraw(frozenset({"a"}))
    assert admission.start() == []


def test_tunnels_have_a_limit_of_their_own_and_let_others_pass() -> None:
    """With one tunnel allowed the second waits, and a ping that came later runs."""
    admission = Admission(8, tunnels=1)
    for key, tunnel in (("t1", True), ("t2", True), ("ping", False)):
        admission.offer(Slot(key, 1, NORMAL, tunnel=tunnel))
    assert [slot.key for slot in admission.start()] == ["t1", "ping"]
    admission.finish("t1")
    assert [slot.key for slot in admission.start()] == ["t2"]


def test_a_slot_that_waits_is_joined_by_the_next_of_its_group() -> None:
    """What both hold is missed once; what only the older holds is run with the newer, and keeps its class."""
    admission = Admission(1)
    admission.offer(Slot("busy", 1, NORMAL))
    admission.start()
    admission.offer(Slot("g", 2, EXCLUSIVE, members=("minute", "hour")))
    missed = admission.offer(Slot("g", 3, NORMAL, members=("minute",)))
    assert [(one.slot.tasks, one.slot.nominal_ns, one.reason) for one in missed] == [
        (("minute",), 2, CAPACITY)
    ]
    admission.finish("busy")
    (slot,) = admission.start()
    assert (slot.tasks, slot.task_class, slot.nominal_ns) == (("minute", "hour"), EXCLUSIVE, 3)


def test_a_group_loses_only_what_is_withdrawn() -> None:
    """The other tasks of the slot still run."""
    admission = Admission(1)
    admission.offer(Slot("g", 1, NORMAL, members=("a", "b")))
    admission.withdraw(frozenset({"a"}))
    assert [slot.tasks for slot in admission.start()] == [("b",)]


def asked(key: str, *, deadline_ns: int = 100, task_class: Any = NORMAL, tunnel: bool = False) -> Slot:
    """A slot that a person asked for."""
    return Slot(key, 0, task_class, tunnel=tunnel, asked=Asked(b"r", key, deadline_ns))


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from(["offer", "ask", "finish"]), st.integers(0, 7)), max_size=200),
)
def test_runs_on_demand_leave_the_schedule_its_room(limit: int, steps: list[tuple[str, int]]) -> None:
    """They start where no slot waits, in half of the room, never beside a run of their key; all end up."""
    classes: dict[str, Any] = {"7": EXCLUSIVE, "6": BACKGROUND}
    admission = Admission(limit)
    running: dict[str, Slot] = {}
    count: Counter[str] = Counter()
    for number, (what, n) in enumerate(steps):
        key = str(n)
        task_class = classes.get(key, NORMAL)
        if what == "finish" and key in running:
            del running[key]
            admission.finish(key)
        elif what == "offer":
            count["offered"] += 1
            missed = admission.offer(Slot(key, number, task_class))
            assert all(one.slot.asked is None for one in missed)
            count["missed"] += len(missed)
        elif what == "ask":
            count["offered"] += 1
            assert admission.offer(asked(key, task_class=task_class)) == []
        for slot in admission.start():
            assert slot.key not in running
            running[slot.key] = slot
            count["started"] += 1
        assert len(running) <= limit
        assert "7" not in running or len(running) == 1
        on_demand = [slot for slot in running.values() if slot.asked and slot.task_class != EXCLUSIVE]
        assert len(on_demand) <= max(limit // 2, 1)
        assert count["offered"] == count["started"] + count["missed"] + admission.waiting
    for key in list(running):
        admission.finish(key)
    while started := admission.start():
        for slot in started:
            admission.finish(slot.key)
    assert admission.waiting == 0


def test_the_schedule_goes_before_what_was_asked_for() -> None:
    """A slot that is due starts first; the regular slot of a task that runs on demand is overlap."""
    admission = Admission(2)
    admission.offer(asked("a"))
    admission.offer(Slot("b", 1, NORMAL))
    admission.offer(Slot("c", 2, NORMAL))
    assert [slot.key for slot in admission.start()] == ["b", "c"]
    admission.finish("b")
    assert [slot.key for slot in admission.start()] == ["a"]
    assert [one.reason for one in admission.offer(Slot("a", 3, NORMAL))] == [OVERLAP]


def test_what_was_asked_for_is_taken_back() -> None:
    """What did not start by its request's end is given back, and so is all that waits when asked."""
    admission = Admission(1)
    admission.offer(Slot("a", 1, NORMAL))
    admission.start()
    for slot in (
        asked("b", deadline_ns=5),
        asked("x", deadline_ns=9, task_class=EXCLUSIVE),
        Slot("c", 2, NORMAL),
    ):
        admission.offer(slot)
    assert [slot.key for slot in admission.expire(5)] == ["b"]
    assert [slot.key for slot in admission.take_back_asked(lambda one: one.task == "x")] == ["x"]
    assert [slot.key for slot in admission.clear()] == ["c"]
    assert admission.waiting == 0
