"""/metrics/targets: the last known value of every server and target from every vantage, for Prometheus.

One series is one name with one set of labels; a metric that was not measured, or too long ago, has none. Past
the cap series are left out from the end of an order that does not change, and how many is itself a metric.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from sonde_collector.read import unlock
from sonde_collector.read.api.parameters import Number, Parameter, Text
from sonde_collector.read.api.reader import Connection
from sonde_collector.read.lookup import Row, like, rows

TEXT = CONTENT_TYPE_LATEST
_DAY_S = 86_400
PARAMETERS = (
    Parameter("server", Text(), "Only these servers: a key, * and ? stand for any letters and one"),
    Parameter("target", Text(), "Only these targets"),
    Parameter("vantage", Text(), "Only from these vantages"),
    Parameter("max_age_s", Number(1, 366 * _DAY_S), "Leave out what was measured longer ago", _DAY_S),
)


@attrs.frozen
class Group:
    """Metrics that one query gives, a row to each set of labels.

    Attributes:
        rows: the query.
        total: the query that counts its series.
        labels: columns that are labels.
        metrics: column -> (name, help).
        info: name, help, and the columns that are labels of it alone; its value is 1.
    """

    rows: str
    total: str
    labels: Sequence[str]
    metrics: Mapping[str, tuple[str, str]]
    info: tuple[str, str, Sequence[str]] | None = None


_HEALTH = "Judged from all vantages: 2 healthy, 1 degraded, 0 unhealthy, -1 unknown"
SERVERS = Group(
    "api_metrics_servers",
    "api_metrics_servers_total",
    ("server", "provider", "country", "vantage", "protocol", "family"),
    {
        "up": ("sonde_server_up", "Whether the last connection succeeded"),
        "rtt_seconds": ("sonde_server_rtt_seconds", "Median RTT of the last run"),
        "loss_ratio": ("sonde_server_loss_ratio", "Lost of sent packets of the last run"),
        "download_bits_per_second": ("sonde_server_download_bits_per_second", "Of the last throughput run"),
        "upload_bits_per_second": ("sonde_server_upload_bits_per_second", "Of the last throughput run"),
        "connection_seconds": ("sonde_server_connection_seconds", "Time to connect, of the last success"),
        "age_seconds": ("sonde_server_age_seconds", "Since the last run was measured"),
    },
)
TARGETS = Group(
    "api_metrics_targets",
    "api_metrics_targets_total",
    ("target", "kind", "vantage"),
    {
        "up": ("sonde_target_up", "Whether the last check went well"),
        "connect_seconds": ("sonde_target_connect_seconds", "TCP connect of the last check"),
        "first_byte_seconds": ("sonde_target_first_byte_seconds", "First byte of the last check"),
        "total_seconds": ("sonde_target_total_seconds", "All of the last check"),
        "status_code": ("sonde_target_status_code", "HTTP status of the last check"),
        "certificate_expiry_timestamp_seconds": (
            "sonde_target_certificate_expiry_timestamp_seconds",
            "When the certificate ends",
        ),
        "age_seconds": ("sonde_target_age_seconds", "Since the last check was measured"),
    },
)
UNLOCKS = Group(
    "unlock_matrix",
    "unlock_matrix_total",
    ("server", "provider", "country", "platform", "protocol", "family"),
    {
        "_open": ("sonde_unlock_open", "Whether the last check found the platform open, where it could tell"),
        "age_s": ("sonde_unlock_age_seconds", "Since the last check was made"),
    },
    (
        "sonde_unlock_info",
        "What the last check says",
        ("verdict", "region", "via", "vantage", "rule_version"),
    ),
)


def exposition(conn: Connection, values: Mapping[str, Any], most: int) -> bytes:
    """Give the text of all series that `values` ask for, `most` at most."""
    registry = CollectorRegistry()
    registry.register(_Series(conn, values, most))
    with conn.transaction():
        return generate_latest(registry)


def _label(value: Any) -> str:
    return "" if value is None else str(value)


class _Series(Collector):
    """What one scrape gives. Who names servers alone wants no targets, and the other way round."""

    def __init__(self, conn: Connection, values: Mapping[str, Any], most: int) -> None:
        self._conn = conn
        self._asked = {name: like(values[name]) for name in ("server", "target", "vantage")}
        self._asked["max_age_s"] = values["max_age_s"]
        self._left = most
        both = (values["server"] is None) == (values["target"] is None)
        self._wants = {"server": both or values["server"] is not None}
        self._wants["target"] = both or values["target"] is not None

    def describe(self) -> list[Metric]:
        """Give none: names are known once the database was asked."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give the families: health first, as it is fewest and most."""
        total = kept = 0
        for families, all_of_them in self._parts():
            total += all_of_them
            for family in families:
                kept += len(family.samples)
                yield family
        yield GaugeMetricFamily("sonde_targets_series_total", "Series that were asked for", total)
        yield GaugeMetricFamily(
            "sonde_targets_series_dropped", "Of these left out, past [api] metrics_series", total - kept
        )

    def _parts(self) -> Iterator[tuple[list[Metric], int]]:
        wanted = [kind for kind, is_wanted in self._wants.items() if is_wanted]
        for kind in wanted:
            yield self._health(kind)
        for kind in wanted:
            yield self._group(SERVERS if kind == "server" else TARGETS)
        if self._wants["server"]:
            yield self._group(UNLOCKS)

    def _health(self, kind: str) -> tuple[list[Metric], int]:
        asked = {"object": kind, "key": self._asked[kind], "limit": self._left}
        family = GaugeMetricFamily(f"sonde_{kind}_health", _HEALTH, labels=[kind])
        for row in rows(self._conn, "api_metrics_health", asked):
            family.add_metric([row["key"]], row["health"])
        self._left -= len(family.samples)
        return [family], self._total("api_metrics_health_total", asked)

    def _group(self, group: Group) -> tuple[list[Metric], int]:
        families = {
            column: GaugeMetricFamily(name, about, labels=group.labels)
            for column, (name, about) in group.metrics.items()
        }
        asked = {**unlock.ALL, **self._asked, "limit": self._left}
        found = rows(self._conn, group.rows, asked)
        for row in found:
            labels = [_label(row[label]) for label in group.labels]
            for column, family in families.items():
                if row[column] is not None and self._left > 0:
                    family.add_metric(labels, float(row[column]))
                    self._left -= 1
        infos = [] if group.info is None else [self._info(group.labels, *group.info, found)]
        return [*families.values(), *infos], self._total(group.total, asked)

    def _info(
        self, labels: Sequence[str], name: str, about: str, more: Sequence[str], found: Sequence[Row]
    ) -> Metric:
        info = GaugeMetricFamily(name, about, labels=(*labels, *more))
        for row in found[: max(self._left, 0)]:
            info.add_metric([_label(row[label]) for label in (*labels, *more)], 1.0)
        self._left -= len(info.samples)
        return info

    def _total(self, name: str, asked: Mapping[str, Any]) -> int:
        ((count,),) = (row.values() for row in rows(self._conn, name, dict(asked)))
        return int(count)
