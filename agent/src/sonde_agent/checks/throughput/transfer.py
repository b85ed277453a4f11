"""One direction over our own engine: its streams, its thread, and pings beside it."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sonde_agent.checks.endpoint.failures import End, classify
from sonde_agent.checks.throughput.errand import Failed, Job, Place
from sonde_agent.checks.throughput.http_streams import HttpStream
from sonde_agent.checks.throughput.loaded import LoadedPing
from sonde_agent.checks.throughput.progress import ProgressLine
from sonde_agent.checks.throughput.pure import Figures, Plan, at_cap, median, rates
from sonde_agent.net import resolve
from sonde_agent.net.bulk import Moved, Mover
from sonde_agent.net.bulk_gate import Gate
from sonde_agent.net.bulk_pipe import Pipe
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2 as pb

_PACING_ROOM = 1.1  # the kernel smooths what the gate allows: it must not be the tighter of the two
_MOST_PACING = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Where a direction goes, and by whom."""

    place: Place
    tls: ssl.SSLContext | None
    upload: bool
    stream: Callable[[Pipe, Gate], HttpStream]


async def transfer(errand: Errand, job: Job, used_bytes: int) -> Figures:
    """Measure one direction.

    Args:
        errand: what each connection does.
        job: how long, how much, how fast; its context pings while the path is loaded.
        used_bytes: what the run has cost already.

    Raises:
        Failed: no figures.
    """
    plan, word = job.plan, "upload" if errand.upload else "download"
    progress = ProgressLine(word, job.context.progress)
    gate = Gate(max(plan.bytes_for(upload=errand.upload, used=used_bytes), 1), plan.rate)
    pacing = int(plan.rate / plan.streams * _PACING_ROOM) if errand.upload else 0
    pipes = [
        Pipe(
            errand.place.address,
            errand.place.port,
            tls=errand.tls,
            name=errand.place.host,
            pacing=min(pacing, _MOST_PACING),
        )
        for _ in range(plan.streams)
    ]
    streams = [errand.stream(pipe, gate) for pipe in pipes]
    loop = asyncio.get_running_loop()
    loaded = LoadedPing(job.context, errand.place.address)

    def begin_pings() -> None:
        loop.call_soon_threadsafe(loaded.start)

    mover = Mover(
        streams,
        gate,
        ramp_s=plan.ramp_s,
        seconds=plan.seconds,
        upload=errand.upload,
        on_bin=progress.tell,
        on_measured=begin_pings,
    )
    work = asyncio.ensure_future(asyncio.to_thread(mover.run))
    try:
        moved = await asyncio.shield(work)
    finally:
        mover.cancel()
        await asyncio.wait([work])  # its sockets are closed when it has ended, within a bin's time
        pings_ms = await loaded.stop()
    used = sum(
        info.bytes_acked if errand.upload else info.bytes_received for pipe in pipes for info in pipe.closed
    )
    if moved.error is not None:
        index, error = moved.error
        raise Failed(_end(error, streams[index].stage, errand.place.address), used)
    figures = _figures(plan, moved, pipes, pings_ms)
    if figures is None:
        end = End(pb.FAILURE_TIMEOUT, pb.STAGE_TRANSFER, "nothing moved in the whole time that is measured")
        if moved.bounded:
            words = "too little moved to tell a rate: allow the run more bytes"
            end = End(pb.FAILURE_EXPECTATION, pb.STAGE_TRANSFER, words)
        raise Failed(end, used)
    return replace(
        figures,
        used_bytes=used,
        retransmits=sum(info.retransmits for pipe in pipes for info in pipe.closed)
        if errand.upload
        else None,
    )


def _end(error: Exception, stage: pb.Stage.ValueType, address: str) -> End:
    if isinstance(error, TimeoutError) and stage == pb.STAGE_TRANSFER:
        return End(pb.FAILURE_TIMEOUT, stage, "nothing moves any more")
    end = classify(error, stage)
    if end is None:
        raise error
    family = resolve.family_of(address)
    if end.failure == pb.FAILURE_UNREACHABLE and resolve.host_lacks(family):
        return End(pb.FAILURE_UNSUPPORTED, stage, f"this host has no IPv{family}")
    return end


def _figures(plan: Plan, moved: Moved, pipes: Sequence[Pipe], pings_ms: Sequence[float]) -> Figures | None:
    rate = rates(moved.samples, int(plan.ramp_s * 1e9))
    if rate is None:
        return None
    quality = Quality(0)
    if moved.bounded:
        quality |= Quality.BYTE_BOUND
    if moved.cpu_limited:
        quality |= Quality.CPU_LIMITED
    if at_cap(rate[0], plan):
        quality |= Quality.RATE_CAPPED
    infos = [info for pipe in pipes for info in pipe.closed]
    least = [info.min_rtt_us for info in infos if info.min_rtt_us is not None]
    by_tcp_ms = [rtt_us / 1000 for pipe in pipes for rtt_us in pipe.rtts_us]
    return Figures(
        mbps=rate[0],
        p50_mbps=rate[1],
        p90_mbps=rate[2],
        loaded_ms=median(pings_ms or by_tcp_ms),
        min_rtt_ms=min(least) / 1000 if least else None,
        streams=sum(1 for pipe in pipes if pipe.body),
        quality=quality,
    )
