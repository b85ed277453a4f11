"""/metrics: what this process counts, and what the database knows of the fleet.

What the database knows is the same in every collector; alert rules take one of them (`max by`), never a sum.
"""

import asyncio
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Info, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from sonde_collector.db.pool import Database
from sonde_collector.read.fleet_figures import FleetFigures

CONTENT_TYPE = CONTENT_TYPE_LATEST


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
        ProcessCollector(registry=self.registry)
        self._fleet = FleetFigures(database)
        self.registry.register(self._fleet)

    async def text(self) -> bytes:
        """Give all metrics in Prometheus' text format."""
        return await asyncio.to_thread(self._text)

    def _text(self) -> bytes:
        self._fleet.refresh()
        return generate_latest(self.registry)
