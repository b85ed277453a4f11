"""A runner on a host whose clocks are set by hand, and a kind of check that behaves as its task says."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from sonde_agent.checks.base import CheckImpossible, Context
from sonde_agent.clock import Clock
from sonde_agent.config import PolicyRules
from sonde_agent.journal import Journal
from sonde_agent.net.icmp import Engines
from sonde_agent.policy import Policy
from sonde_agent.runner import Runner
from sonde_proto.v1 import control_pb2, results_pb2


class Probe:
    """A kind of check whose behaviour each task's host names."""

    kind = "ping"

    def __init__(self) -> None:
        self.now = Counter[str]()
        self.most = 0
        self.starts: list[str] = []

    async def run(self, task: control_pb2.Task, context: Context) -> list[results_pb2.Result]:
        """Behave as the host's name says."""
        self.starts.append(task.key)
        self.now[task.key] += 1
        self.most = max(self.most, self.now.total())
        at_us = context.wall_us()
        try:
            word, _, argument = task.ping.host.removesuffix(".test").partition("-")
            if word == "sleep":
                await asyncio.sleep(float(argument) / 1000)
            elif word == "break":
                raise ZeroDivisionError
            elif word == "lack":
                raise CheckImpossible("there is no ICMP here")
        finally:
            self.now[task.key] -= 1
        result = results_pb2.Result(measured_at_us=at_us, target=task.target)
        result.performance.ping_ms = 1
        return [result]

    def failed(
        self,
        task: control_pb2.Task,
        failure: results_pb2.Failure.ValueType,
        stage: results_pb2.Stage.ValueType,
        at_us: int,
    ) -> results_pb2.Result:
        """A result that says why."""
        result = results_pb2.Result(measured_at_us=at_us, target=task.target)
        result.performance.failure = failure
        result.performance.stage = stage
        return result


class Store:
    """Keeps in memory what the spool would keep."""

    def __init__(self) -> None:
        self.results: list[results_pb2.Result] = []
        self.commits = 0

    def append(self, results: Sequence[results_pb2.Result]) -> tuple[bytes, int]:
        """Keep results."""
        self.results += results
        self.commits += 1
        return b"e" * 16, len(self.results)

    def measured_under(self, database_id: bytes, revision: int) -> None:
        """Of no matter here."""

    def of(self, payload: str) -> list[results_pb2.Result]:
        """Results of one kind."""
        return [result for result in self.results if result.WhichOneof("payload") == payload]


class Host:
    """A runner on a host whose wall clock and readiness are set by hand."""

    def __init__(self, limit: int) -> None:
        self.step_ns = 0
        self.skip_ns = 0
        self.ready = True
        self.store = Store()
        self.probe = Probe()
        self.journal = Journal(self.store)
        self.clock = Clock(
            boot_ns=lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) + self.skip_ns,
            wall_ns=lambda: time.time_ns() + self.step_ns + self.skip_ns,
        )
        self.runner = Runner(
            vantage="v",
            clock=self.clock,
            kinds={"ping": self.probe},
            context=Context(icmp=Engines()),
            policy=Policy(PolicyRules(deny_targets=("forbidden.test",))),
            journal=self.journal,
            limit=limit,
            is_ready=lambda: self.ready,
            rng=random.Random(1),
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the runner does."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 -- what is waited for is in another program's hands
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(limit: int = 32) -> AsyncIterator[Host]:
    """A host whose runner and journal run."""
    host = Host(limit)
    async with asyncio.TaskGroup() as group:
        group.create_task(host.journal.run())
        group.create_task(host.runner.run())
        yield host
        await host.runner.stop(0)
        host.journal.close()


def task(
    key: str, host: str, every_ms: int = 100, timeout_ms: int = 1000, task_class: int = 0
) -> control_pb2.Task:
    """An assigned task whose behaviour is named by `host`."""
    made = control_pb2.Task(key=key, target=f"target-{key}", interval_ms=every_ms, timeout_ms=timeout_ms)
    setattr(made, "class", task_class)
    made.ping.host = f"{host}.test"
    return made
