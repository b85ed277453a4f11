"""Turns due tasks into runs, and runs into results: one timer over one heap, and a task only while it runs.

What goes wrong in a run is data: a deadline that passed, a host that lacks a capability, a check that broke.
Nothing that a check does can end the runner.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from sonde_agent.admission import Admission, Missed, Slot
from sonde_agent.checks.base import Check, CheckImpossible, Context
from sonde_agent.clock import Clock, is_step
from sonde_agent.journal import Journal
from sonde_agent.policy import Policy
from sonde_agent.schedule import SECOND_NS, Due, Schedule
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2, results_pb2

LOOK_EVERY_S = 1.0
"""BOOTTIME is looked at this often: the event loop's own timers stand still while the host is suspended."""

ALL_TASKS = "*"
"""What a record of missed slots names when it is about the vantage and not about one task."""

_NS_PER_MS = 1_000_000
_NS_PER_US = 1_000
_MOST_SLOTS = 2**31 - 1  # the column holds 32 bits, signed

log = structlog.get_logger()


class Runner:
    """Runs what is assigned, when it is due, within the limits.

    Args:
        vantage: code of the vantage, for the phases of its schedules.
        clock: both clocks.
        kinds: what this agent can measure.
        context: what runs share; its `refuse` is put in by the runner.
        policy: what this agent may touch.
        journal: where results go.
        limit: runs at the same time.
        is_ready: whether the vantage is fit to judge others now.
        rng: draws the jitter; a test passes its own.

    Attributes:
        refused: tasks of the assignment that the policy or this host does not allow.
        runs: kind and outcome ("ok" or the failure's name) -> runs that ended.
        missed: reason's name -> slots missed.
    """

    def __init__(
        self,
        *,
        vantage: str,
        clock: Clock,
        kinds: Mapping[str, Check],
        context: Context,
        policy: Policy,
        journal: Journal,
        limit: int,
        is_ready: Callable[[], bool],
        rng: random.Random | None = None,
    ) -> None:
        self._clock = clock
        self._kinds = kinds
        self._context = replace(context, refuse=policy.refuse_address, wall_us=clock.wall_us)
        self._policy = policy
        self._journal = journal
        self._is_ready = is_ready
        self._schedule = Schedule(vantage, rng or random.Random())  # noqa: S311 -- jitter is no secret
        self._admission = Admission(limit)
        self._tasks: dict[str, control_pb2.Task] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._told: set[tuple[str, str]] = set()
        self.refused: list[control_pb2.RefusedTask] = []
        self.runs: Counter[tuple[str, str]] = Counter()
        self.missed: Counter[str] = Counter()

    @property
    def tasks(self) -> int:
        """How many tasks are scheduled."""
        return len(self._schedule)

    @property
    def running(self) -> int:
        """How many runs are under way."""
        return self._admission.running

    @property
    def waiting(self) -> int:
        """How many slots wait for room."""
        return self._admission.waiting

    def assign(self, tasks: Sequence[control_pb2.Task]) -> None:
        """Take a new assignment: what is unchanged keeps its slots, what is gone ends with its run."""
        allowed: dict[str, control_pb2.Task] = {}
        refused: dict[str, str] = {}
        for task in tasks:
            reason = self._refuse(task)
            if reason is None:
                allowed[task.key] = task
            else:
                refused[task.key] = reason
        for key, reason in refused.items():
            if (key, reason) not in self._told:
                log.warning("task_refused", task=key, reason=reason)
        self._told = set(refused.items())
        self.refused = [control_pb2.RefusedTask(task=key, reason=why) for key, why in refused.items()]
        self._admission.withdraw(frozenset(self._tasks.keys() - allowed.keys()))
        self._tasks = allowed
        intervals = {key: task.interval_ms * _NS_PER_MS for key, task in allowed.items()}
        self._schedule.assign(intervals, self._clock.boot_ns())
        self._wake.set()

    async def run(self) -> None:
        """Run what is due, until `stop`."""
        while not self._stopping:
            self._note_step()
            now = self._clock.boot_ns()
            for due in self._schedule.take(now):
                self._take(due)
            self._start()
            next_due = self._schedule.next_due()
            wait_s = LOOK_EVERY_S if next_due is None else min(LOOK_EVERY_S, (next_due - now) / SECOND_NS)
            self._wake.clear()
            if not self._stopping:
                try:
                    await asyncio.wait_for(self._wake.wait(), max(wait_s, 0))
                except TimeoutError:
                    continue

    async def stop(self, within_s: float) -> None:
        """Start nothing more; give what runs `within_s` to end. What is cut then yields no result."""
        self._stopping = True
        self._wake.set()
        if self._runs:
            await asyncio.wait(self._runs.values(), timeout=within_s)
        for run in (cut := list(self._runs.values())):
            run.cancel()
        if cut:
            log.info("runs_cut", count=len(cut))
            await asyncio.wait(cut, timeout=1.0)

    def _refuse(self, task: control_pb2.Task) -> str | None:
        kind = task.WhichOneof("spec")
        if kind is None or kind not in self._kinds:
            return "this agent is too old for this kind of check"
        if task.interval_ms < 1 or task.timeout_ms < 1:
            return "interval and timeout must be at least 1 ms"
        return self._policy.refuse_task(task)

    def _take(self, due: Due) -> None:
        if due.missed:
            late = results_pb2.MISS_REASON_LATE
            self._record(due.key, late, due.missed, due.first_missed_ns, due.last_missed_ns)
        if due.slot_ns is None:
            return
        slot = Slot(due.key, due.slot_ns, getattr(self._tasks[due.key], "class"))
        for missed in self._admission.offer(slot):
            self._miss(missed)

    def _start(self) -> None:
        for slot in self._admission.start():
            run = asyncio.create_task(self._run(self._tasks[slot.key]), name=slot.key)
            self._runs[slot.key] = run

    async def _run(self, task: control_pb2.Task) -> None:
        difference_us, ready = self._clock.difference_us(), self._is_ready()
        try:
            results = await self._measure(task)
            quality = 0 if ready and self._is_ready() else Quality.NOT_READY
            if is_step(self._clock.difference_us() - difference_us):
                quality |= Quality.CLOCK_STEPPED
            for result in results:
                _flag(result, quality)
                self.runs[task.WhichOneof("spec") or "", _outcome(result)] += 1
            self._journal.add(results)
        finally:
            del self._runs[task.key]
            self._admission.finish(task.key)
            if not self._stopping:
                self._start()

    async def _measure(self, task: control_pb2.Task) -> list[results_pb2.Result]:
        check = self._kinds[task.WhichOneof("spec") or ""]
        at_us = self._clock.wall_us()
        try:
            async with asyncio.timeout(task.timeout_ms / 1000):
                return await check.run(task, self._context)
        except TimeoutError:
            failure = results_pb2.FAILURE_TIMEOUT
        except CheckImpossible as error:
            failure = results_pb2.FAILURE_UNSUPPORTED
            self._tell_once(task.key, "check_impossible", str(error))
        except Exception as error:  # noqa: BLE001 -- a defect of one check must not end the others
            failure = results_pb2.FAILURE_INTERNAL
            self._tell_once(task.key, "check_broke", repr(error), error)
        return [check.failed(task, failure, results_pb2.STAGE_NONE, at_us)]

    def _tell_once(self, key: str, event: str, reason: str, error: Exception | None = None) -> None:
        if (event, reason) not in self._told:  # what this host lacks, it lacks for every task
            self._told.add((event, reason))
            log.warning(event, task=key, reason=reason, exc_info=error)

    def _miss(self, missed: Missed) -> None:
        at = missed.slot.nominal_ns
        self._record(missed.slot.key, missed.reason, 1, at, at)

    def _record(
        self, key: str, reason: results_pb2.MissReason.ValueType, slots: int, first_ns: int, last_ns: int
    ) -> None:
        task = self._tasks.get(key)
        result = results_pb2.Result(
            measured_at_us=self._clock.wall_of(first_ns), target=task.target if task else ""
        )
        result.missed.task = key
        result.missed.reason = reason
        result.missed.slots = min(slots, _MOST_SLOTS)
        result.missed.until_us = self._clock.wall_of(last_ns)
        self.missed[_word(results_pb2.MissReason.Name(reason), "MISS_REASON_")] += slots
        self._journal.add([result])

    def _note_step(self) -> None:
        """Record a step of the wall clock: one row for the vantage, from the earlier to the later time.

        Slots stand on BOOTTIME, so none is missed: slots is 0. The time from measured_at to until_us was
        skipped (stepped forward) or told twice (stepped back); a run that spans it is flagged CLOCK_STEPPED.
        """
        step_us = self._clock.step_us()
        if not step_us:
            return
        now_us = self._clock.wall_us()
        log.warning("clock_stepped", seconds=step_us / 1e6)
        result = results_pb2.Result(measured_at_us=min(now_us, now_us - step_us))
        result.missed.task = ALL_TASKS
        result.missed.reason = results_pb2.MISS_REASON_CLOCK_STEP
        result.missed.slots = 0
        result.missed.until_us = max(now_us, now_us - step_us)
        self._journal.add([result])


def _flag(result: results_pb2.Result, quality: int) -> None:
    if quality and result.WhichOneof("payload") == "performance":
        result.performance.quality |= quality
    elif quality and result.WhichOneof("payload") == "endpoint":
        result.endpoint.quality |= quality


def _outcome(result: results_pb2.Result) -> str:
    """Give "ok" or the failure's word."""
    payload = result.WhichOneof("payload")
    failure = result.endpoint.failure if payload == "endpoint" else result.performance.failure
    return _word(results_pb2.Failure.Name(failure), "FAILURE_") if failure else "ok"


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
