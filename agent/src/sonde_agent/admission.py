"""Which due run may start now, which waits, which is missed: pure decisions over the runs under way.

- At most `limit` runs go on at once. A slot that finds no room waits until its task's next slot is due; then
  it is missed: CAPACITY.
- A slot whose task is still running is missed: OVERLAP.
- An exclusive run starts when nothing runs, and while it waits or runs nothing else starts. What comes due
  meanwhile waits like that which finds no room, and where it waits in vain it is missed: DISPLACED. Who
  waited through one exclusive run goes before the next.
- Background runs start only when no normal one waits.
- A slot may stand for several tasks that are run together; each of them is accounted for.
- Of the runs at once, at most `tunnels` open a tunnel; a slot that waits for one lets others pass.
- A run on demand is one more beside the schedule: it starts when no other slot waits and no run of the same
  key is under way, and takes half of the room at most; an exclusive one waits its turn among the exclusive.
  What comes due while it runs is missed as with any run. It is itself no slot that could be missed.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sonde_agent.on_demand import Asked
from sonde_proto.v1 import control_pb2, results_pb2

CAPACITY = results_pb2.MISS_REASON_CAPACITY
DISPLACED = results_pb2.MISS_REASON_DISPLACED
OVERLAP = results_pb2.MISS_REASON_OVERLAP

NORMAL = control_pb2.TASK_CLASS_NORMAL
EXCLUSIVE = control_pb2.TASK_CLASS_EXCLUSIVE
BACKGROUND = control_pb2.TASK_CLASS_BACKGROUND


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of one task, or of several that are run together.

    Attributes:
        key: of the task, or of what they are run as; one key runs once at a time.
        nominal_ns: when it should begin [BOOTTIME].
        task_class: the most demanding of its tasks'.
        members: keys of its tasks; empty = `key` is the only one.
        tunnel: it opens a tunnel.
        until_ns: how long a lease is asked for again [BOOTTIME]; 0 = it was not asked for yet.
        displaced: an exclusive run held the vantage when it came due.
        asked: the request that it is for; None = it stands in the schedule.
    """

    key: str
    nominal_ns: int
    task_class: control_pb2.TaskClass.ValueType
    members: tuple[str, ...] = ()
    tunnel: bool = False
    until_ns: int = 0
    displaced: bool = False
    asked: Asked | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Keys of its tasks."""
        return self.members or (self.key,)


@dataclass(frozen=True, slots=True)
class Missed:
    """A slot that will not run, or the part of one."""

    slot: Slot
    reason: results_pb2.MissReason.ValueType


class Admission:
    """The runs under way and those that wait. Pure: it decides, the runner acts."""

    def __init__(self, limit: int, tunnels: int = 1) -> None:
        self._limit = limit
        self._tunnels = tunnels
        self._running: dict[str, Slot] = {}
        self._waiting: dict[control_pb2.TaskClass.ValueType, deque[Slot]] = {
            EXCLUSIVE: deque(),
            NORMAL: deque(),
            BACKGROUND: deque(),
        }
        self._asked: deque[Slot] = deque()
        self._owed: set[str] = set()

    @property
    def running(self) -> int:
        """How many runs are under way."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many slots wait for room."""
        return sum(map(len, self._waiting.values())) + len(self._asked)

    def under_way(self) -> list[Slot]:
        """Give the slots that run now."""
        return list(self._running.values())

    def offer(self, slot: Slot) -> list[Missed]:
        """Take in a slot that is due; give what is missed by it. It starts with `start`."""
        missed: list[Missed] = []
        if slot.asked is not None:
            (self._waiting[EXCLUSIVE] if slot.task_class == EXCLUSIVE else self._asked).append(slot)
            return missed
        if slot.key in self._running:
            return [Missed(slot, OVERLAP)]
        if (stale := self._withdraw(slot.key)) is not None:
            passed = tuple(key for key in stale.tasks if key in slot.tasks)
            carried = tuple(key for key in stale.tasks if key not in slot.tasks)
            if passed:
                reason = DISPLACED if stale.displaced or self._is_held() else CAPACITY
                missed.append(Missed(_part(stale, passed), reason))
            if carried:
                task_class = most_demanding((stale.task_class, slot.task_class))
                slot = replace(slot, members=slot.tasks + carried, task_class=task_class)
        if slot.task_class != EXCLUSIVE and self._is_held():
            slot = replace(slot, displaced=True)
        self._waiting[slot.task_class].append(slot)
        return missed

    def start(self) -> list[Slot]:
        """Give the slots that start now; each counts as running until `finish`."""
        if any(slot.task_class == EXCLUSIVE for slot in self._running.values()):
            return []
        exclusive = self._waiting[EXCLUSIVE]
        started: list[Slot] = []
        for queue in (self._waiting[NORMAL], self._waiting[BACKGROUND]):
            for slot in tuple(queue):
                if len(self._running) >= self._limit:
                    break
                if exclusive and slot.key not in self._owed:
                    continue
                if slot.tunnel and self._tunnels_open() >= self._tunnels:
                    continue
                queue.remove(slot)
                self._begin(slot)
                started.append(slot)
        if exclusive and not self._running:
            started.append(exclusive.popleft())
            self._begin(started[0])
        elif not any(self._waiting.values()):
            started += self._start_asked()
        return started

    def _start_asked(self) -> list[Slot]:
        """Give what starts now of what was asked for; nothing of the schedule waits."""
        room = min(self._limit - len(self._running), max(self._limit // 2, 1) - self._asked_under_way())
        started: list[Slot] = []
        for slot in tuple(self._asked):
            if len(started) >= room:
                break
            if slot.key in self._running or (slot.tunnel and self._tunnels_open() >= self._tunnels):
                continue
            self._asked.remove(slot)
            self._begin(slot)
            started.append(slot)
        return started

    def _asked_under_way(self) -> int:
        return sum(slot.asked is not None for slot in self._running.values())

    def take_back_asked(self, chosen: Callable[[Asked], bool]) -> list[Slot]:
        """Take back what was asked for and waits, where it is chosen."""
        return self._take_back(lambda slot: slot.asked is not None and chosen(slot.asked))

    def expire(self, now_ns: int) -> list[Slot]:
        """Take back what was asked for and did not start before its request's end."""
        return self.take_back_asked(lambda asked: asked.deadline_ns <= now_ns)

    def clear(self) -> list[Slot]:
        """Take back all that waits."""
        return self._take_back(lambda _: True)

    def _take_back(self, chosen: Callable[[Slot], bool]) -> list[Slot]:
        found: list[Slot] = []
        for queue in (*self._waiting.values(), self._asked):
            taken = [slot for slot in queue if chosen(slot)]
            for slot in taken:
                queue.remove(slot)
            found += taken
        self._owed &= {slot.key for queue in self._waiting.values() for slot in queue}
        return found

    def finish(self, key: str) -> None:
        """Count the run of `key` as over."""
        if self._running.pop(key).task_class == EXCLUSIVE:
            self._owed = {slot.key for slot in (*self._waiting[NORMAL], *self._waiting[BACKGROUND])}

    def withdraw(self, keys: frozenset[str]) -> None:
        """Forget waiting slots of tasks that are no longer assigned."""
        for task_class, queue in self._waiting.items():
            left = ((slot, tuple(key for key in slot.tasks if key not in keys)) for slot in queue)
            self._waiting[task_class] = deque(_part(slot, tasks) for slot, tasks in left if tasks)
        self._asked = deque(slot for slot in self._asked if keys.isdisjoint(slot.tasks))

    def _begin(self, slot: Slot) -> None:
        self._running[slot.key] = slot
        self._owed.discard(slot.key)

    def _withdraw(self, key: str) -> Slot | None:
        """Take the waiting slot of `key` back."""
        for queue in self._waiting.values():
            for slot in queue:
                if slot.key == key and slot.asked is None:
                    queue.remove(slot)
                    return slot
        return None

    def _tunnels_open(self) -> int:
        return sum(slot.tunnel for slot in self._running.values())

    def _is_held(self) -> bool:
        """Whether an exclusive run holds the vantage, or is about to."""
        return bool(self._waiting[EXCLUSIVE]) or any(
            slot.task_class == EXCLUSIVE for slot in self._running.values()
        )


def most_demanding(classes: Iterable[control_pb2.TaskClass.ValueType]) -> control_pb2.TaskClass.ValueType:
    """Give the class of tasks that are run together."""
    return min(classes, key=(EXCLUSIVE, NORMAL, BACKGROUND).index)


def _part(slot: Slot, tasks: tuple[str, ...]) -> Slot:
    """Give the slot for some of its tasks alone."""
    return slot if tasks == slot.tasks else replace(slot, members=tasks)
