"""What the database knows of the fleet, for /metrics: the same figures in every collector that reads it."""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from attrs import frozen
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.read.status import SILENT_S, covered_until

MOST_VANTAGES = 1000
"""Series with a `vantage` label are made for so many at most: those whose agents were heard last."""
_KEPT_S = 5.0
_OLD_S = 30.0  # figures of a database that can't be read any more are worse than none
_POOL = {
    "pool_size": ("sonde_pool_connections", "Connections in the pool"),
    "pool_available": ("sonde_pool_idle", "Connections that nobody uses now"),
    "requests_waiting": ("sonde_pool_waiting", "Requests that wait for a connection"),
}
_VANTAGES = (
    ("last_seen", "sonde_vantage_last_seen_timestamp_seconds", "When its agent last spoke"),
    ("lag_s", "sonde_vantage_lag_seconds", "Age of the oldest result that waits on its agent"),
    ("spool_rows", "sonde_vantage_spool_rows", "Results that wait on its agent"),
    ("spool_bytes", "sonde_vantage_spool_bytes", "Size of its agent's spool, as it said"),
    ("ready", "sonde_vantage_ready", "Whether it calls itself fit to judge others"),
    ("paused", "sonde_vantage_paused", "Whether an operator paused it"),
    ("clock_offset_s", "sonde_vantage_clock_offset_seconds", "The collector's clock minus its own"),
    (
        "certificate_expiry",
        "sonde_vantage_certificate_expiry_timestamp_seconds",
        "When the newest certificate that was issued to it ends",
    ),
)
_TROUBLES = (
    "agent_certificate", "agent_clock", "agent_limited", "agent_revoked", "agent_silent", "agent_spool",
    "archive_failed", "certificate_expiring", "credential_refused", "disk_low", "health", "notify_failed",
    "origin_failover", "provider_held", "results_rejected", "rule_stale",
)  # fmt: skip
_OBJECTS = ("server", "target", "origin_group")
_STATES = ("HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN")


@frozen
class _Read:
    """What one look at the database gave."""

    at: float
    vantages: Sequence[Mapping[str, Any]]
    counts: Mapping[str, Any]
    accounts: Mapping[str, int]
    troubles: Mapping[str, int]
    health: Mapping[tuple[str, str], int]
    partitions: Mapping[str, dt.datetime]
    backup: dt.datetime | None


class FleetFigures(Collector):
    """Reads the database every few seconds at most, and tells of nothing once it can't for half a minute."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked_at = float("-inf")
        self._up = False
        self._read: _Read | None = None

    def refresh(self) -> None:
        """Read the database again if that is due."""
        now = time.monotonic()
        if now - self._asked_at < _KEPT_S:
            return
        self._asked_at = now
        try:
            with self._database.pool.connection(timeout=1.0) as conn:
                self._read = _look(conn, now)
            self._up = True
        except (psycopg.Error, PoolTimeout):
            self._up = False
            if self._read is not None and now - self._read.at > _OLD_S:
                self._read = None

    def collect(self) -> Iterator[Metric]:
        """Give the families of this moment."""
        yield GaugeMetricFamily(
            "sonde_database_up",
            "Whether the fleet's figures could be read from the database",
            float(self._up),
        )
        stats = self._database.pool.get_stats()
        for key, (name, text) in _POOL.items():
            yield GaugeMetricFamily(name, text, value=stats.get(key, 0))
        if self._read is not None:
            yield from _fleet(self._read)
            yield from _vantages(self._read.vantages)


def _look(conn: psycopg.Connection, now: float) -> _Read:
    with conn.cursor(row_factory=dict_row) as cursor:
        vantages = cursor.execute(query("metrics_vantages"), (MOST_VANTAGES,)).fetchall()
        counts = cursor.execute(query("status_counts"), {"silent": SILENT_S}).fetchone()
        backup = cursor.execute(query("keeping_last")).fetchone()
    assert counts is not None
    return _Read(
        at=now,
        vantages=vantages,
        counts=counts,
        accounts=dict(conn.execute(query("credentials_counts")).fetchall()),
        troubles=dict(conn.execute(query("metrics_troubles")).fetchall()),
        health={(row[0], row[1]): row[2] for row in conn.execute(query("metrics_health"))},
        partitions=covered_until(conn, dt.datetime.now(dt.UTC)),
        backup=backup["made_at"] if backup else None,
    )


def _fleet(read: _Read) -> Iterator[Metric]:
    states = GaugeMetricFamily("sonde_agents", "Active vantages by state", labels=["state"])
    for state in ("live", "silent", "never_seen", "paused"):
        states.add_metric([state], read.counts[state])
    yield states
    accounts = GaugeMetricFamily(
        "sonde_credentials", "Accounts at providers, by whether they are accepted", labels=["state"]
    )
    for state in ("ok", "refused"):
        accounts.add_metric([state], read.accounts.get(state, 0))
    yield accounts
    troubles = GaugeMetricFamily(
        "sonde_troubles", "Events that began and did not end, by the kind of their topic", labels=["kind"]
    )
    for kind, count in (dict.fromkeys(_TROUBLES, 0) | dict(read.troubles)).items():
        troubles.add_metric([kind], count)
    yield troubles
    health = GaugeMetricFamily(
        "sonde_health_objects", "What is watched, by its state", labels=["object", "state"]
    )
    for kind in _OBJECTS:
        for state in _STATES:
            health.add_metric([kind, state.lower()], read.health.get((kind, state), 0))
    yield health
    partitions = GaugeMetricFamily(
        "sonde_partitions_until_timestamp_seconds",
        "Until when a table takes rows without a gap, from now on",
        labels=["table"],
    )
    for table, until in read.partitions.items():
        partitions.add_metric([table], until.timestamp())
    yield partitions
    if read.backup is not None:
        yield GaugeMetricFamily(
            "sonde_backup_made_timestamp_seconds",
            "When the newest backup was made that this database knows",
            read.backup.timestamp(),
        )


def _vantages(rows: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    for column, name, text in _VANTAGES:
        family = GaugeMetricFamily(name, f"{text} (newest {MOST_VANTAGES} vantages)", labels=["vantage"])
        for row in rows:
            if row[column] is not None:
                family.add_metric([row["vantage"]], float(row[column]))
        yield family
    info = InfoMetricFamily("sonde_vantage", "What its agent says of itself", labels=["vantage"])
    for row in rows:
        info.add_metric([row["vantage"]], {"version": row["version"]})
    yield info
