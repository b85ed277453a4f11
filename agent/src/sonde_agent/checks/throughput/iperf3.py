"""The engine IPERF3: the program itself, one process a direction."""

import asyncio
import math
from dataclasses import replace

from sonde_agent.checks.endpoint.pure import parse_host_port
from sonde_agent.checks.throughput import iperf3_report
from sonde_agent.checks.throughput.errand import Failed, Job, Place, found, ours
from sonde_agent.checks.throughput.loaded import LoadedPing
from sonde_agent.checks.throughput.program import run_bounded
from sonde_agent.checks.throughput.pure import Figures, Plan, at_cap, median
from sonde_proto.quality import Quality

PORT = 5201
_CONNECT_MS = 10_000
_BIN_S = 0.25


async def place_of(job: Job, *, upload: bool) -> Place:
    """Where the server is; see `errand.found`."""
    del upload  # one server for both
    try:
        host, port = parse_host_port(job.spec.server, PORT)
    except ValueError as error:
        raise ours(str(error)) from None
    return await found(host, port, job)


async def measure(job: Job, place: Place, used_bytes: int, *, upload: bool) -> Figures:
    """Measure one direction; see `check.Engine`. iperf3 tells nothing until its end."""
    loaded = LoadedPing(job.context, place.address)
    start = asyncio.get_running_loop().call_later(math.ceil(job.plan.ramp_s), loaded.start)
    most = job.plan.bytes_for(upload=upload, used=used_bytes)
    argv = arguments(job.plan, place, upload=upload)
    try:
        ended = await run_bounded(argv, "install the package iperf3", most)
    finally:
        start.cancel()
        pings_ms = await loaded.stop()
    report = iperf3_report.parse(ended.output, upload=upload, bounded=ended.bounded)
    if report.end is not None:
        raise Failed(report.end, report.used_bytes)
    figures = report.figures
    assert figures is not None
    quality = figures.quality
    if ended.bounded:
        quality |= Quality.BYTE_BOUND
    if at_cap(figures.mbps, job.plan):
        quality |= Quality.RATE_CAPPED
    return replace(figures, loaded_ms=median(pings_ms), quality=quality)


def arguments(plan: Plan, place: Place, *, upload: bool) -> list[str]:
    """The command that measures one direction. **Pure.**"""
    argv = ["iperf3", "--json", "--interval", str(_BIN_S), "--connect-timeout", str(_CONNECT_MS)]
    argv += ["--client", place.address, "--port", str(place.port), "--parallel", str(plan.streams)]
    argv += ["--time", str(math.ceil(plan.seconds)), "--omit", str(math.ceil(plan.ramp_s))]
    if plan.rate:
        argv += ["--bitrate", str(int(plan.rate * 8 / plan.streams))]
    return argv if upload else [*argv, "--reverse"]
