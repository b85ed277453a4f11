"""Ten thousand agents with mTLS at one collector: its memory, a reconnect storm, and two restarts.

A real collector on a real PostgreSQL, with an authority of its own; 10 000 vantages with a plan each, applied
by `sonde-collector apply`. Each agent holds a Watch and a Stream, speaks every half minute, sends a batch a
minute and waits for its ack; how it comes again is the agent's own code (collector_10k_agents.py).

They start within LAUNCH_S, deliver for a while, lose all their connections at one moment; the collector stops
in order and starts again; it is killed and starts again. In the end every result is in the table once.

usage: python benchmarks/collector_10k.py [--only NAME,...] [--agents N] [--steady S]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collector_10k_agents import LAUNCH_S
from collector_10k_house import STOOD_S, House

STOP_WITHIN_S = 90.0  # TimeoutStopSec of the unit

ROWS = (
    "collector_10k_rss_mb",
    "collector_10k_steady_cores",
    "collector_10k_ack_p99_ms",
    "collector_10k_start_s",
    "collector_10k_storm_s",
    "collector_10k_restart_s",
)


def p99(values: Sequence[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[98]


def row(value: float, unit: str, note: str, *, samples: int = 1, spread: str | None = None) -> dict[str, Any]:
    """One row of results."""
    return {
        "value": round(value, 2),
        "unit": unit,
        "reference": None,
        "ratio": None,
        "samples": samples,
        "spread": spread,
        "command": "make bench ONLY=collector_10k_rss_mb",
        "note": note,
    }


def measure(folder: Path, agents: int, steady_s: float) -> dict[str, dict[str, Any]]:
    """Runs all of it."""
    with House(folder, agents) as house:
        empty_mb = house.process.rss_mb()
        happened = house.since()
        house.launch()
        start = house.all_back("start", happened)
        steady = house.steady(steady_s)
        steady_mb, cores = house.process.rss_mb(), steady.cpu_s / steady_s
        house.answers()
        happened = house.since()
        house.tell("cut")
        storm = house.all_back("storm", happened)
        restart = house.all_back("restart", house.ended(lambda: house.program.stop(STOP_WITHIN_S)))
        killed = house.all_back("kill -9", house.ended(house.program.kill))
        rows = house.rows_once()
        peak_mb = house.peak_mb
    load = f"load average {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores with load and PostgreSQL on them"
    each_kb = (steady_mb - empty_mb) * 1e3 / agents
    spread = (
        f"empty {empty_mb:.0f}, steady {steady_mb:.0f}, start {start.rss_mb:.0f}, storm {storm.rss_mb:.0f}, "
        f"restart {restart.rss_mb:.0f}, kill -9 {killed.rss_mb:.0f}"
    )
    memory = f"peak of the collector's process through all of it; steady {each_kb:.0f} kB an agent; "
    back = f"until all are there that lost the collector after {STOOD_S:.0f} s of work: "
    return {
        "collector_10k_rss_mb": row(
            peak_mb,
            "MB",
            f"{memory}{rows} results, each once; {'; '.join(house.notes)}; {load}",
            spread=spread,
        ),
        "collector_10k_steady_cores": row(
            cores, "cores", f"{agents} agents, {len(steady.ack_ms)} batches in {steady_s:.0f} s; {load}"
        ),
        "collector_10k_ack_p99_ms": row(
            p99(steady.ack_ms),
            "ms",
            f"from a batch's write to its ack, as its agent sees it; {load}",
            samples=len(steady.ack_ms),
            spread=f"p50 {statistics.median(steady.ack_ms):.0f}, max {max(steady.ack_ms):.0f}",
        ),
        "collector_10k_start_s": row(
            start.back_s, "s", f"started over {LAUNCH_S:.0f} s, {start.told(agents)}; {load}"
        ),
        "collector_10k_storm_s": row(storm.back_s, "s", f"{back}{storm.told(agents)}; {load}"),
        "collector_10k_restart_s": row(
            max(restart.back_s, killed.back_s),
            "s",
            f"{back}stopped in order, {restart.told(agents)}; killed, {killed.told(agents)}; {load}",
            samples=2,
            spread=f"stopped {restart.back_s:.1f}, killed {killed.back_s:.1f}",
        ),
    }


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--steady", type=float, default=65.0, metavar="S")
    args = parser.parse_args()
    only = args.only.split(",")
    with tempfile.TemporaryDirectory(prefix="sonde-bench-") as name:
        found = measure(Path(name), args.agents, args.steady)
    print(json.dumps({name: row for name, row in found.items() if name in only}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
