"""From a throughput task to its plan, and from what moved to its published figures. No socket, no clock.

Mbit/s count the payload: the bytes of HTTP bodies, without the heads of HTTP, TLS, TCP, IP and Ethernet. A
line of 100 Mbit/s at the Ethernet gives 95.6 at most (1448 of 1514 bytes a packet).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from sonde_agent.checks.ping.pure import percentile
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_NS_PER_US = 1000
_LEAST_BIN_NS = 125_000_000
"""A shorter rest of a bin would spread the percentiles more than the path does."""

_AT_THE_CAP = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a task asks for, with every default put in.

    Attributes:
        rate: payload bytes a second, at most, all streams together; 0 = no cap.
        max_bytes: of the whole run, both directions.
    """

    engine: pb.Engine.ValueType
    download: bool
    upload: bool
    seconds: float
    ramp_s: float
    streams: int
    max_bytes: int
    rate: float

    def bytes_for(self, *, upload: bool, used: int) -> int:
        """How many bytes a direction may move after `used` were: a download leaves half to its upload."""
        if self.upload and self.download and not upload:
            return self.max_bytes // 2
        return self.max_bytes - used


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One direction, measured.

    Attributes:
        mbps: mean after the ramp [10^6 bit/s of payload].
        p50_mbps: median of the bins after the ramp; None where no whole bin is.
        p90_mbps: their 90th percentile.
        used_bytes: what it cost, ramp included.
        loaded_ms: median round-trip time meanwhile.
        min_rtt_ms: the least that TCP saw.
        retransmits: segments of ours; None in a download.
        streams: connections that moved bytes.
        quality: what to know of it.
    """

    mbps: float
    p50_mbps: float | None = None
    p90_mbps: float | None = None
    used_bytes: int = 0
    loaded_ms: float | None = None
    min_rtt_ms: float | None = None
    retransmits: int | None = None
    streams: int = 0
    quality: Quality = field(default=Quality(0))


def plan_of(spec: control_pb2.ThroughputSpec) -> Plan:
    """The plan that a spec means; what it leaves out has the defaults of control.proto. **Pure.**"""
    engine = spec.engine or pb.ENGINE_HTTP
    both = not (spec.download or spec.upload)  # neither is asked for: what there is a URL for
    download, upload = spec.download or both, spec.upload or both
    if engine == pb.ENGINE_HTTP:
        download, upload = download and bool(spec.url), upload and bool(spec.upload_url)
    return Plan(
        engine=engine,
        download=download,
        upload=upload,
        seconds=float(spec.seconds or 8),
        ramp_s=(spec.ramp_ms or 1500) / 1000,
        streams=1 if engine == pb.ENGINE_NDT7 else spec.streams or 4,
        max_bytes=spec.max_bytes or 1_000_000_000,
        rate=spec.rate_cap_mbps * 1e6 / 8,
    )


def rates(
    samples: Sequence[tuple[int, int]], ramp_ns: int
) -> tuple[float, float | None, float | None] | None:
    """Mean, median and 90th percentile [Mbit/s] of what moved after the ramp. **Pure.**

    Args:
        samples: moment [ns] and payload bytes moved until then, in order, the first at the first byte.
        ramp_ns: what to leave out from the first on; where the run ended within it, nothing is left out.

    Returns:
        None where nothing can be told: fewer than two moments, or no bytes.
    """
    if not samples:
        return None
    begin = samples[0][0] + ramp_ns
    kept = [sample for sample in samples if sample[0] >= begin]
    if len(kept) < 2 or kept[-1][0] - kept[0][0] < _LEAST_BIN_NS:  # noqa: PLR2004 -- a rate needs two moments
        kept = list(samples)
    length_ns, moved = kept[-1][0] - kept[0][0], kept[-1][1] - kept[0][1]
    if length_ns <= 0 or moved <= 0:
        return None
    bins = sorted(
        _mbps(end[1] - start[1], end[0] - start[0])
        for start, end in pairwise(kept)
        if end[0] - start[0] >= _LEAST_BIN_NS
    )
    if not bins:
        return _mbps(moved, length_ns), None, None
    return _mbps(moved, length_ns), percentile(bins, 0.5), percentile(bins, 0.9)


def _mbps(size: int, ns: int) -> float:
    return size * 8 * _NS_PER_US / ns


def at_cap(mbps: float, plan: Plan) -> bool:
    """Whether a direction was held at the plan's rate cap, so that its figure is a lower bound. **Pure.**"""
    return bool(plan.rate) and mbps * 1e6 / 8 >= _AT_THE_CAP * plan.rate


def median(values: Sequence[float]) -> float | None:
    """The median; None of nothing. **Pure.**"""
    return percentile(sorted(values), 0.5) if values else None


def performance_of(plan: Plan, down: Figures | None, up: Figures | None) -> pb.Performance:
    """The row of what was measured. **Pure.**"""
    row = pb.Performance(engine=plan.engine)
    measured = [figures for figures in (down, up) if figures is not None]
    if down is not None:
        row.download_mbps, row.down_bytes = down.mbps, down.used_bytes
        _put(row, "download_p50_mbps", down.p50_mbps)
        _put(row, "download_p90_mbps", down.p90_mbps)
    if up is not None:
        row.upload_mbps, row.up_bytes = up.mbps, up.used_bytes
        _put(row, "upload_p50_mbps", up.p50_mbps)
        _put(row, "upload_p90_mbps", up.p90_mbps)
        _put(row, "retransmits", up.retransmits)
    _put(row, "streams", max((figures.streams for figures in measured), default=None))
    loaded = [figures.loaded_ms for figures in measured if figures.loaded_ms is not None]
    _put(row, "loaded_ping_ms", max(loaded, default=None))
    least = [figures.min_rtt_ms for figures in measured if figures.min_rtt_ms is not None]
    _put(row, "tcp_min_rtt_ms", min(least, default=None))
    quality = Quality(0)
    for figures in measured:
        quality |= figures.quality
    if quality:
        row.quality = int(quality)
    return row


def _put(row: pb.Performance, name: str, value: float | None) -> None:
    if value is not None:
        setattr(row, name, value)
