"""The process whose CPU the ping benchmark counts: pings through the agent's engine, prints what it saw.

A file of its own, which imports no more than an agent that pings would: the start counts too.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

from sonde_agent.net.icmp import Echoes, Engines

STEP_S = 0.02
"""Runs begin in steps, as the agent's one timer begins them: a timer for each would be our own cost."""


def targets(count: int) -> list[str]:
    """Addresses that the far namespace answers for."""
    return [f"10.99.{1 + i // 250}.{1 + i % 250}" for i in range(count)]


def steps(addresses: list[str], spacing_s: float) -> Iterator[list[str]]:
    """The addresses in groups that begin STEP_S apart, all within one spacing."""
    number = max(round(spacing_s / STEP_S), 1)
    for step in range(number):
        yield addresses[len(addresses) * step // number : len(addresses) * (step + 1) // number]


async def measure(count: int, each: int, spacing_s: float) -> None:
    """Ping `count` targets `each` times; print the account as JSON."""
    engines = Engines()
    engine = engines.engine(4)
    wall, cpu = time.monotonic(), time.process_time()
    runs: list[asyncio.Task[Echoes]] = []
    for step, addresses in enumerate(steps(targets(count), spacing_s)):
        await asyncio.sleep(wall + step * STEP_S - time.monotonic())
        runs += [
            asyncio.create_task(engine.ping(address, count=each, spacing_s=spacing_s, wait_s=1))
            for address in addresses
        ]
    done = [await run for run in runs]
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    rows = {run.address: run.rtts_ns() for run in done}
    account = {
        "cpu_s": cpu,
        "wall_s": wall,
        "sent": sum(len(run.tx_ns) - len(run.send_errors) for run in done),
        "received": sum(len(row) - row.count(None) for row in rows.values()),
        "user_stamped": sum(len(run.user_stamped) for run in done),
        "dropped": max(run.dropped for run in done),
        "rtts_us": {a: [None if r is None else r / 1000 for r in row] for a, row in rows.items()}
        if count * each <= 10_000
        else {},
    }
    print(json.dumps(account))
    engines.close()


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
