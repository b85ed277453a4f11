"""Runs that need a lease or bytes get them first, and what is due together becomes one run."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from support.lease_server import LeaseServer, lease_server

from sonde_agent.budget import Budget
from sonde_agent.checks.base import Context
from sonde_agent.clock import Clock
from sonde_agent.config import Credential, PolicyRules
from sonde_agent.control.leases import Leases
from sonde_agent.journal import Journal
from sonde_agent.net.icmp import Engines
from sonde_agent.policy import Policy
from sonde_agent.run import NotRun, Runs
from sonde_agent.runner import Runner
from sonde_agent.tunnel.helper_rules import Rules
from sonde_agent.uplink.channel import Channels
from sonde_agent.uplink.session import Identity
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb


class Probe:
    """A kind of check that takes a while, and notes what it was asked for."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.tasks: list[control_pb2.Task] = []
        self.now = self.most = 0
        self.takes_s = 0.0
        self.failure: pb.Failure.ValueType = pb.FAILURE_NONE

    async def run(self, task: control_pb2.Task, context: Context) -> list[pb.Result]:
        """Take the time."""
        self.tasks.append(task)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.now -= 1
        result = self.failed(task, self.failure, pb.STAGE_AUTH, context.wall_us())
        result.performance.connection_success = not self.failure
        result.performance.down_bytes = 1000
        return [result]

    def failed(
        self, task: control_pb2.Task, failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, at_us: int
    ) -> pb.Result:
        """A result that says why."""
        row = pb.Performance(failure=failure, stage=stage)
        return pb.Result(measured_at_us=at_us, target=task.target, performance=row)


class Store:
    """Keeps in memory what the spool would keep."""

    def __init__(self) -> None:
        self.results: list[pb.Result] = []

    def append(self, results: Sequence[pb.Result]) -> None:
        """Keep results."""
        self.results += results

    def measured_under(self, database_id: bytes, revision: int) -> None:
        """Of no matter here."""

    def of(self, payload: str) -> list[pb.Result]:
        """Results of one kind."""
        return [result for result in self.results if result.WhichOneof("payload") == payload]


class Host:
    """A runner with an account, leases of a collector, and a budget."""

    def __init__(self, folder: Path, port: int, tunnels: int) -> None:
        self.store = Store()
        self.connection, self.throughput = Probe("connection"), Probe("throughput")
        self.journal = Journal(self.store)
        self.budget = Budget(folder / "budget.json")
        self.credentials = {"acme": Credential()}
        self.runner = Runner(
            vantage="v",
            clock=Clock(),
            kinds={probe.kind: probe for probe in (self.connection, self.throughput)},
            context=Context(icmp=Engines(), rules=Rules(credential=self.credentials)),
            policy=Policy(PolicyRules()),
            journal=self.journal,
            limit=8,
            is_ready=lambda: True,
            tunnels=tunnels,
            leases=Leases(Channels(f"127.0.0.1:{port}"), Identity("v", "1", b"i" * 16)),
            budget=self.budget,
            rng=random.Random(1),
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the runner does."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 -- what is waited for is in the runner's hands
                await asyncio.sleep(0.01)

    def reasons(self) -> set[int]:
        """Why slots were missed."""
        return {result.missed.reason for result in self.store.of("missed")}


@contextlib.asynccontextmanager
async def running(folder: Path, tunnels: int = 4) -> AsyncIterator[tuple[Host, LeaseServer]]:
    """A host that runs, and its collector."""
    async with lease_server() as (collector, _):
        host = Host(folder, collector.port, tunnels)
        async with asyncio.TaskGroup() as group:
            group.create_task(host.journal.run())
            group.create_task(host.runner.run())
            yield host, collector
            await host.runner.stop(1)
            host.journal.close()


def tunnel(key: str, every_ms: int = 1000, **more: str) -> control_pb2.Task:
    """A connection task of the account "acme", of a server of its own unless `group` says otherwise."""
    group = more.get("group", "")
    task = control_pb2.Task(
        key=key,
        target=more.get("target", f"server-{key}"),
        interval_ms=every_ms,
        timeout_ms=5000,
        group=group,
    )
    task.connection.protocol, task.connection.profile = "OpenVPN-UDP", "a.ovpn"
    task.connection.credential = more.get("credential", "acme")
    return task


def load(key: str, max_bytes: int = 10_000) -> control_pb2.Task:
    """A throughput task."""
    task = control_pb2.Task(key=key, target="target", interval_ms=1000, timeout_ms=1000)
    task.throughput.url, task.throughput.download = "http://example.com/", True
    task.throughput.max_bytes = max_bytes
    return task


async def test_a_session_is_leased_for_the_run_alone(tmp_path: Path) -> None:
    """Two servers of an account with one session never run at once, and the provider's word is passed on."""
    async with running(tmp_path) as (host, collector):
        host.connection.takes_s, host.connection.failure = 0.05, pb.FAILURE_AUTH
        host.runner.assign([tunnel("a"), tunnel("b")])
        await host.until(lambda: len(host.store.of("performance")) >= 4)
    assert host.connection.most == 1
    assert {want.credential for request in collector.asked for want in request.wants} == {"acme"}
    assert {(one.failure, one.connected) for one in collector.released} == {(pb.FAILURE_AUTH, False)}
    assert not collector.held


async def test_a_denied_slot_is_tried_again_then_missed(tmp_path: Path) -> None:
    """A slot asks again for a quarter of its interval; with a refused account it does not."""
    async with running(tmp_path) as (host, collector):
        busy = control_pb2.AcquireReply(reason="MISS_REASON_NO_LEASE", retry_after_ms=100, detail="busy")
        collector.deny = [busy]
        host.runner.assign([tunnel("patient", every_ms=6000)])
        await host.until(lambda: len(host.store.of("performance")) == 1)
        assert len(collector.asked) == 2
        assert host.reasons() == set()
        refused = control_pb2.AcquireReply(reason="MISS_REASON_CREDENTIAL", retry_after_ms=100, detail="x")
        collector.deny = [refused]
        host.runner.assign([tunnel("refused", every_ms=6000)])
        await host.until(lambda: bool(host.store.of("missed")))
    assert host.reasons() == {pb.MISS_REASON_CREDENTIAL}
    assert len(collector.asked) == 3


async def test_without_a_collector_nothing_that_needs_a_lease_runs(tmp_path: Path) -> None:
    """Each slot is missed: NO_LEASE."""
    host = Host(tmp_path, 1, 4)
    async with asyncio.TaskGroup() as group:
        group.create_task(host.journal.run())
        group.create_task(host.runner.run())
        host.runner.assign([tunnel("a", every_ms=1000)])
        await host.until(lambda: bool(host.store.of("missed")))
        await host.runner.stop(0)
        host.journal.close()
    assert host.reasons() == {pb.MISS_REASON_NO_LEASE}
    assert not host.connection.tasks


async def test_what_is_due_together_is_one_run_with_one_lease(tmp_path: Path) -> None:
    """Two plans of one server and protocol share each tunnel where both are due, and one row says it all."""
    async with running(tmp_path) as (host, collector):
        often, seldom = (tunnel(key, ms, group="g", target="s") for key, ms in (("a", 1000), ("b", 2000)))
        often.connection.inside.add(key="ping", timeout_ms=10).ping.CopyFrom(
            control_pb2.PingSpec(count=3, spacing_ms=10)
        )
        seldom.connection.inside.add(key="page", timeout_ms=10).endpoint.CopyFrom(
            control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_HTTP, url="http://example.com/")
        )
        host.runner.assign([often, seldom])
        await host.until(lambda: len(host.connection.tasks) >= 4)
    kinds = [[one.WhichOneof("spec") for one in task.connection.inside] for task in host.connection.tasks]
    assert ["ping", "endpoint"] in kinds
    assert ["endpoint"] not in kinds[1:]
    assert len(collector.asked) == len(host.connection.tasks)
    assert host.connection.most == 1


async def test_no_more_tunnels_than_the_host_has_room_for(tmp_path: Path) -> None:
    """With room for two, six servers of as many accounts never have three tunnels open."""
    async with running(tmp_path, tunnels=2) as (host, _):
        host.credentials.update({f"c{number}": Credential() for number in range(6)})
        host.connection.takes_s = 0.05
        host.runner.assign([tunnel(str(number), credential=f"c{number}") for number in range(6)])
        await host.until(lambda: len(host.connection.tasks) >= 8)
    assert host.connection.most == 2


async def test_throughput_keeps_to_its_bytes(tmp_path: Path) -> None:
    """Without a month's bytes nothing is transferred; with some, as long as a whole run fits."""
    async with running(tmp_path) as (host, collector):
        host.runner.assign([load("x")])
        await host.until(lambda: bool(host.store.of("missed")))
        assert host.reasons() == {pb.MISS_REASON_BUDGET}
        assert not host.throughput.tasks
        host.budget.per_month = 12_000
        await host.until(lambda: len(host.throughput.tasks) >= 3)
        assert {want.target for request in collector.asked for want in request.wants} == {"target"}
        host.store.results.clear()
        await host.until(lambda: bool(host.store.of("missed")))
    assert len(host.throughput.tasks) == 3  # each has cost 1000 of 12 000, and 10 000 must be left
    assert host.budget.room(Clock().wall_us()) == 9_000


async def test_a_run_that_was_cut_has_cost_all_that_was_booked(tmp_path: Path) -> None:
    """What had moved when the deadline came, or the lease was lost, nobody knows: it counts as all."""
    async with lease_server() as (collector, _):
        budget, probe = Budget(tmp_path / "budget.json"), Probe("throughput")
        budget.per_month, probe.takes_s = 25_000, 60.0
        runs = Runs(
            clock=Clock(),
            kinds={"throughput": probe},
            context=Context(icmp=Engines()),
            is_ready=lambda: True,
            leases=Leases(Channels(f"127.0.0.1:{collector.port}"), Identity("v", "1", b"i" * 16)),
            budget=budget,
        )
        late = load("late")
        late.timeout_ms = 100
        (result,) = await runs.run(late)
        assert result.performance.failure == pb.FAILURE_TIMEOUT
        assert budget.room(Clock().wall_us()) == 15_000
        collector.ttl_ms, collector.renews = 600, False
        lost = load("lost")
        lost.timeout_ms = 30_000
        with pytest.raises(NotRun):
            await runs.run(lost)
        assert budget.room(Clock().wall_us()) == 5_000


async def test_an_unknown_account_is_refused_in_words(tmp_path: Path) -> None:
    """What this agent has no credential for is not scheduled, and the collector is told."""
    async with running(tmp_path) as (host, _):
        host.runner.assign([tunnel("a", credential="other")])
        assert [one.reason for one in host.runner.refusals.told] == [
            "this agent's configuration has no [credential.other]"
        ]
        assert host.runner.tasks == 0
