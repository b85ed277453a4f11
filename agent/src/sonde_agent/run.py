"""One run: its leases, its bytes, its deadline. Whatever goes wrong in it becomes a result."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

import structlog

from sonde_agent import grouping
from sonde_agent.allowance import Allowance, Cost, cost_of, read_by
from sonde_agent.budget import Budget
from sonde_agent.checks.base import Check, CheckImpossible, Context
from sonde_agent.checks.throughput.pure import plan_of
from sonde_agent.clock import Clock, is_step
from sonde_agent.control.leases import Denied, Lease, LeaseLost, Leases
from sonde_agent.keys import KeyBusy, Keys
from sonde_agent.limits import USUAL, Limits
from sonde_agent.schedule import SECOND_NS
from sonde_agent.tunnel.client import TunnelError
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_WIREGUARD = "WireGuard"
_LONGEST_DETAIL = 200
_MOST_TOLD = 1000  # reasons that are remembered as told

log = structlog.get_logger()


class NotRun(Exception):
    """The run may not be now.

    Args:
        reason: as a row of missed slots tells it.
        retry_after_s: when it may be worth to try again; None = not for this slot.
        began: it had begun, and was cut.
        detail: why, in words for a person.
    """

    def __init__(
        self,
        reason: pb.MissReason.ValueType,
        retry_after_s: float | None = None,
        *,
        began: bool = False,
        detail: str = "",
    ) -> None:
        super().__init__(pb.MissReason.Name(reason))
        self.began = began
        self.detail = detail
        self.reason = reason
        self.retry_after_s = retry_after_s


class Runs:
    """Carries runs out.

    Args:
        clock: both clocks.
        kinds: what this agent can measure.
        context: what runs share.
        is_ready: whether the vantage is fit to judge others now.
        leases: where leases come from; None = nobody grants any.
        budget: what throughput may use; None = nothing.
        limits: how often and how much runs may send.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        kinds: Mapping[str, Check],
        context: Context,
        is_ready: Callable[[], bool],
        leases: Leases | None,
        budget: Budget | None,
        limits: Limits = USUAL,
    ) -> None:
        self._clock = clock
        self._kinds = kinds
        self._context = context
        self._is_ready = is_ready
        self._leases = leases
        self._budget = budget
        self._allowance = Allowance(limits, clock.boot_ns() / SECOND_NS)
        self._keys = Keys()
        self._told: set[tuple[str, str]] = set()

    async def run(
        self, task: control_pb2.Task, patience_s: float = 0.0, *, quality: int = 0
    ) -> list[pb.Result]:
        """Run `task` now; give its results, flagged.

        Args:
            task: what to run.
            patience_s: for how long it will be tried again, if there is no lease.
            quality: what is known of every result before it is measured.

        Raises:
            NotRun: there is no lease, or this agent's own limits leave no room.
        """
        cost = cost_of(task)
        if not self._allowance.take(cost, self._clock.boot_ns() / SECOND_NS):
            self._tell_once("", "limits_reached", "runs_per_minute, echoes_per_s or bodies_hour")
            raise NotRun(pb.MISS_REASON_BUDGET, detail="this agent's limits leave no room now")
        difference_us, ready = self._clock.difference_us(), self._is_ready()
        try:
            results = await self._within_budget(task, patience_s)
        except NotRun as not_run:
            if not not_run.began:
                self._allowance.give_back(cost)
            raise
        self._allowance.give_back(Cost(bodies=cost.bodies - read_by(results)))
        quality |= 0 if ready and self._is_ready() else Quality.NOT_READY
        if is_step(self._clock.difference_us() - difference_us):
            quality |= Quality.CLOCK_STEPPED
        for result in results:
            _flag(result, quality)
        return results

    async def _within_budget(self, task: control_pb2.Task, patience_s: float) -> list[pb.Result]:
        booked = used = self._book(task)  # unless it is known to be less
        try:
            results = await self._with_lease(task, patience_s)
            used = _cost(results, booked) if booked else 0
        except NotRun as not_run:
            used = booked if not_run.began else 0
            raise
        finally:
            if booked and self._budget is not None:
                self._budget.settle(booked, used, self._clock.wall_us())
        return results

    def _book(self, task: control_pb2.Task) -> int:
        """Book the bytes that the run may cost at most; 0 = it costs none."""
        most = sum(plan_of(load.throughput).max_bytes for load in grouping.loads(task))
        if most and (self._budget is None or not self._budget.book(most, self._clock.wall_us())):
            raise NotRun(pb.MISS_REASON_BUDGET)
        return most

    async def _with_lease(self, task: control_pb2.Task, patience_s: float) -> list[pb.Result]:
        try:
            key_id = await self._key_id(task)
        except TunnelError as error:
            self._tell_once(task.key, "tunnel_impossible", error.detail)
            return [self._failed(task, error)]
        wants = grouping.wants(task, key_id)
        if not wants:
            return await self._measure(task)
        if self._leases is None:
            raise NotRun(pb.MISS_REASON_NO_LEASE)
        lease = self._leases.hold(task.target, wants, patience_s)
        try:
            with self._keys.use(key_id, handshake_only=task.connection.handshake_only):
                return await self._leased(task, lease)
        except KeyBusy:
            raise NotRun(pb.MISS_REASON_NO_LEASE, 0) from None

    async def _leased(
        self, task: control_pb2.Task, holding: AbstractAsyncContextManager[Lease]
    ) -> list[pb.Result]:
        try:
            async with holding as lease:
                lease.settle_s = grouping.settle_s(task)
                results = await self._measure(task)
                _tell(lease, results)
                return results
        except Denied as denied:
            self._tell_once(task.key, "lease_denied", denied.detail)
            waits_for_a_person = denied.reason == pb.MISS_REASON_CREDENTIAL
            retry_after_s = None if waits_for_a_person else denied.retry_after_s
            raise NotRun(denied.reason, retry_after_s, detail=denied.detail) from None
        except LeaseLost as lost:
            log.warning("run_ended", task=task.key, reason=str(lost))
            raise NotRun(pb.MISS_REASON_NO_LEASE, began=True) from None

    async def _key_id(self, task: control_pb2.Task) -> str:
        """Give what the key of a WireGuard profile is known by; "" = there is none."""
        spec, tunnels = task.connection, self._context.tunnels
        if spec.protocol != _WIREGUARD:
            return ""
        profile = "" if spec.HasField("place") else spec.profile  # "" = the template
        if not spec.handshake_only and tunnels is not None:
            return (await tunnels.describe(spec.credential, profile)).key_id
        from sonde_agent.checks.connection.handshake import key_id  # noqa: PLC0415 -- few agents read profiles

        return await key_id(spec.credential, profile, self._context.rules)

    def _failed(self, task: control_pb2.Task, error: TunnelError) -> pb.Result:
        check = self._kinds[task.WhichOneof("spec") or ""]
        result = check.failed(task, error.failure, pb.STAGE_NONE, self._clock.wall_us())
        result.performance.detail = error.detail[:_LONGEST_DETAIL]
        return result

    async def _measure(self, task: control_pb2.Task) -> list[pb.Result]:
        check = self._kinds[task.WhichOneof("spec") or ""]
        at_us = self._clock.wall_us()
        try:
            async with asyncio.timeout(task.timeout_ms / 1000):
                return await check.run(task, self._context)
        except TimeoutError:
            failure = pb.FAILURE_TIMEOUT
        except CheckImpossible as error:
            failure = pb.FAILURE_UNSUPPORTED
            self._tell_once(task.key, "check_impossible", str(error))
        except Exception as error:  # noqa: BLE001 -- a defect of one check must not end the others
            failure = pb.FAILURE_INTERNAL
            self._tell_once(task.key, "check_broke", repr(error), error)
        return [check.failed(task, failure, pb.STAGE_NONE, at_us)]

    def _tell_once(self, key: str, event: str, reason: str, error: Exception | None = None) -> None:
        if (event, reason) not in self._told:  # what this host lacks, it lacks for every task
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told.add((event, reason))
            log.warning(event, task=key, reason=reason, exc_info=error)


def _tell(lease: Lease, results: list[pb.Result]) -> None:
    """Let the lease say how the run ended; who came as far as the first byte was let in."""
    row = results[0].performance
    lease.failure = row.failure
    lease.connected = row.connection_success or row.stage >= pb.STAGE_FIRST_BYTE


def _cost(results: list[pb.Result], booked: int) -> int:
    """Give what a run has cost; where it ended in the midst of a transfer, all that was booked for it."""
    row = results[0].performance
    cost = sum(result.performance.down_bytes + result.performance.up_bytes for result in results)
    in_transfer = row.stage == pb.STAGE_TRANSFER and not cost
    cut = row.stage in (pb.STAGE_NONE, pb.STAGE_TRANSFER) and row.failure in (
        pb.FAILURE_TIMEOUT,
        pb.FAILURE_INTERNAL,
    )
    return booked if cut or in_transfer else cost


def _flag(result: pb.Result, quality: int) -> None:
    if quality:
        getattr(result, result.WhichOneof("payload") or "performance").quality |= quality
