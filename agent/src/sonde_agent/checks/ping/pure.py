"""From the round-trip times of one run to its published figures. No socket, no clock.

Percentiles interpolate linearly between the two nearest ranks (rank 1 + p·(n-1), as PostgreSQL's
percentile_cont does), so the 50th is the usual median. Nothing measured is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of one run; times in ms.

    Attributes:
        sent: echoes handed to the kernel.
        received: distinct echoes answered in time.
        late: echoes answered after the waiting time; they count as lost.
        loss_pct: (sent - received) / sent x 100; None when nothing was sent. RFC 7680, RFC 6673.
        rtt_min: RTT as in RFC 2681, over replies in time.
        rtt_stddev: population standard deviation.
        ipdv_mean_abs: mean |RTT(i) - RTT(i-1)| over echoes with consecutive numbers that were both
            answered in time, never across a loss. RFC 3393 section 3.
        ipdv_pairs: how many such pairs.
        jitter_rfc3550: J += (|D| - J) / 16 from J = 0, D between successive replies in sending order,
            losses left out; None with fewer than two replies. RFC 3550 section 6.4.1.
        pdv_p95: 95th percentile of RTT - min. RFC 5481 section 4.2.
    """

    sent: int
    received: int
    late: int
    loss_pct: float | None
    rtt_min: float | None = None
    rtt_mean: float | None = None
    rtt_p50: float | None = None
    rtt_p95: float | None = None
    rtt_max: float | None = None
    rtt_stddev: float | None = None
    ipdv_mean_abs: float | None = None
    ipdv_pairs: int = 0
    jitter_rfc3550: float | None = None
    pdv_p95: float | None = None


def summarise(
    rtts_ns: Sequence[int | None],
    *,
    wait_ns: int,
    unsent: Collection[int] = (),
    untimed: Collection[int] = (),
) -> Summary:
    """The figures of a run. **Pure.**

    Args:
        rtts_ns: the RTT of each echo in sending order [ns]; None without a reply.
        wait_ns: a reply that took longer is late [ns].
        unsent: indices of echoes that our own kernel refused: neither sent nor lost.
        untimed: indices of echoes that were answered, but whose RTT can't be told: received, and in no
            figure of time.
    """
    in_time = [rtt if rtt is not None and rtt <= wait_ns else None for rtt in rtts_ns]
    late = sum(1 for rtt in rtts_ns if rtt is not None and rtt > wait_ns)
    times = [rtt / _NS_PER_MS for rtt in in_time if rtt is not None]
    sent = len(rtts_ns) - len(unsent)
    received = len(times) + len(untimed)
    loss = 100 * (sent - received) / sent if sent else None
    if not times:
        return Summary(sent=sent, received=received, late=late, loss_pct=loss)
    ranked = sorted(times)
    mean = math.fsum(times) / len(times)
    steps = [
        abs(later - earlier) / _NS_PER_MS
        for earlier, later in pairwise(in_time)
        if earlier is not None and later is not None
    ]
    p95 = percentile(ranked, 0.95)
    return Summary(
        sent=sent,
        received=received,
        late=late,
        loss_pct=loss,
        rtt_min=ranked[0],
        rtt_mean=mean,
        rtt_p50=percentile(ranked, 0.5),
        rtt_p95=p95,
        rtt_max=ranked[-1],
        rtt_stddev=math.sqrt(math.fsum((rtt - mean) ** 2 for rtt in times) / len(times)),
        ipdv_mean_abs=math.fsum(steps) / len(steps) if steps else None,
        ipdv_pairs=len(steps),
        jitter_rfc3550=_interarrival_jitter(times),
        pdv_p95=p95 - ranked[0],
    )


def percentile(ranked: Sequence[float], share: float) -> float:
    """The value at rank 1 + share·(n-1), interpolated linearly. **Pure.**

    Args:
        ranked: values in ascending order, at least one.
        share: [0..1].
    """
    rank = share * (len(ranked) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (ranked[above] - ranked[below]) * (rank - below)


def _interarrival_jitter(times: Sequence[float]) -> float | None:
    if len(times) < 2:  # noqa: PLR2004 -- a difference needs two
        return None
    jitter = 0.0
    for earlier, later in pairwise(times):
        jitter += (abs(later - earlier) - jitter) / 16
    return jitter
