"""Is this vantage fit to judge others?"""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.clock import Clock
from sonde_agent.readiness import Readiness, Vitals, judge, percentile
from sonde_agent.uplink.clock_exchange import Offset
from sonde_proto.v1 import results_pb2

FIT = Vitals(lag_p99_ms=1, cpu_pct=5, rss_mb=40)


@pytest.mark.parametrize(
    ("vitals", "offset", "reason"),
    [
        (FIT, None, ""),
        (FIT, Offset(900_000, 1000), ""),
        (FIT, Offset(-1_500_000, 600_000), ""),
        (FIT, Offset(-1_500_000, 1000), "clock is 1.5 s off the collector's"),
        (Vitals(250, 5, 40), None, "event loop lags 250 ms"),
        (Vitals(1, 99, 40), None, "CPU at 99 % of a core"),
        (Vitals(250, 99, 40), None, "event loop lags 250 ms; CPU at 99 % of a core"),
    ],
)
def test_each_reason_is_told(vitals: Vitals, offset: Offset | None, reason: str) -> None:
    """A clock counts only beyond its own error; every reason is said."""
    assert judge(vitals, offset) == reason


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_the_percentile_is_a_value_that_99_in_100_do_not_exceed(values: list[float]) -> None:
    """By its definition, counted."""
    found = percentile(values, 0.99)
    assert found in values
    assert sum(value <= found for value in values) >= 0.99 * len(values)
    assert sum(value < found for value in values) < 0.99 * len(values)


async def test_a_blocked_loop_is_noticed() -> None:
    """A loop held for half a second makes the vantage unready; each judgement feeds the watchdog."""
    beats: list[str] = []
    readiness = Readiness(
        Clock(),
        offset=lambda: Offset(2000, 500),
        on_health=lambda _: None,
        on_beat=lambda: beats.append("beat"),
    )
    beating = asyncio.create_task(readiness.run())
    await asyncio.sleep(0.05)
    time.sleep(0.5)  # noqa: ASYNC251 -- this is the fault
    async with asyncio.timeout(10):
        while not beats:  # noqa: ASYNC110 -- the beat is the event
            await asyncio.sleep(0.01)
    assert not readiness.ready
    assert "event loop lags" in readiness.reason
    health = readiness.health()
    assert health.WhichOneof("payload") == "health"
    assert (health.target, health.health.ready, health.health.reason) == ("", False, readiness.reason)
    assert (health.health.clock_offset_ms, health.health.clock_error_ms) == (2.0, 0.5)
    assert health.health.rss_mb > 5
    beating.cancel()


def test_what_is_not_known_of_the_clock_is_left_out() -> None:
    """Before the first exchange a health row has no offset; it is not zero."""
    readiness = Readiness(Clock(), offset=lambda: None, on_health=lambda _: None, on_beat=lambda: None)
    health: results_pb2.Health = readiness.health().health
    assert not health.HasField("clock_offset_ms")
    assert not health.HasField("reason")
    assert health.ready
