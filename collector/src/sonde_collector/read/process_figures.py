"""What concerns this collector and its host alone, for /metrics: readiness, certificates, the disk."""

import datetime as dt
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sonde_collector.config import CollectorConfig


class ProcessFigures(Collector):
    """Looks at files and the disk at each scrape.

    Args:
        config: of this collector.

    Attributes:
        checks: the last answer of /readyz: check -> None when well, else why not.
    """

    def __init__(self, config: CollectorConfig) -> None:
        self.checks: Mapping[str, str | None] = {}
        self._state_dir = config.state_dir
        self._certificates: Mapping[
            str, tuple[Path | None, Callable[[Sequence[dt.datetime]], dt.datetime]]
        ] = {
            # A file of ours begins with our own; of a file of authorities the last to end counts.
            "agents": (config.grpc.tls_cert, _first),
            "http": (config.http.tls_cert, _first),
            "client_ca": (config.grpc.client_ca, max),
            "authority": (config.enroll.ca_cert, _first),
        }

    def collect(self) -> Iterator[Metric]:
        """Give the families of this moment."""
        ready = bool(self.checks) and not any(self.checks.values())
        yield GaugeMetricFamily(
            "sonde_collector_ready", "Whether this collector can do its work, as /readyz says", float(ready)
        )
        checks = GaugeMetricFamily(
            "sonde_collector_check_ok", "The parts of it that could be looked at", labels=["check"]
        )
        for name, why in self.checks.items():
            checks.add_metric([name], float(why is None))
        yield checks
        yield self._expiries()
        yield from self._disk()

    def _expiries(self) -> Metric:
        family = GaugeMetricFamily(
            "sonde_collector_certificate_expiry_timestamp_seconds",
            "When a certificate of this collector's files ends",
            labels=["use"],
        )
        for use, (path, which) in self._certificates.items():
            if path is None:
                continue
            try:
                ends = [
                    each.not_valid_after_utc for each in x509.load_pem_x509_certificates(path.read_bytes())
                ]
            except (OSError, ValueError):
                continue  # whoever uses it says so
            family.add_metric([use], which(ends).timestamp())
        return family

    def _disk(self) -> Iterator[Metric]:
        # It is made when something is put there.
        place = next(each for each in (self._state_dir, *self._state_dir.parents) if each.exists())
        usage = shutil.disk_usage(place)
        yield GaugeMetricFamily(
            "sonde_collector_disk_free_bytes", "Free on the disk of state_dir", float(usage.free)
        )
        yield GaugeMetricFamily("sonde_collector_disk_size_bytes", "Size of that disk", float(usage.total))


def _first(ends: Sequence[dt.datetime]) -> dt.datetime:
    return ends[0]
