"""Which due run starts, waits or is missed."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.admission import BACKGROUND, CAPACITY, DISPLACED, EXCLUSIVE, NORMAL, OVERLAP, Admission, Slot

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
    assert [(m.slot.key, m.reason) for m in admission.offer(Slot("c", 6, NORMAL))] == [("c", DISPLACED)]
    admission.finish("a")
    assert [slot.key for slot in admission.start()] == ["x"]
    assert admission.start() == []
    admission.finish("x")
    assert [slot.key for slot in admission.start()] == ["b"]


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
