"""Turns due tasks into runs: one timer over one heap, and a task only while it runs.

Nothing that a run does can end the runner. A slot that gets no lease is tried again for a while, and then
missed.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import structlog

from sonde_agent import grouping
from sonde_agent.admission import CAPACITY, Admission, Missed, Slot, most_demanding
from sonde_agent.budget import Budget
from sonde_agent.checks.base import Check, Context
from sonde_agent.clock import Clock
from sonde_agent.control.leases import Leases
from sonde_agent.journal import Journal, Kept
from sonde_agent.judgement import Judge
from sonde_agent.limits import USUAL, Limits
from sonde_agent.on_demand import Asked, Assigned, OnDemand
from sonde_agent.policy import Policy
from sonde_agent.refusals import Refusals
from sonde_agent.run import NotRun, Runs
from sonde_agent.schedule import SECOND_NS, Due, Schedule
from sonde_agent.unmeasured import Unmeasured
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2, results_pb2

LOOK_EVERY_S = 1.0
"""BOOTTIME is looked at this often: the event loop's own timers stand still while the host is suspended."""

ASK_AGAIN_SHARE = 4
"""A slot asks for its lease for this part of its interval, and for ASK_AGAIN_MOST_NS at most."""
ASK_AGAIN_MOST_NS = 60 * SECOND_NS

_LEAST_RETRY_S = 1.0
_GOODBYE_WITHIN_S = 4.0  # a tunnel that is cut tells its provider, and gives its lease back
_NS_PER_MS = 1_000_000

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
        tunnels: of them, how many may open a tunnel.
        leases: where leases come from; None = nobody grants any.
        budget: what throughput may use; None = nothing.
        limits: how often and how much an assignment may make this agent send.
        is_ready: whether the vantage is fit to judge others now.
        rng: draws the jitter; a test passes its own.
        utc_us: UTC as the collector has it, which a pause ends by; None = this host's clock.
        on_answer: called when there is a new answer to what was asked for.

    Attributes:
        refusals: tasks of the assignment that policy, limits or host do not allow.
        runs: kind and outcome ("ok" or the failure's name) -> runs that ended.
        on_demand: what was asked for, and the answers.
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
        tunnels: int = 1,
        leases: Leases | None = None,
        budget: Budget | None = None,
        limits: Limits = USUAL,
        rng: random.Random | None = None,
        utc_us: Callable[[], int] | None = None,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._on_answer = on_answer
        self._kinds = kinds
        self._judge = Judge(kinds, context.rules.credential, limits)
        self._performed = Runs(
            clock=clock,
            kinds=kinds,
            context=replace(
                context,
                refuse=self._refuse_address,
                refuse_name=self._refuse_host,
                wall_us=clock.wall_us,
            ),
            is_ready=is_ready,
            leases=leases,
            budget=budget,
            limits=limits,
        )
        self._policy = policy
        self._assigned: Sequence[control_pb2.Task] = ()
        self._journal = journal
        self._schedule = Schedule(vantage, rng or random.Random())  # noqa: S311 -- jitter is no secret
        self._admission = Admission(limit, tunnels)
        self._tasks: dict[str, control_pb2.Task] = {}
        self._run_keys: dict[str, str] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._later: set[asyncio.TimerHandle] = set()
        self._wake = asyncio.Event()
        self._stopping = False
        self._unmeasured = Unmeasured(clock, journal, utc_us or clock.wall_us)
        self.on_demand = OnDemand()
        self.refusals = Refusals()
        self.runs: Counter[tuple[str, str]] = Counter()

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

    @property
    def paused(self) -> str:
        """Why nothing is measured now, in words; "" = it is."""
        return self._unmeasured.paused

    @property
    def missed(self) -> Mapping[str, int]:
        """Slots missed by the reason's name."""
        return self._unmeasured.slots

    def assign(self, tasks: Sequence[control_pb2.Task], pause: control_pb2.Pause | None = None) -> None:
        """Take a new assignment: what is unchanged keeps its slots, what is gone ends with its run.

        While there is a `pause`, none is run.
        """
        self._assigned = tasks
        self._unmeasured.pause(pause)
        self._sort_out()

    def _sort_out(self) -> None:
        """Judge what is assigned by the policy of now, and schedule what may run."""
        self._policy = self._policy.at(self._clock.wall_us())
        judged = self._judge.judge(self._assigned, self._policy)
        self.refusals.take(judged)
        allowed = dict(judged.allowed)
        self._admission.withdraw(frozenset(self._tasks.keys() - allowed.keys()))
        other = {key for key, task in self._tasks.items() if allowed.get(key) != task}
        self._admission.take_back_asked(lambda asked: asked.task in other)
        self.on_demand.gone(other, (slot.asked for slot in self._admission.under_way()))
        self._tasks = allowed
        self._run_keys = {key: grouping.run_key(task) for key, task in allowed.items()}
        intervals = {key: task.interval_ms * _NS_PER_MS for key, task in allowed.items()}
        groups = {key: run_key for key, run_key in self._run_keys.items() if run_key != key}
        self._schedule.assign(intervals, self._clock.boot_ns(), groups)
        for slot in self._admission.clear() if self.paused else ():
            self._hold_back(slot)
        self._wake.set()

    def ask(self, requests: Sequence[control_pb2.RunRequest], revision: int) -> None:
        """Take in all that is asked for now, of this revision of the assignment; what is new is run soon."""
        now = self._clock.boot_ns()
        before = len(self.on_demand.answers())
        taken = self.on_demand.take(
            requests, Assigned(revision, self._tasks, self.refusals.why, self.paused), now
        )
        for asked in taken:
            self._offer(self._slot([asked.task], now, asked))
        if taken:
            log.info("asked_to_run", tasks=len(taken))
            self._wake.set()
        if len(self.on_demand.answers()) != before:
            self._on_answer()

    async def run(self) -> None:
        """Run what is due, until `stop`."""
        while not self._stopping:
            self._unmeasured.look()
            if not self._policy.stands(self._clock.wall_us()):  # a block has ended
                self._sort_out()
            now = self._clock.boot_ns()
            for slot in self._admission.expire(now):
                self._miss(Missed(slot, CAPACITY))
            self._take(self._schedule.take(now))
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
        for timer in self._later:
            timer.cancel()
        self._unmeasured.end()
        if self._runs:
            await asyncio.wait(self._runs.values(), timeout=within_s)
        for run in (cut := list(self._runs.values())):
            run.cancel()
        if cut:
            log.info("runs_cut", count=len(cut))
            await asyncio.wait(cut, timeout=_GOODBYE_WITHIN_S)

    def _refuse_address(self, address: str, port: int | None) -> str | None:
        return self._policy.refuse_address(address, port)

    def _refuse_host(self, host: str, port: int | None) -> str | None:
        return self._policy.refuse_host(host, port)

    def _take(self, dues: Sequence[Due]) -> None:
        together: dict[str, list[Due]] = {}
        for due in dues:
            if due.missed and self.paused:
                self._unmeasured.hold_back(due.missed, due.first_missed_ns, due.last_missed_ns)
            elif due.missed:
                late = results_pb2.MISS_REASON_LATE
                self._record(due.key, late, due.missed, due.first_missed_ns, due.last_missed_ns)
            if due.slot_ns is not None:
                together.setdefault(self._run_keys[due.key], []).append(due)
        for members in together.values():
            self._offer(self._slot([due.key for due in members], members[0].slot_ns or 0))

    def _slot(self, keys: Sequence[str], nominal_ns: int, asked: Asked | None = None) -> Slot:
        """Give the slot of tasks of one run."""
        tasks = [self._tasks[key] for key in keys]
        return Slot(
            self._run_keys[keys[0]],
            nominal_ns,
            most_demanding(getattr(task, "class") for task in tasks),
            members=tuple(keys),
            tunnel=grouping.opens_tunnel(tasks[0]),
            asked=asked,
        )

    def _offer(self, slot: Slot) -> None:
        if self.paused:
            self._hold_back(slot)
            return
        for missed in self._admission.offer(slot):
            self._miss(missed)

    def _start(self) -> None:
        for slot in self._admission.start():
            self._runs[slot.key] = asyncio.create_task(self._run(slot), name=slot.key)

    async def _run(self, slot: Slot) -> None:
        task = grouping.joined([self._tasks[key] for key in slot.tasks])
        now = self._clock.boot_ns()
        patience = min(task.interval_ms * _NS_PER_MS // ASK_AGAIN_SHARE, ASK_AGAIN_MOST_NS)
        until = slot.until_ns or (slot.asked.deadline_ns if slot.asked else now + patience)
        quality = Quality.ON_DEMAND if slot.asked else 0
        try:
            results = await self._performed.run(task, max(until - now, 0) / SECOND_NS, quality=quality)
            for result in results:
                self.runs[task.WhichOneof("spec") or "", _outcome(result)] += 1
            self._journal.add(results, self._answering(slot.asked, results))
        except NotRun as denied:
            self._try_again(replace(slot, until_ns=until), denied)
        finally:
            del self._runs[slot.key]
            self._admission.finish(slot.key)
            if not self._stopping:
                self._start()

    def _try_again(self, slot: Slot, denied: NotRun) -> None:
        """Offer the slot again in a while, or say that it is missed."""
        now = self._clock.boot_ns()
        wait_s = max(denied.retry_after_s or 0, _LEAST_RETRY_S)
        if denied.retry_after_s is None or now + wait_s * SECOND_NS > slot.until_ns or self._stopping:
            self._miss(Missed(slot, denied.reason), denied.detail)
            return

        def again() -> None:
            self._later.discard(timer)
            left = tuple(key for key in slot.tasks if key in self._tasks)
            if left and (slot.asked is None or self.on_demand.is_open(slot.asked)):
                self._offer(replace(slot, members=left))
                self._start()

        timer = asyncio.get_running_loop().call_later(wait_s, again)
        self._later.add(timer)

    def _answering(self, asked: Asked | None, results: Sequence[results_pb2.Result]) -> Kept | None:
        """Give what answers a request once the results are on the disk; None = nobody asked."""
        if asked is None:
            return None
        failure = next((word for word in map(_outcome, results) if word != "ok"), "")

        def answer(epoch: bytes, seq: int) -> None:
            self.on_demand.ran(asked, failure, epoch, seq)
            self._on_answer()

        return answer

    def _miss(self, missed: Missed, detail: str = "") -> None:
        if (asked := missed.slot.asked) is not None:
            if not self._stopping:  # it is asked for again after the start
                self.on_demand.missed(asked, missed.reason, detail)
                self._on_answer()
            return
        for key in missed.slot.tasks:
            self._record(key, missed.reason, 1, missed.slot.nominal_ns, missed.slot.nominal_ns)

    def _record(
        self, key: str, reason: results_pb2.MissReason.ValueType, slots: int, first_ns: int, last_ns: int
    ) -> None:
        task = self._tasks.get(key)
        target = task.target if task else ""
        self._unmeasured.record(key, target, reason, slots=slots, first_ns=first_ns, last_ns=last_ns)

    def _hold_back(self, slot: Slot) -> None:
        if slot.asked is not None:
            self._miss(Missed(slot, results_pb2.MISS_REASON_PAUSED), self.paused)
        else:
            self._unmeasured.hold_back(len(slot.tasks), slot.nominal_ns, slot.nominal_ns)


def _outcome(result: results_pb2.Result) -> str:
    """Give "ok" or the failure's word."""
    failure = getattr(result, result.WhichOneof("payload") or "performance").failure
    return _word(results_pb2.Failure.Name(failure), "FAILURE_") if failure else "ok"


def _word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
