"""When tasks are due."""

import itertools
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.schedule import (
    FIRST_WITHIN_NS,
    GRACE_NS,
    JITTER_MOST_NS,
    SECOND_NS,
    Schedule,
    phase_ns,
)

seconds = st.integers(1, 7200).map(lambda s: s * SECOND_NS)


@given(st.text(max_size=10), st.text(max_size=20), seconds)
def test_the_phase_lies_in_the_interval_and_is_always_the_same(vantage: str, key: str, interval: int) -> None:
    """A restart keeps the phase, and it is never a whole interval."""
    assert 0 <= phase_ns(vantage, key, interval) < interval
    assert phase_ns(vantage, key, interval) == phase_ns(vantage, key, interval)


def test_phases_spread_a_fleet_over_the_interval() -> None:
    """A thousand agents with one task start it in every tenth of the interval about equally often."""
    tenths = Counter(phase_ns(f"v{i}", "plan/server", 10 * SECOND_NS) // SECOND_NS for i in range(1000))
    assert len(tenths) == 10
    assert max(tenths.values()) < 2 * min(tenths.values())


@given(seconds, st.integers(0, 2**32), st.text(max_size=9))
def test_the_first_run_comes_soon(interval: int, seed: int, vantage: str) -> None:
    """A new task first runs within its interval, and within two minutes, plus the jitter."""
    schedule = Schedule(vantage, random.Random(seed))
    schedule.assign({"a": interval}, 0)
    due = schedule.next_due()
    assert due is not None
    assert 0 <= due <= min(interval, FIRST_WITHIN_NS) + min(interval // 10, JITTER_MOST_NS)


@given(
    st.dictionaries(st.text(min_size=1, max_size=4), seconds, min_size=1, max_size=8),
    st.lists(st.integers(0, 100_000 * SECOND_NS) | st.integers(0, SECOND_NS), max_size=60),
    st.integers(0, 2**32),
)
def test_every_slot_is_run_once_or_counted_as_missed(
    tasks: dict[str, int], sleeps: list[int], seed: int
) -> None:
    """However long the sleeps: no slot twice, none forgotten, run + missed = slots that passed."""
    schedule = Schedule("v", random.Random(seed))
    schedule.assign(tasks, 0)
    now = 0
    seen: dict[str, list[int]] = {key: [] for key in tasks}
    counted: Counter[str] = Counter()
    for sleep in sleeps:
        now += sleep
        for due in schedule.take(now):
            counted[due.key] += due.missed + (due.slot_ns is not None)
            if due.missed:
                assert due.first_missed_ns <= due.last_missed_ns <= now
                assert (due.last_missed_ns - due.first_missed_ns) <= tasks[due.key] * 1.5 * (due.missed - 1)
            if due.slot_ns is not None:
                assert due.slot_ns <= now
                seen[due.key].append(due.slot_ns)
    for key, interval in tasks.items():
        slots = seen[key]
        assert slots == sorted(set(slots))
        assert all(later - earlier >= interval / 2 for earlier, later in itertools.pairwise(slots))
        passed = _slots_before(key, interval, now)
        # The newest slot may still wait for its jitter.
        assert passed - 1 <= counted[key] <= passed


def _slots_before(key: str, interval: int, now: int) -> int:
    """By brute force from the definition: the first slot, then the grid."""
    phase = phase_ns("v", key, interval)
    first = phase % min(interval, FIRST_WITHIN_NS)
    grid = phase if phase - first >= interval / 2 else phase + interval
    return (now >= first) + max(0, (now - grid) // interval + 1)


@given(st.integers(1, 100), st.integers(10, 10**6), st.integers(0, 2**32))
def test_a_sleep_of_any_length_ends_without_a_storm(interval_s: int, sleep_s: int, seed: int) -> None:
    """After a sleep only what fell due within the grace runs: no more than at any other time."""
    schedule = Schedule("v", random.Random(seed))
    tasks = {f"t{i}": interval_s * SECOND_NS for i in range(300)}
    schedule.assign(tasks, 0)
    now = sleep_s * SECOND_NS
    runs = [due for due in schedule.take(now) if due.slot_ns is not None]
    assert all(now - GRACE_NS - JITTER_MOST_NS <= (due.slot_ns or 0) <= now for due in runs)
    share = min(1.0, (GRACE_NS / SECOND_NS + interval_s / 10) / interval_s)
    assert len(runs) <= 300 * share * 1.5 + 10


def test_unchanged_tasks_keep_their_slots() -> None:
    """A new assignment moves nothing that it does not change; what is gone never comes due again."""
    schedule = Schedule("v", random.Random(1))
    schedule.assign({"kept": 60 * SECOND_NS, "gone": 60 * SECOND_NS, "slower": 60 * SECOND_NS}, 0)
    twin = Schedule("v", random.Random(1))
    twin.assign({"kept": 60 * SECOND_NS}, 0)
    schedule.assign({"kept": 60 * SECOND_NS, "slower": 90 * SECOND_NS, "new": 60 * SECOND_NS}, 30 * SECOND_NS)
    due = [one for second in range(300) for one in schedule.take(second * SECOND_NS)]
    assert {one.key for one in due} == {"kept", "slower", "new"}
    kept = [one.slot_ns for one in due if one.key == "kept"]
    assert kept == [one.slot_ns for second in range(300) for one in twin.take(second * SECOND_NS)]
    assert len(schedule) == 3


def test_jitter_is_fresh_each_time_and_bounded() -> None:
    """The delays of one task differ from slot to slot, up to a tenth of the interval."""
    schedule = Schedule("v", random.Random(1))
    schedule.assign({"a": 60 * SECOND_NS}, 0)
    delays: list[int] = []
    while len(delays) < 50:
        due = schedule.next_due()
        assert due is not None
        ((slot),) = schedule.take(due)
        assert slot.slot_ns is not None
        delays.append(due - slot.slot_ns)
    assert len(set(delays)) == 50
    assert 0 <= min(delays) < SECOND_NS
    assert 5 * SECOND_NS < max(delays) <= 6 * SECOND_NS


@given(st.integers(0, 10**15), st.integers(0, 2**32), st.integers(1, 12), st.integers(5, 900))
def test_tasks_of_a_group_come_due_together(now: int, seed: int, times: int, base_s: int) -> None:
    """Where one interval is a multiple of the other, its slots after the first come with the other's."""
    schedule = Schedule("v", random.Random(seed))
    base, longer = base_s * SECOND_NS, base_s * times * SECOND_NS
    groups = {"a": "g", "b": "g"}
    schedule.assign({"a": base}, now, groups)
    now += 3 * base  # the other plan comes later
    schedule.take(now)
    schedule.assign({"a": base, "b": longer}, now, groups)
    taken: Counter[str] = Counter()
    while taken["b"] < 3:
        next_due = schedule.next_due()
        assert next_due is not None
        keys = [due.key for due in schedule.take(next_due) if due.slot_ns is not None]
        if taken["b"]:  # the first slot of a new task comes early, and may be off the grid
            assert "b" not in keys or "a" in keys
        taken.update(keys)


@given(
    st.lists(st.integers(0, 5000 * SECOND_NS) | st.integers(0, SECOND_NS), max_size=60),
    st.integers(0, 2**32),
)
def test_no_slot_of_a_group_is_lost_or_given_twice(sleeps: list[int], seed: int) -> None:
    """Joining takes a slot early, never twice, and forgets none."""
    schedule = Schedule("v", random.Random(seed))
    intervals = {"a": 30 * SECOND_NS, "b": 90 * SECOND_NS, "c": 70 * SECOND_NS}
    schedule.assign(intervals, 0, dict.fromkeys(intervals, "g"))
    now = 0
    last = dict.fromkeys(intervals, -1)
    counted: Counter[str] = Counter()
    for sleep in sleeps:
        now += sleep
        for due in schedule.take(now):
            counted[due.key] += due.missed + (due.slot_ns is not None)
            if due.slot_ns is not None:
                assert due.slot_ns > last[due.key]
                last[due.key] = due.slot_ns
    for key, interval in intervals.items():
        # Jitter holds one slot back, the early first and joining give one more.
        assert now // interval - 2 <= counted[key] <= now // interval + 3
