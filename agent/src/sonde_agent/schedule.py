"""When each task is due: pure arithmetic over BOOTTIME nanoseconds.

Slot n of a task is nominally at `anchor + phase + n x interval`, where `anchor` is the moment the task was
first assigned and `phase` a hash of vantage and task in [0, interval): the tasks of an agent spread over
the interval, and the agents of a fleet over each task's. Each slot is due a fresh uniform jitter after its
nominal time, up to 10 % of the interval and never more than 10 s, so that nothing that happens on the
minute is met each minute, or never. The jitter is not carried on: there is no drift, and the runs of a task
keep their order.

An interval longer than two minutes would keep a new task dark for long. Its first slot therefore comes
within two minutes, and those after it stand on the grid.

A slot that is noticed more than GRACE late (suspended, stopped, starved) is missed, and said to be; never
caught up. So what runs after a sleep of any length is what fell due in the last GRACE, no more.
"""

import hashlib
import heapq
import random
from collections.abc import Mapping
from dataclasses import dataclass

SECOND_NS = 1_000_000_000
FIRST_WITHIN_NS = 120 * SECOND_NS
GRACE_NS = 2 * SECOND_NS
"""A slot that starts later than this is missed: then its run would not be the one that was planned."""
JITTER_SHARE = 10
JITTER_MOST_NS = 10 * SECOND_NS


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
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._plans)

    def assign(self, intervals: Mapping[str, int], now: int) -> None:
        """Take a new set of tasks; one whose interval is unchanged keeps its slots.

        Args:
            intervals: task key -> interval [ns].
            now: BOOTTIME [ns].
        """
        kept = {k: p for k, p in self._plans.items() if intervals.get(k) == p.interval_ns}
        for key, interval in intervals.items():
            if key not in kept:
                kept[key] = self._plan(key, interval, now)
        self._plans = kept
        self._heap = [(plan.due_ns, key) for key, plan in kept.items()]
        heapq.heapify(self._heap)

    def next_due(self) -> int | None:
        """BOOTTIME of the next slot [ns]; None = there is no task."""
        return self._heap[0][0] if self._heap else None

    def take(self, now: int) -> list[Due]:
        """Give what has come due by `now`, and plan the slots after it. No slot is ever given twice."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            _, key = self._heap[0]
            plan = self._plans[key]
            due.append(self._pass(key, plan, now))
            heapq.heapreplace(self._heap, (plan.due_ns, key))
        return due

    def _plan(self, key: str, interval_ns: int, now: int) -> _Plan:
        phase = phase_ns(self._vantage, key, interval_ns)
        first = phase % min(interval_ns, FIRST_WITHIN_NS)
        # Of the two grid slots around one interval after the first, the one that leaves the more even gap.
        grid = phase if phase - first >= interval_ns / 2 else phase + interval_ns
        plan = _Plan(interval_ns, now + first, now + grid)
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
