"""Rows of the tunnels' figures, from runs: medians, and in words what is in them."""

import os
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from tunnels_runs import ECHOES, SPACING_MS, Case, Pinged


def row(name: str, unit: str, values: Sequence[float], note: str, **others: Any) -> dict[str, Any]:
    """Give a row of a median over runs; `others` replaces parts of it."""
    return {
        "value": round(median(values), 3),
        "unit": unit,
        "reference": None,
        "ratio": None,
        "samples": len(values),
        "spread": {"min": round(min(values), 3), "max": round(max(values), 3)},
        "command": f"make bench ONLY={name}",
        "note": f"{note} Median of {len(values)} runs, load average {os.getloadavg()[0]:.1f}.",
    } | others


def timings(case: Case, runs: list[Pinged]) -> dict[str, dict[str, Any]]:
    """Give the rows of a protocol that come of opening it and pinging through it."""

    def middle(of: Callable[[Pinged], float]) -> float:
        return median([of(run) for run in runs])

    line, far = middle(lambda run: run.line_ms), middle(lambda run: run.handshake_far_ms)
    rounds = sorted({run.rounds for run in runs})
    notes: dict[str, tuple[str, Callable[[Pinged], float], str]] = {
        "setup_ms": (
            "ms",
            lambda run: run.own_setup_ms,
            (
                f"our own work: from the request to a box in which checks run, without the connection's "
                f"{middle(lambda run: run.connection_ms):.1f} ms; the whole is "
                f"{middle(lambda run: run.setup_ms):.1f} ms."
            ),
        ),
        "teardown_ms": (
            "ms",
            lambda run: run.teardown_ms,
            "from the end of the last check until nothing of the tunnel is left, its goodbye included.",
        ),
        "rtt_excess_us": (
            "us",
            lambda run: run.rtt_excess_us,
            (
                f"median of {ECHOES} echoes, {SPACING_MS} ms apart, to the gateway, less the median that the "
                f"line recorded of the same packets ({line:.3f} ms). Of it the record gives the server's end "
                f"{middle(lambda run: run.far_ms) * 1000:.0f} us; without that and as much for ours, which "
                f"does the same work, {middle(lambda run: run.rtt_excess_us - run.ends_us):.0f} us are left."
            ),
        ),
        "handshake_excess_ms": (
            "ms",
            lambda run: run.handshake_excess_ms(case),
            (
                f"connection time less {case.rounds} x the recorded round trip of {line:.3f} ms; round trips "
                f"that the line saw: {' or '.join(map(str, rounds))}. Of it the server's end took {far:.1f} "
                f"ms, and configuring this host, after the last answer, "
                f"{middle(lambda run: run.connection_ms - run.remote_ms):.1f} ms."
            ),
        ),
    }
    found = {}
    for what, (unit, figure, note) in notes.items():
        name = f"tunnel_{what}_{case.name}"
        found[name] = row(name, unit, [figure(run) for run in runs], note)
    return found


def memory(runs: dict[Case, list[Pinged]]) -> dict[str, Any]:
    """Give the row of memory: the protocol that needs most, and each in the spread."""
    medians = {case.name: median([run.private_mb for run in each]) for case, each in runs.items()}
    shared = {case.name: median([run.shared_mb for run in each]) for case, each in runs.items()}
    most = max(runs, key=lambda case: medians[case.name])
    return row(
        "tunnel_memory_mb",
        "MB",
        [run.private_mb for run in runs[most]],
        f"{most.name}, the largest; private memory (smaps_rollup) of all processes of one tunnel while it "
        "pings: keeper, first process, checks, backend. With their part of what is shared (PSS): "
        f"{', '.join(f'{name} {value:.1f}' for name, value in shared.items())} MB.",
        spread={name: round(value, 1) for name, value in medians.items()},
    )
