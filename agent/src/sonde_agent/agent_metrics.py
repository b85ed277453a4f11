"""The figures of a running agent, for /metrics."""

from collections.abc import Iterator
from dataclasses import dataclass

from sonde_agent.metrics import Metric
from sonde_agent.readiness import Readiness
from sonde_agent.runner import Runner
from sonde_agent.spool import SpoolStats
from sonde_agent.uplink.client import UplinkState
from sonde_agent.uplink.clock_exchange import Offset
from sonde_proto.v1 import results_pb2

# From 0 on, so that the first one is an increase too.
_MISS_REASONS = [
    name.removeprefix("MISS_REASON_").lower()
    for name in results_pb2.MissReason.keys()  # noqa: SIM118 -- an enum's wrapper is no dict
    if name != "MISS_REASON_UNSPECIFIED"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the figures come from."""

    runner: Runner
    stats: SpoolStats
    uplink: UplinkState
    readiness: Readiness
    control_connected: bool
    started_us: int
    now_us: int
    offset: Offset | None
    certificate_until_us: int | None


def metrics_of(sources: Sources) -> Iterator[Metric]:
    """Give what is told at /metrics."""
    runner, stats, uplink = sources.runner, sources.stats, sources.uplink
    vitals = sources.readiness.vitals
    one = "Results of runs, by kind and outcome."
    yield Metric("results_total", one, [({"kind": k, "outcome": o}, n) for (k, o), n in runner.runs.items()])
    missed = [({"reason": reason}, runner.missed[reason]) for reason in _MISS_REASONS]
    yield Metric("missed_slots_total", "Slots that were not run, by reason.", missed)
    for name, text, value in (
        ("tasks", "Tasks scheduled.", runner.tasks),
        ("refused_tasks", "Tasks that policy or host do not allow.", len(runner.refusals.why)),
        ("running", "Runs under way.", runner.running),
        ("waiting", "Slots that wait for room.", runner.waiting),
        ("ready", "1 = fit to judge others.", sources.readiness.ready),
        ("paused", "1 = an operator has it measure nothing.", bool(runner.paused)),
        ("loop_lag_p99_seconds", "How late the event loop woke up.", vitals.lag_p99_ms / 1000),
        ("cpu_ratio", "CPU of this process and its children, of one core.", vitals.cpu_pct / 100),
        ("resident_memory_bytes", "Resident memory.", vitals.rss_mb * 1e6),
        ("spool_rows", "Results that wait for an ack.", stats.rows),
        ("spool_bytes", "Size of the spool, history included.", stats.bytes),
        ("spool_gaps", "Gaps that wait for an ack.", stats.gaps),
        ("spool_quarantined", "Results set aside for a person.", stats.quarantined),
        ("uplink_connected", "1 = the collector takes results.", uplink.connected),
        ("uplink_acks_total", "Acks that brought something new.", uplink.acks),
        ("control_connected", "1 = the collector answers.", sources.control_connected),
        ("start_time_seconds", "When this process started, UTC.", sources.started_us / 1e6),
    ):
        yield Metric(name, text, [({}, float(value))])
    if stats.oldest_us is not None:
        age_s = (sources.now_us - stats.oldest_us) / 1e6
        yield Metric("spool_oldest_seconds", "Age of the oldest result that waits.", [({}, age_s)])
    if (until_us := sources.certificate_until_us) is not None:
        text = "When our certificate ends, UTC; it is renewed when a third of its life is left."
        yield Metric("certificate_end_time_seconds", text, [({}, until_us / 1e6)])
    if (offset := sources.offset) is not None:
        yield Metric(
            "clock_offset_seconds", "The collector's clock minus ours.", [({}, offset.offset_us / 1e6)]
        )
