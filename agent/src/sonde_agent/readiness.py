"""Is this vantage fit to judge others? Its own clock, event loop and CPU, judged once a second.

A vantage that is not ready measures on and says so: its results carry NOT_READY. Once a minute its state is a
result of its own, so that a reader can tell a bad target from a bad vantage.
"""

import asyncio
import resource
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sonde_agent.clock import Clock
from sonde_agent.uplink.clock_exchange import Offset
from sonde_proto.v1 import results_pb2

BEAT_S = 0.1
_JUDGE_EVERY = 10  # beats: once a second
_HEALTH_EVERY = 600  # beats: once a minute
_WINDOW = 600  # beats that the lag's percentile is taken over: one minute

MOST_OFFSET_US = 1_000_000
"""Beyond this the rows of two vantages can't be compared minute by minute, and hour buckets go wrong."""
MOST_LAG_MS = 100.0
"""p99 of the loop's lateness; the kernel takes the stamps, so this bounds schedules, not RTTs."""
MOST_CPU_PCT = 95.0
"""Of one core: the event loop is one thread."""

_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Vitals:
    """This process, over the last minute.

    Attributes:
        lag_p99_ms: how late the event loop woke up.
        cpu_pct: CPU of this process and its ended children, percent of one core.
        rss_mb: resident memory, 10^6 bytes.
    """

    lag_p99_ms: float
    cpu_pct: float
    rss_mb: float


def judge(vitals: Vitals, clock: Offset | None) -> str:
    """Say why a vantage is not fit to judge others; "" = it is. Pure.

    The clock counts against it only when it is off beyond its own error, and not while nobody has said.
    """
    reasons = []
    if clock is not None and abs(clock.offset_us) - clock.error_us > MOST_OFFSET_US:
        reasons.append(f"clock is {abs(clock.offset_us) / 1e6:.1f} s off the collector's")
    if vitals.lag_p99_ms > MOST_LAG_MS:
        reasons.append(f"event loop lags {vitals.lag_p99_ms:.0f} ms")
    if vitals.cpu_pct > MOST_CPU_PCT:
        reasons.append(f"CPU at {vitals.cpu_pct:.0f} % of a core")
    return "; ".join(reasons)


def percentile(values: list[float], share: float) -> float:
    """Give the smallest value that `share` of all are not above; 0 for none. Pure."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, -(-round(len(ordered) * share * 1000) // 1000) - 1)]


class Readiness:
    """The heartbeat of the agent, and its verdict.

    Args:
        clock: for BOOTTIME and UTC.
        offset: the last exchange with the collector; None = none yet.
        on_health: given a health result once a minute; adds what waits in the spool.
        on_beat: called with every judgement: the watchdog.

    Attributes:
        reason: why the vantage is not ready; "" = it is.
        vitals: of the last judgement.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        offset: Callable[[], Offset | None],
        on_health: Callable[[results_pb2.Result], None],
        on_beat: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._offset = offset
        self._on_health = on_health
        self._on_beat = on_beat
        self._lags: deque[float] = deque(maxlen=_WINDOW)
        self._cpu: deque[tuple[int, float]] = deque(
            [(clock.boot_ns(), _cpu_s())], maxlen=_WINDOW // _JUDGE_EVERY
        )
        self.reason = ""
        self.vitals = Vitals(0.0, 0.0, _rss_mb())

    @property
    def ready(self) -> bool:
        """Whether this vantage is fit to judge others."""
        return not self.reason

    async def run(self) -> None:
        """Beat until cancelled."""
        loop = asyncio.get_running_loop()
        beats = 0
        while True:
            before = loop.time()
            await asyncio.sleep(BEAT_S)
            self._lags.append(max(0.0, (loop.time() - before - BEAT_S) * 1000))
            beats += 1
            if beats % _JUDGE_EVERY == 0:
                self._look()
                self._on_beat()
            if beats % _HEALTH_EVERY == 0:
                self._on_health(self.health())

    def health(self) -> results_pb2.Result:
        """Give the state of the vantage as a result."""
        result = results_pb2.Result(measured_at_us=self._clock.wall_us())
        health = result.health
        health.ready = self.ready
        if self.reason:
            health.reason = self.reason
        if (offset := self._offset()) is not None:
            health.clock_offset_ms = offset.offset_us / 1000
            health.clock_error_ms = offset.error_us / 1000
        health.loop_lag_p99_ms = self.vitals.lag_p99_ms
        health.cpu_pct = self.vitals.cpu_pct
        health.rss_mb = self.vitals.rss_mb
        return result

    def _look(self) -> None:
        then_ns, then_s = self._cpu[0]
        now_ns, now_s = self._clock.boot_ns(), _cpu_s()
        self._cpu.append((now_ns, now_s))
        self.vitals = Vitals(
            lag_p99_ms=percentile(list(self._lags), 0.99),
            cpu_pct=100 * (now_s - then_s) / max((now_ns - then_ns) / 1e9, BEAT_S),
            rss_mb=_rss_mb(),
        )
        self.reason = judge(self.vitals, self._offset())


def _cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _rss_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6
