"""What ingestion counts for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


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
        self.refused = Counter(
            "sonde_ingest_refused", "Connections ended by us, by gRPC status", ["status"], registry=registry
        )
        self.retries = Counter("sonde_ingest_retries", "Writes that were tried again", registry=registry)
        self.queue_rows = Gauge("sonde_ingest_queue_rows", "Results waiting for a writer", registry=registry)
        self.queue_bytes = Gauge(
            "sonde_ingest_queue_bytes", "Batches in memory, waiting or being written", registry=registry
        )
        self.connections = Gauge("sonde_ingest_connections", "Live connections of agents", registry=registry)
        self.commit_seconds = Histogram(
            "sonde_ingest_commit_seconds", "One write, from cut to committed", registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )  # fmt: skip
