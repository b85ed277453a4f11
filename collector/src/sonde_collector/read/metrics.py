"""/metrics: what this process counts, its connections, and how fresh each agent is."""

import asyncio
import time
from collections.abc import Iterator
from importlib.metadata import version

import psycopg
from prometheus_client import CollectorRegistry, Info
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from psycopg_pool import PoolTimeout

from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.read.status import SILENT_S

CONTENT_TYPE = CONTENT_TYPE_LATEST
MOST_AGENTS = 1000
"""Series with a `vantage` label are made for so many agents at most: the ones heard last."""
_KEPT_S = 5.0
_POOL = {
    "pool_size": ("sonde_pool_connections", "Connections in the pool"),
    "pool_available": ("sonde_pool_idle", "Connections that nobody uses now"),
    "requests_waiting": ("sonde_pool_waiting", "Requests that wait for a connection"),
}


class Metrics:
    """The registry of one collector, and its text.

    Attributes:
        registry: where other rooms register what they count.
    """

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        Info("sonde_collector", "This program", registry=self.registry).info(
            {"version": version("sonde-collector")}
        )
        self._fleet = _Fleet(database)
        self.registry.register(self._fleet)

    async def text(self) -> bytes:
        """Give all metrics in Prometheus' text format."""
        return await asyncio.to_thread(self._text)

    def _text(self) -> bytes:
        self._fleet.refresh()
        return generate_latest(self.registry)


class _Fleet(Collector):
    """Agents as the database knows them, read at most every few seconds; the pool as it is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read_at = float("-inf")
        self._agents: list[tuple[str, float, float, int, bool, bool]] = []
        self._counts = (0, 0, 0, 0)
        self._accounts: dict[str, int] = {}

    def refresh(self) -> None:
        """Read the database again if that is due; what can't be read now stays as it was."""
        if time.monotonic() - self._read_at < _KEPT_S:
            return
        self._read_at = time.monotonic()
        try:
            with self._database.pool.connection(timeout=1.0) as conn:
                self._agents = conn.execute(query("status_agents_brief"), (MOST_AGENTS,)).fetchall()
                counts = conn.execute(query("status_counts"), {"silent": SILENT_S}).fetchone()
                assert counts is not None
                self._counts = counts[0], counts[1], counts[2], counts[3]
                self._accounts = dict(conn.execute(query("credentials_counts")).fetchall())
        except (psycopg.Error, PoolTimeout):
            return

    def collect(self) -> Iterator[Metric]:
        """Give the families of this moment."""
        states = GaugeMetricFamily("sonde_agents", "Active vantages by state", labels=["state"])
        for state, count in zip(("live", "silent", "never_seen", "paused"), self._counts, strict=True):
            states.add_metric([state], count)
        yield states
        accounts = GaugeMetricFamily(
            "sonde_credentials", "Accounts at providers, by whether they are accepted", labels=["state"]
        )
        for state in ("ok", "refused"):
            accounts.add_metric([state], self._accounts.get(state, 0))
        yield accounts
        columns = (
            ("sonde_agent_last_seen_timestamp_seconds", "When an agent last spoke (newest 1000 agents)"),
            ("sonde_agent_lag_seconds", "Age of the oldest result that waits on the agent"),
            ("sonde_agent_spool_rows", "Results that wait on the agent"),
            ("sonde_agent_ready", "Whether the vantage calls itself fit to judge others"),
            ("sonde_agent_paused", "Whether an operator paused the vantage"),
        )
        for place, (name, text) in enumerate(columns, 1):
            family = GaugeMetricFamily(name, text, labels=["vantage"])
            for row in self._agents:
                family.add_metric([row[0]], float(row[place]))
            yield family
        stats = self._database.pool.get_stats()
        for key, (name, text) in _POOL.items():
            yield GaugeMetricFamily(name, text, value=stats.get(key, 0))
