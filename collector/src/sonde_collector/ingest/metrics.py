"""What ingestion counts for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sonde_collector.ingest.rules import Reason
from sonde_proto.v1 import ingest_pb2

GAP_REASONS = [
    name.removeprefix("GAP_REASON_").lower()
    for name in ingest_pb2.GapReason.keys()  # noqa: SIM118 -- an enum's wrapper is no dict
    if name != "GAP_REASON_UNSPECIFIED"
]


class IngestMetrics:
    """The metrics of one collector's ingestion.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows = Counter("sonde_ingest_rows", "Results committed as rows", registry=registry)
        self.batches = Counter(
            "sonde_ingest_batches", "Batches committed, replays included", registry=registry
        )
        self.trimmed = Counter(
            "sonde_ingest_trimmed_rows",
            "Results that were committed already when they came",
            registry=registry,
        )
        self.rejected = Counter(
            "sonde_ingest_rejected_rows", "Results set aside, by reason", ["reason"], registry=registry
        )
        self.gaps = Counter(
            "sonde_ingest_gap_results",
            "Results that agents declared lost, by reason",
            ["reason"],
            registry=registry,
        )
        # From 0 on, so that the first one is an increase too.
        for reason in Reason:
            if reason is not Reason.ACCEPTED:
                self.rejected.labels(reason.name.lower())
        for name in GAP_REASONS:
            self.gaps.labels(name)
        self.refused = Counter(
            "sonde_ingest_refused", "Connections ended by us, by gRPC status", ["status"], registry=registry
        )
        for status in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            self.refused.labels(status)
        self.retries = Counter("sonde_ingest_retries", "Writes that were tried again", registry=registry)
        self.queue_rows = Gauge("sonde_ingest_queue_rows", "Results waiting for a writer", registry=registry)
        self.queue_bytes = Gauge(
            "sonde_ingest_queue_bytes", "Batches in memory, waiting or being written", registry=registry
        )
        self.queue_limit = Gauge(
            "sonde_ingest_queue_limit_bytes", "Of these at most; then agents wait", registry=registry
        )
        self.connections = Gauge("sonde_ingest_connections", "Live connections of agents", registry=registry)
        self.commit_seconds = Histogram(
            "sonde_ingest_commit_seconds", "One write, from cut to committed", registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )  # fmt: skip
