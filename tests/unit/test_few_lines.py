"""Log lines of what may happen to every agent at once."""

import asyncio
import time

import structlog
from structlog.testing import LogCapture

from sonde_collector.few_lines import MOST, FewLines


async def test_a_storm_is_told_in_few_lines_that_count_all() -> None:
    """Of a thousand events in a second the first are told as they are, the others as one number."""
    heard = LogCapture()
    few = FewLines(structlog.wrap_logger(structlog.PrintLogger(), processors=[heard]))
    for number in range(1000):
        few.info("agent_connected", vantage=f"v{number}")
    few.info("assigned", vantage="v1")
    deadline = time.monotonic() + 5
    while not any("more" in line for line in heard.entries):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    lines = [line for line in heard.entries if line["event"] == "agent_connected"]
    told = [line for line in lines if "vantage" in line]
    assert told[0]["vantage"] == "v0"
    assert len(told) + sum(line["more"] for line in lines if "more" in line) == 1000
    assert len(lines) <= 3 * (MOST + 1)
    assert [line for line in heard.entries if line["event"] == "assigned"]
