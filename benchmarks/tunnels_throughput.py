#!/usr/bin/env python3
"""Throughput through each protocol's tunnel in the lab, as a share of what the server's shaper lets through.

A round opens a tunnel of each protocol in turn, downloads and uploads in it, and closes it. Both ends of it,
the delay lines and the origin share this machine: so no two run at once.

usage: python benchmarks/tunnels_throughput.py [--only tunnel_throughput_share_ikev2,...] [--rounds 7]
"""

import json
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from tunnels_lab import ROOT, Vantages, arguments, lab_with_helpers, rounds_in_time
from tunnels_rows import row
from tunnels_runs import CASES, Case, check, rows

from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2

sys.path.insert(0, str(ROOT / "tests"))

from support.vantage import WAYS, Vantage, opened

ROWS = (
    "tunnel_throughput_share_ikev2",
    "tunnel_throughput_share_openvpn_tcp",
    "tunnel_throughput_share_openvpn_udp",
    "tunnel_throughput_share_wireguard_go",
)
NAME = "tunnel_throughput_share_"
RAMP_MS, SECONDS = 350, 1  # for each direction; the ramp is 17 round trips or more


@dataclass(frozen=True)
class Moved:
    """A transfer through a tunnel.

    Attributes:
        down, up: payload [Mbit/s].
        cpu_limited: this machine was the limit, and said so.
    """

    down: float
    up: float
    cpu_limited: bool


def moved(vantage: Vantage, case: Case, url: str, upload_url: str) -> Moved:
    """Download and upload through a tunnel, one after the other."""
    spec = control_pb2.ThroughputSpec(
        url=url, upload_url=upload_url, download=True, upload=True, seconds=SECONDS, ramp_ms=RAMP_MS
    )
    task = control_pb2.Task(key="bulk", target="bench", timeout_ms=30_000, throughput=spec)
    told = vantage.ask(opened(WAYS[case.protocol], task, backend=case.backend))
    check(case, told)
    [figures] = rows(told)
    return Moved(figures.download_mbps, figures.upload_mbps, bool(figures.quality & Quality.CPU_LIMITED))


def share(case: Case, runs: list[Moved], rate: float) -> dict[str, Any]:
    """Give the row of a protocol's transfers: of the two directions' medians the one further from 1."""
    ways = {"down": [run.down / rate for run in runs], "up": [run.up / rate for run in runs]}
    worse = max(ways, key=lambda way: abs(median(ways[way]) - 1))
    limited = sum(run.cpu_limited for run in runs)
    return row(
        f"{NAME}{case.name}",
        "of the payload rate",
        ways[worse],
        f"{worse}, the direction further from 1, of {rate:g} Mbit/s of payload that the shaper lets through; "
        f"medians: {', '.join(f'{way} {median(ways[way]) * rate:.2f} Mbit/s' for way in ways)}; {SECONDS} s "
        f"after {RAMP_MS} ms, 4 streams, alone; runs that say the processor was their "
        f"limit: {limited}.",
        reference=1,
        ratio=round(median(ways[worse]), 3),
        spread={way: [round(of(each), 3) for of in (min, median, max)] for way, each in ways.items()},
    )


def measured(at: Vantages, cases: list[Case], rounds: int) -> dict[str, dict[str, Any]]:
    """Measure some protocols."""
    truth = next(iter(at.values())).lab.truth(time.time())
    rates = {server["key"]: server["payload_mbps"] for server in truth["servers"]}
    urls = (truth["origin"]["bytes_url"], truth["origin"]["upload_url"])
    runs: dict[Case, list[Moved]] = {case: [] for case in cases}
    for _ in rounds_in_time(rounds):
        for case in cases:
            runs[case].append(moved(at[case.vantage], case, *urls))
    return {f"{NAME}{case.name}": share(case, each, rates[case.server]) for case, each in runs.items()}


def main() -> None:
    """Measure and print the rows."""
    wanted, rounds = arguments(str(__doc__), ROWS)
    with lab_with_helpers() as at:
        found = measured(at, [case for case in CASES if f"{NAME}{case.name}" in wanted], rounds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
