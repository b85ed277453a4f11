"""The check `throughput`: download, then upload, by the engine that the plan names; one row of figures."""

import asyncio
from typing import Protocol

from sonde_agent.checks.base import Context
from sonde_agent.checks.endpoint.failures import End
from sonde_agent.checks.throughput import iperf3, own, speedtest
from sonde_agent.checks.throughput.errand import Failed, Job, Place
from sonde_agent.checks.throughput.pure import Figures, performance_of, plan_of
from sonde_agent.net.dial import Deadline
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_EARLIER = 0.97
"""Our own deadline, as part of the runner's: so what one direction gave is kept when the other is late."""


class Engine(Protocol):
    """A way to move bytes: a module with these two."""

    async def place_of(self, job: Job, *, upload: bool) -> Place:
        """Where a direction goes, judged by the policy; raises `Failed`."""

    async def measure(self, job: Job, place: Place, used_bytes: int, *, upload: bool) -> Figures:
        """Measure one direction, when `used_bytes` of the run's are used already; raises `Failed`."""


_ENGINES: dict[pb.Engine.ValueType, Engine] = {
    pb.ENGINE_HTTP: own,
    pb.ENGINE_NDT7: own,
    pb.ENGINE_IPERF3: iperf3,
    pb.ENGINE_SPEEDTEST: speedtest,
}


class ThroughputCheck:
    """Measures how many bits a second a path carries, each way, and the round-trip time under that load."""

    kind = "throughput"

    async def run(self, task: control_pb2.Task, context: Context) -> list[pb.Result]:
        """Measure once; always one result, see `Check.run`."""
        at_us, plan, within_s = context.wall_us(), plan_of(task.throughput), task.timeout_ms / 1000 * _EARLIER
        run = _Run(Job(task.throughput, plan, context, Deadline(within_s)))
        try:
            async with asyncio.timeout(within_s):
                end = await run.both()
        except TimeoutError:
            end = End(pb.FAILURE_TIMEOUT, pb.STAGE_TRANSFER, "the run did not end in its time")
        row = performance_of(plan, run.figures.get(False), run.figures.get(True))
        if run.family:
            row.family = run.family
        for upload, used_bytes in run.lost.items():
            setattr(row, "up_bytes" if upload else "down_bytes", used_bytes)
        if end is not None:
            row.failure, row.stage, row.detail = end.failure, end.stage, end.words[:200]
        return [pb.Result(measured_at_us=at_us, target=task.target, performance=row)]

    def failed(
        self,
        task: control_pb2.Task,
        failure: pb.Failure.ValueType,
        stage: pb.Stage.ValueType,
        at_us: int,
    ) -> pb.Result:
        """The result of a run that ended before it could say anything itself. **Pure.**"""
        row = pb.Performance(engine=plan_of(task.throughput).engine, failure=failure, stage=stage)
        if task.throughput.family:
            row.family = task.throughput.family
        return pb.Result(measured_at_us=at_us, target=task.target, performance=row)


class _Run:
    """What one run has given so far; the keys of its figures are: is it the upload?"""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.figures: dict[bool, Figures] = {}
        self.lost: dict[bool, int] = {}  # bytes of a direction that failed
        self.family = job.spec.family

    async def both(self) -> End | None:
        """Measure what the plan asks for, until something fails; why it failed."""
        plan = self._job.plan
        engine = _ENGINES.get(plan.engine)
        if engine is None:
            return End(pb.FAILURE_UNSUPPORTED, pb.STAGE_NONE, "this agent is too old for the plan's engine")
        wanted = [upload for upload, asked in ((False, plan.download), (True, plan.upload)) if asked]
        if not wanted:
            words = "the plan asks for no direction, or gives no URL for it"
            return End(pb.FAILURE_LOCAL, pb.STAGE_NONE, words)
        for upload in wanted:
            try:
                place = await engine.place_of(self._job, upload=upload)
                self.family = place.family
                used = sum(figures.used_bytes for figures in self.figures.values())
                self.figures[upload] = await engine.measure(self._job, place, used, upload=upload)
            except Failed as failed:
                self.lost[upload] = failed.used_bytes
                return failed.end
        return None
