"""Which due run may start now, which waits, which is missed: pure decisions over the runs under way.

- At most `limit` runs go on at once. A slot that finds no room waits until its task's next slot is due; then
  it is missed: CAPACITY.
- A slot whose task is still running is missed: OVERLAP.
- An exclusive run starts when nothing runs, and while it waits or runs nothing else starts; what comes due
  meanwhile is missed at once: DISPLACED.
- Background runs start only when no normal one waits.
"""

from collections import deque
from dataclasses import dataclass

from sonde_proto.v1 import control_pb2, results_pb2

CAPACITY = results_pb2.MISS_REASON_CAPACITY
DISPLACED = results_pb2.MISS_REASON_DISPLACED
OVERLAP = results_pb2.MISS_REASON_OVERLAP

NORMAL = control_pb2.TASK_CLASS_NORMAL
EXCLUSIVE = control_pb2.TASK_CLASS_EXCLUSIVE
BACKGROUND = control_pb2.TASK_CLASS_BACKGROUND


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of one task."""

    key: str
    nominal_ns: int
    task_class: control_pb2.TaskClass.ValueType


@dataclass(frozen=True, slots=True)
class Missed:
    """A slot that will not run."""

    slot: Slot
    reason: results_pb2.MissReason.ValueType


class Admission:
    """The runs under way and those that wait. Pure: it decides, the runner acts."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: dict[str, Slot] = {}
        self._waiting: dict[control_pb2.TaskClass.ValueType, deque[Slot]] = {
            EXCLUSIVE: deque(),
            NORMAL: deque(),
            BACKGROUND: deque(),
        }

    @property
    def running(self) -> int:
        """How many runs are under way."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many slots wait for room."""
        return sum(map(len, self._waiting.values()))

    def offer(self, slot: Slot) -> list[Missed]:
        """Take in a slot that is due; give what is missed by it. It starts with `start`."""
        missed = []
        if slot.key in self._running:
            return [Missed(slot, OVERLAP)]
        queue = self._waiting[slot.task_class]
        if (stale := next((one for one in queue if one.key == slot.key), None)) is not None:
            queue.remove(stale)
            missed.append(Missed(stale, CAPACITY))
        if slot.task_class != EXCLUSIVE and self._is_held():
            missed.append(Missed(slot, DISPLACED))
        else:
            queue.append(slot)
        return missed

    def start(self) -> list[Slot]:
        """Give the slots that start now; each counts as running until `finish`."""
        started: list[Slot] = []
        if self._waiting[EXCLUSIVE]:
            if not self._running:
                started.append(self._waiting[EXCLUSIVE].popleft())
                self._running[started[0].key] = started[0]
            return started
        if self._is_held():
            return started
        for queue in (self._waiting[NORMAL], self._waiting[BACKGROUND]):
            while queue and len(self._running) < self._limit:
                slot = queue.popleft()
                self._running[slot.key] = slot
                started.append(slot)
        return started

    def finish(self, key: str) -> None:
        """Count the run of `key` as over."""
        del self._running[key]

    def withdraw(self, keys: frozenset[str]) -> None:
        """Forget waiting slots of tasks that are no longer assigned."""
        for task_class, queue in self._waiting.items():
            self._waiting[task_class] = deque(slot for slot in queue if slot.key not in keys)

    def _is_held(self) -> bool:
        """Whether an exclusive run holds the vantage, or is about to."""
        return bool(self._waiting[EXCLUSIVE]) or any(
            slot.task_class == EXCLUSIVE for slot in self._running.values()
        )
