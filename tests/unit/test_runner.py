"""Due tasks become runs, and runs become results, whatever goes wrong in them."""

import asyncio
import time

import pytest
from support.runner_host import running, task

from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2, results_pb2


async def test_results_arrive_in_few_commits() -> None:
    """Fifty tasks, each every 200 ms, reach the spool gathered: far fewer commits than results."""
    async with running() as host:
        host.runner.assign([task(str(i), "answer", every_ms=200) for i in range(50)])
        await host.until(lambda: len(host.store.results) >= 300)
    assert {result.target for result in host.store.results} == {f"target-{i}" for i in range(50)}
    assert host.store.commits < len(host.store.results) / 5


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        ("sleep-5000", results_pb2.FAILURE_TIMEOUT),
        ("break", results_pb2.FAILURE_INTERNAL),
        ("lack", results_pb2.FAILURE_UNSUPPORTED),
    ],
)
async def test_what_goes_wrong_in_a_run_is_a_result(behaviour: str, failure: int) -> None:
    """A passed deadline, a defect and a lacking capability each give a failed result; the others go on."""
    async with running() as host:
        host.runner.assign([task("bad", behaviour, timeout_ms=50), task("good", "answer")])
        await host.until(lambda: {r.target for r in host.store.results} == {"target-bad", "target-good"})
    results = host.store.of("performance")
    assert {r.performance.failure for r in results if r.target == "target-bad"} == {failure}
    assert {r.performance.failure for r in results if r.target == "target-good"} == {results_pb2.FAILURE_NONE}


async def test_a_run_longer_than_its_interval_is_overlap() -> None:
    """The slots that pass while a run goes on are missed with that reason, and no second run starts."""
    async with running() as host:
        host.runner.assign([task("slow", "sleep-450", every_ms=100)])
        await host.until(lambda: len(host.store.of("performance")) >= 2)
    assert host.probe.most == 1
    missed = host.store.of("missed")
    assert {r.missed.reason for r in missed} == {results_pb2.MISS_REASON_OVERLAP}
    assert sum(r.missed.slots for r in missed) >= 6
    assert {(r.target, r.missed.task) for r in missed} == {("target-slow", "slow")}


async def test_the_cap_on_runs_holds_and_says_what_it_cost() -> None:
    """With room for two, never more than two run; slots without room within their interval are missed."""
    async with running(limit=2) as host:
        host.runner.assign([task(str(i), "sleep-80", every_ms=100) for i in range(8)])
        await host.until(lambda: len(host.store.of("missed")) >= 8 and len(host.store.of("performance")) >= 8)
    assert host.probe.most == 2
    reasons = {r.missed.reason for r in host.store.of("missed")}
    assert results_pb2.MISS_REASON_CAPACITY in reasons
    late = results_pb2.MISS_REASON_LATE  # where the machine itself was held up
    assert reasons <= {results_pb2.MISS_REASON_CAPACITY, results_pb2.MISS_REASON_OVERLAP, late}


async def test_an_exclusive_run_is_alone_and_displaces() -> None:
    """Nothing runs beside it, and what it keeps from running is displaced."""
    alone = control_pb2.TASK_CLASS_EXCLUSIVE
    async with running() as host:
        host.runner.assign([
            task("x", "sleep-300", every_ms=600, task_class=alone),
            *(task(str(i), "sleep-10", every_ms=100) for i in range(5)),
        ])  # fmt: skip
        await host.until(lambda: any(r.target == "target-x" for r in host.store.of("performance")))
    reasons = {r.missed.reason for r in host.store.of("missed")}
    assert results_pb2.MISS_REASON_DISPLACED in reasons


async def test_refused_tasks_are_named_and_never_run() -> None:
    """The policy's word and a kind that this agent does not know are reasons for a person; the rest runs."""
    async with running() as host:
        host.runner.assign([task("no", "forbidden"), control_pb2.Task(key="newer"), task("yes", "answer")])
        await host.until(lambda: len(host.store.results) >= 3)
    assert {refused.task for refused in host.runner.refusals.told} == {"no", "newer"}
    assert all(refused.reason for refused in host.runner.refusals.told)
    assert set(host.probe.starts) == {"yes"}


async def test_a_new_assignment_takes_effect_without_a_restart() -> None:
    """What is gone stops, what is new starts, what stays goes on."""
    async with running() as host:
        host.runner.assign([task("stays", "answer"), task("goes", "answer")])
        await host.until(lambda: {"stays", "goes"} <= set(host.probe.starts))
        host.runner.assign([task("stays", "answer"), task("comes", "answer")])
        host.probe.starts.clear()
        await host.until(lambda: {"stays", "comes"} <= set(host.probe.starts))
    assert "goes" not in host.probe.starts


async def test_results_of_an_unfit_vantage_say_so() -> None:
    """While the vantage is not ready, its results carry the flag; afterwards they do not."""
    async with running() as host:
        host.ready = False
        host.runner.assign([task("a", "answer")])
        await host.until(lambda: len(host.store.results) >= 2)
        assert all(r.performance.quality == Quality.NOT_READY for r in host.store.results)
        host.ready = True
        await host.until(lambda: host.store.results[-1].performance.quality == 0)


@pytest.mark.parametrize("step_s", [7200, -7200])
async def test_a_step_of_the_wall_clock_is_one_row_and_moves_no_slot(step_s: int) -> None:
    """Both ways: one row over the time skipped or told twice, runs across it flagged, none missed."""
    async with running() as host:
        host.runner.assign([task("a", "answer"), task("long", "sleep-300", every_ms=2000)])
        await host.until(lambda: host.probe.now["long"] == 1)
        before = len(host.probe.starts)
        host.step_ns = step_s * 1_000_000_000
        await host.until(lambda: any(r.target == "target-long" for r in host.store.results))
        await host.until(lambda: len(host.probe.starts) >= before + 4)
    (row,) = host.store.of("missed")
    assert (row.target, row.missed.task, row.missed.slots) == ("", "*", 0)
    assert row.missed.reason == results_pb2.MISS_REASON_CLOCK_STEP
    assert row.missed.until_us - row.measured_at_us == pytest.approx(7200e6, abs=1e5)
    (long,) = [r for r in host.store.results if r.target == "target-long"]
    assert long.performance.quality == Quality.CLOCK_STEPPED


async def test_waking_from_suspend_records_what_was_missed() -> None:
    """After an hour asleep one row a task counts its slots, and nothing is caught up in a burst."""
    async with running() as host:
        host.runner.assign([task("a", "answer", every_ms=10_000)])
        await asyncio.sleep(0)
        host.skip_ns = 3_605_000_000_000
        await host.until(lambda: bool(host.store.of("missed")))
    (row,) = host.store.of("missed")
    assert row.missed.reason == results_pb2.MISS_REASON_LATE
    assert 359 <= row.missed.slots <= 361
    assert (row.missed.until_us - row.measured_at_us) / 10e6 == pytest.approx(row.missed.slots - 1, abs=0.01)
    assert len(host.probe.starts) <= 1


async def test_stopping_lets_runs_end_and_cuts_the_rest() -> None:
    """A run that ends in time yields its result; one that is cut yields none."""
    async with running() as host:
        host.runner.assign([task("short", "sleep-200", 1000), task("endless", "sleep-60000", 1000, 60_000)])
        await host.until(lambda: host.runner.running == 2)
        started = time.monotonic()
        await host.runner.stop(0.5)
        assert time.monotonic() - started < 2
    assert {r.target for r in host.store.results} == {"target-short"}


async def test_five_thousand_tasks_cost_no_task_each() -> None:
    """A big assignment is one heap: nothing is scheduled with the event loop until it is due."""
    async with running() as host:
        started = time.monotonic()
        host.runner.assign([task(str(i), "answer", every_ms=3_600_000) for i in range(5000)])
        assert time.monotonic() - started < 5
        assert host.runner.tasks == 5000
        assert len(asyncio.all_tasks()) < 50
