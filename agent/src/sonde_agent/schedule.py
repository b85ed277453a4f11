"""When each task is due: pure arithmetic over BOOTTIME nanoseconds.

Slot n of a task is nominally at `anchor + phase + n x interval`, where `anchor` is the moment the task was
first assigned and `phase` a hash of vantage and task in [0, interval): the tasks of an agent spread over
the interval, and the agents of a fleet over each task's. Each slot is due a fresh uniform jitter after its
nominal time, up to 10 % of the interval and never more than 10 s, so that nothing that happens on the
minute is met each minute, or never. The jitter is not carried on: there is no drift, and the runs of a task
keep their order.

An interval longer than two minutes would keep a new task dark for long. Its first slot therefore comes
within two minutes, and those after it stand on the grid.

Tasks of one group are to run together. They share the phase, on a grid that does not depend on when a task
was assigned, so that where one interval is a multiple of another their slots fall together; and when one of
them is due, so are those of the others whose nominal time is within JOIN of it.

A slot that is noticed more than GRACE late (suspended, stopped, starved) is missed, and said to be; never
caught up. So what runs after a sleep of any length is what fell due in the last GRACE, no more.
"""

import hashlib
import heapq
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

SECOND_NS = 1_000_000_000
FIRST_WITHIN_NS = 120 * SECOND_NS
GRACE_NS = 2 * SECOND_NS
"""A slot that starts later than this is missed: then its run would not be the one that was planned."""
JOIN_NS = 2 * SECOND_NS
"""Slots of one group this near to each other are taken together."""
JITTER_SHARE = 10
JITTER_MOST_NS = 10 * SECOND_NS


_NO_GROUPS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Due:
    """What has come due for one task.

    Attributes:
        key: the task's key.
        slot_ns: nominal time of the slot to run now; None = all that fell due are missed.
        missed: how many slots before it were missed.
        first_missed_ns, last_missed_ns: their nominal times; 0 where none was missed.
    """

    key: str
    slot_ns: int | None
    missed: int
    first_missed_ns: int
    last_missed_ns: int


def phase_ns(vantage: str, key: str, interval_ns: int) -> int:
    """Give a task's offset in [0, interval): the same at every start, another at each vantage. Pure."""
    digest = hashlib.sha256(f"{vantage}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "little") * interval_ns >> 64


@dataclass(slots=True)
class _Plan:
    group: str
    interval_ns: int
    first_ns: int
    grid_ns: int
    """Nominal time of slot 1."""
    slot: int = 0
    due_ns: int = 0

    def nominal(self, slot: int) -> int:
        return self.first_ns if slot == 0 else self.grid_ns + (slot - 1) * self.interval_ns

    def newest(self, now: int) -> int:
        """The newest slot whose nominal time is not after `now`; -1 = none yet."""
        if now < self.grid_ns:
            return 0 if now >= self.first_ns else -1
        return (now - self.grid_ns) // self.interval_ns + 1


class Schedule:
    """The next slot of every task. No clock, no I/O: the caller says what time it is.

    Args:
        vantage: code of the vantage, for the phases.
        rng: draws the jitter.
    """

    def __init__(self, vantage: str, rng: random.Random) -> None:
        self._vantage = vantage
        self._rng = rng
        self._plans: dict[str, _Plan] = {}
        self._groups: dict[str, list[str]] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._plans)

    def assign(self, intervals: Mapping[str, int], now: int, groups: Mapping[str, str] = _NO_GROUPS) -> None:
        """Take a new set of tasks; one whose interval and group are unchanged keeps its slots.

        Args:
            intervals: task key -> interval [ns].
            now: BOOTTIME [ns].
            groups: task key -> group; a task that is not in it stands alone.
        """
        kept = {
            key: plan
            for key, plan in self._plans.items()
            if intervals.get(key) == plan.interval_ns and groups.get(key, "") == plan.group
        }
        for key, interval in intervals.items():
            if key not in kept:
                group = groups.get(key, "")
                kept[key] = (
                    self._plan_together(group, interval, now) if group else self._plan(key, interval, now)
                )
        self._plans = kept
        self._groups = defaultdict(list)
        for key, plan in kept.items():
            if plan.group:
                self._groups[plan.group].append(key)
        self._heap = [(plan.due_ns, key) for key, plan in kept.items()]
        heapq.heapify(self._heap)

    def next_due(self) -> int | None:
        """BOOTTIME of the next slot [ns]; None = there is no task."""
        while self._heap and self._heap[0][0] != self._plans[self._heap[0][1]].due_ns:
            heapq.heappop(self._heap)  # it was taken before its time, together with its group
        return self._heap[0][0] if self._heap else None

    def take(self, now: int) -> list[Due]:
        """Give what has come due by `now`, and plan the slots after it. No slot is ever given twice."""
        due = []
        while (next_due := self.next_due()) is not None and next_due <= now:
            _, first = heapq.heappop(self._heap)
            for key in self._together(first):
                plan = self._plans[key]
                due.append(self._pass(key, plan, max(now, plan.due_ns)))
                heapq.heappush(self._heap, (plan.due_ns, key))
        return due

    def _together(self, first: str) -> list[str]:
        """Give `first` and the tasks of its group whose slots fall together with its own."""
        plan = self._plans[first]
        at = plan.nominal(plan.slot)
        near = (
            key
            for key in self._groups.get(plan.group, ())
            if abs(self._plans[key].nominal(self._plans[key].slot) - at) <= JOIN_NS
        )
        return [first, *(key for key in near if key != first)]

    def _plan(self, key: str, interval_ns: int, now: int) -> _Plan:
        phase = phase_ns(self._vantage, key, interval_ns)
        first = phase % min(interval_ns, FIRST_WITHIN_NS)
        # Of the two grid slots around one interval after the first, the one that leaves the more even gap.
        grid = phase if phase - first >= interval_ns / 2 else phase + interval_ns
        plan = _Plan("", interval_ns, now + first, now + grid)
        plan.due_ns = plan.first_ns + self._jitter(plan)
        return plan

    def _plan_together(self, group: str, interval_ns: int, now: int) -> _Plan:
        digest = hashlib.sha256(f"{self._vantage}\0{group}".encode()).digest()
        ahead = int.from_bytes(digest[:8], "little") - now  # one moment, whatever the interval
        first = ahead % min(interval_ns, FIRST_WITHIN_NS)
        grid = ahead % interval_ns
        if grid - first < interval_ns / 2:
            grid += interval_ns
        plan = _Plan(group, interval_ns, now + first, now + grid)
        plan.due_ns = plan.first_ns + self._jitter(plan)
        return plan

    def _pass(self, key: str, plan: _Plan, now: int) -> Due:
        """Move `plan` beyond `now`; say which slot runs and which were missed."""
        first, runs = plan.slot, plan.slot
        if now - plan.due_ns > GRACE_NS:
            # The newest slot may still be young enough; those before it have given way to it.
            newest = plan.newest(now)
            runs = newest if newest > first and now - plan.nominal(newest) <= GRACE_NS else -1
            plan.slot = max(newest, first) + 1
        else:
            plan.slot = first + 1
        missed = (plan.slot if runs < 0 else runs) - first
        plan.due_ns = plan.nominal(plan.slot) + self._jitter(plan)
        return Due(
            key=key,
            slot_ns=None if runs < 0 else plan.nominal(runs),
            missed=missed,
            first_missed_ns=plan.nominal(first) if missed else 0,
            last_missed_ns=plan.nominal(first + missed - 1) if missed else 0,
        )

    def _jitter(self, plan: _Plan) -> int:
        return self._rng.randrange(min(plan.interval_ns // JITTER_SHARE, JITTER_MOST_NS) + 1)
