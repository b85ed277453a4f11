"""The engine SPEEDTEST: speedtest-cli, where somebody installed it. It measures by file lists, not by time.

It chooses servers and addresses itself, so that the policy can judge the name of a Mini server only; and it
asks speedtest.net for its settings first, whichever server is measured.
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path

from sonde_agent.checks.endpoint.failures import End, scrub
from sonde_agent.checks.endpoint.pure import parse_url
from sonde_agent.checks.throughput.errand import Failed, Job, Place, found, ours
from sonde_agent.checks.throughput.loaded import LoadedPing
from sonde_agent.checks.throughput.program import Ended, run_bounded
from sonde_agent.checks.throughput.pure import Figures, median
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2 as pb

PROGRAM = "speedtest-cli"
HOME = "https://www.speedtest.net/"
_RAMP_S = 1.0


async def place_of(job: Job, *, upload: bool) -> Place:
    """The Mini server's address, or speedtest.net's where none is named; see `errand.found`."""
    del upload  # one server for both
    try:
        url = parse_url(job.spec.url or HOME)
    except ValueError as error:
        raise ours(str(error)) from None
    return await found(url.host, url.port, job)


async def measure(job: Job, place: Place, used_bytes: int, *, upload: bool) -> Figures:
    """Measure one direction; see `check.Engine`. It tells nothing until its end."""
    beside = Path(sys.executable).with_name(PROGRAM)  # the extra `speedtest` puts it into our own environment
    argv = [PROGRAM if shutil.which(PROGRAM) else str(beside), "--json", "--secure"]
    argv += ["--no-download" if upload else "--no-upload"]
    argv += ["--mini", job.spec.url] if job.spec.url else []
    argv += ["--single"] if job.plan.streams == 1 else []
    loaded = LoadedPing(job.context, place.address)
    start = asyncio.get_running_loop().call_later(_RAMP_S, loaded.start if job.spec.url else lambda: None)
    try:
        ended = await run_bounded(
            argv,
            "install the extra sonde-agent[speedtest], or the package speedtest-cli",
            job.plan.bytes_for(upload=upload, used=used_bytes),
        )
    finally:
        start.cancel()
        pings_ms = await loaded.stop()
    return parse(ended, median(pings_ms), upload=upload)


def parse(ended: Ended, loaded_ms: float | None, *, upload: bool) -> Figures:
    """What its JSON says. **Pure.**

    Raises:
        Failed: it gave no figure.
    """
    if ended.bounded:
        words = "speedtest-cli used up the bytes of the run before its end: it gives no figure then"
        raise Failed(End(pb.FAILURE_EXPECTATION, pb.STAGE_TRANSFER, words))
    try:
        said = json.loads(ended.output)
        mbps = float(said["upload" if upload else "download"]) / 1e6
        used = int(said["bytes_sent" if upload else "bytes_received"])
    except (ValueError, KeyError, TypeError):
        words = scrub(ended.complaint.rpartition("ERROR: ")[2]) or "it says nothing that is known"
        raise Failed(End(pb.FAILURE_PROTOCOL, pb.STAGE_HANDSHAKE, f"speedtest-cli: {words}")) from None
    return Figures(mbps=mbps, used_bytes=used, loaded_ms=loaded_ms, quality=Quality(0))
