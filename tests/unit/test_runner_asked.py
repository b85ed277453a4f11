"""The runner when a person asks for runs now, or has it measure nothing."""

import time
from typing import Any

from support.runner_host import Host, running, task

from sonde_agent.on_demand import LEAST_NS
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2, results_pb2

RARELY_MS = 3_600_000


def request(*tasks: str, number: int = 1, left_ms: int = 60_000) -> control_pb2.RunRequest:
    """A request for some tasks of revision 1."""
    return control_pb2.RunRequest(id=bytes([number]) * 16, revision=1, left_ms=left_ms, tasks=tasks)


def answers(host: Host) -> dict[str, Any]:
    """The answers, by task."""
    return {one.task: one for one in host.runner.on_demand.answers()}


async def test_a_run_on_demand_is_answered_when_its_result_is_kept() -> None:
    """It runs at once, flagged; the answer names the seq that the store gave it; no slot was missed by it."""
    async with running() as host:
        host.runner.assign([task("a", "answer", RARELY_MS), task("b", "break", RARELY_MS)])
        host.runner.ask([request("a", "b")], 1)
        await host.until(lambda: len(answers(host)) == 2)
    assert answers(host)["a"].outcome == control_pb2.RUN_OUTCOME_DONE
    assert (answers(host)["b"].outcome, answers(host)["b"].detail) == (
        control_pb2.RUN_OUTCOME_FAILED,
        "internal",
    )
    results = host.store.of("performance")
    assert {answers(host)[key].seq for key in "ab"} <= set(range(1, len(host.store.results) + 1))
    assert all(result.performance.quality & Quality.ON_DEMAND for result in results)
    assert host.store.of("missed") == []


async def test_a_slot_due_meanwhile_is_overlap_and_runs_by_schedule_bear_no_flag() -> None:
    """The schedule goes on beside it; what it could not begin is recorded as with any other run."""
    async with running() as host:
        host.runner.assign([task("a", "sleep-250", every_ms=600)])
        await host.until(lambda: bool(host.store.of("performance")))
        host.runner.ask([request("a")], 1)
        await host.until(lambda: bool(answers(host)) and len(host.store.of("performance")) >= 4)
    flagged = [bool(r.performance.quality & Quality.ON_DEMAND) for r in host.store.of("performance")]
    assert flagged.count(True) == 1
    assert host.probe.most == 1
    assert {r.missed.reason for r in host.store.of("missed")} <= {
        results_pb2.MISS_REASON_OVERLAP,
        results_pb2.MISS_REASON_LATE,
    }


async def test_no_room_until_the_end_is_capacity() -> None:
    """What found no room by the end of its request is answered so, and never runs."""
    async with running(limit=1) as host:
        host.runner.assign(
            [task("slow", "sleep-3000", RARELY_MS, timeout_ms=5000), task("a", "answer", RARELY_MS)]
        )
        host.runner.ask([request("slow", left_ms=60_000)], 1)
        await host.until(lambda: host.runner.running == 1)
        host.runner.ask([request("a", number=2, left_ms=200)], 1)
        await host.until(lambda: "a" in answers(host))
        assert answers(host)["a"].reason == results_pb2.MISS_REASON_CAPACITY
    assert host.probe.starts == ["slow"]


async def test_the_same_task_is_not_run_again_at_once() -> None:
    """Within ten seconds it is too soon, for whoever asks; after that it runs."""
    async with running() as host:
        host.runner.assign([task("a", "answer", RARELY_MS)])
        host.runner.ask([request("a")], 1)
        await host.until(lambda: bool(answers(host)))
        host.runner.ask([request("a", number=2)], 1)
        assert answers(host)["a"].reason == results_pb2.MISS_REASON_TOO_SOON
        host.skip_ns += LEAST_NS
        host.runner.ask([request("a", number=3)], 1)
        await host.until(lambda: bool(answers(host)))
        assert answers(host)["a"].outcome == control_pb2.RUN_OUTCOME_DONE
    assert host.probe.starts == ["a", "a"]


async def test_what_is_assigned_anew_before_it_begins_is_not_run() -> None:
    """A changed task is answered gone; one that stays as it was is run although the revision is another."""
    async with running(limit=1) as host:
        first = [task(key, "sleep-300", RARELY_MS) for key in ("slow", "same", "other")]
        host.runner.assign(first)
        host.runner.ask([request("slow", "same", "other")], 1)
        await host.until(lambda: host.probe.starts == ["slow"])
        host.runner.assign([*first[:2], task("other", "answer", RARELY_MS)])
        await host.until(lambda: len(answers(host)) == 3)
    assert answers(host)["other"].outcome == control_pb2.RUN_OUTCOME_GONE
    assert host.probe.starts == ["slow", "same"]


async def test_a_pause_holds_all_back_in_one_row() -> None:
    """Nothing starts, a request is told why; when it is over one row counts the slots that passed."""
    async with running() as host:
        tasks = [task(str(i), "answer") for i in range(10)]
        host.runner.assign(tasks)
        await host.until(lambda: len(host.store.of("performance")) >= 10)
        end_us = time.time_ns() // 1000 + 1_200_000
        host.runner.assign(tasks, control_pb2.Pause(until_us=end_us, reason="moving"))
        await host.until(lambda: host.runner.running == 0)
        started = len(host.probe.starts)
        host.runner.ask([request("1")], 1)
        assert answers(host)["1"].reason == results_pb2.MISS_REASON_PAUSED
        assert host.runner.paused == "moving"
        await host.until(lambda: time.time_ns() // 1000 > end_us - 200_000)
        assert len(host.probe.starts) == started
        await host.until(lambda: len(host.probe.starts) > started)
        await host.until(lambda: bool(host.store.of("missed")))
    (row,) = [r for r in host.store.of("missed") if r.missed.reason == results_pb2.MISS_REASON_PAUSED]
    assert row.missed.task == "*"
    assert 50 <= row.missed.slots <= 150
    assert 500_000 <= row.missed.until_us - row.measured_at_us <= 1_400_000
