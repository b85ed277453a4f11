"""What limits held up, told in PostgreSQL and once in the log; and whose quota of a day is spent."""

import asyncio
import time
from collections.abc import Mapping

import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter

from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.limits.vantages import Vantages
from sonde_proto.units import format_size

EVERY_S = 5.0
LIMITS = ("rows", "bytes", "calls", "streams", "new_streams", "rejected", "leases", "lease_time")
_QUIET_S = 600.0  # a limit that was not met for so long is told again
_log = structlog.get_logger()


class LimitsKept:
    """Remembers who met which limit until it is written.

    Args:
        database: where to.
        vantages: the accounts of this collector.
        registry: where the metric goes; it names limits, not vantages, of which there may be thousands.
    """

    def __init__(self, database: Database, vantages: Vantages, registry: CollectorRegistry) -> None:
        self._database = database
        self._vantages = vantages
        self._met: dict[tuple[str, str], str] = {}
        self._told: dict[tuple[str, str], float] = {}
        self._failing = False
        self._counter = Counter(
            "sonde_limits_met",
            "Times that a vantage was slowed down or refused, by limit",
            ["limit"],
            registry=registry,
        )
        for limit in LIMITS:
            self._counter.labels(limit)
        vantages.met = self._meet

    async def run(self) -> None:
        """Write and read for ever."""
        while True:
            met, self._met = self._met, {}
            try:
                spent = await asyncio.to_thread(self._exchange, met)
            except (psycopg.Error, DatabaseError, OSError) as error:
                self._met = met | self._met
                if not self._failing:
                    _log.warning("limits_unwritten", error=str(error).splitlines()[0], advice="retrying")
                self._failing = True
            else:
                self._failing = False
                for vantage, words in spent.items():
                    if vantage not in self._vantages.spent:
                        self._meet(vantage, "rejected", words)
                self._vantages.learn(spent)
            await asyncio.sleep(EVERY_S)

    def _meet(self, vantage: str, limit: str, words: str) -> None:
        self._counter.labels(limit).inc()
        now = time.monotonic()
        before = self._told.get((vantage, limit))
        self._told[vantage, limit] = now
        if before is None or now - before > _QUIET_S:
            _log.warning("limit_met", vantage=vantage, limit=limit, reason=words)
        self._met[vantage, limit] = words

    def _exchange(self, met: Mapping[tuple[str, str], str]) -> Mapping[str, str]:
        most = self._vantages.limits.rejected
        with self._database.pool.connection() as conn, conn.transaction():
            if met:
                conn.execute(
                    query("limits_met"),
                    {
                        "vantages": [vantage for vantage, _ in met],
                        "limits": [limit for _, limit in met],
                        "details": list(met.values()),
                    },
                )
            conn.execute(query("limits_forget"))
            rows = conn.execute(query("limits_rejected"), {"most": most}).fetchall()
        return {
            vantage: f"{format_size(size)} of {vantage}'s results were set aside today, and "
            f"{format_size(most)} may be ([limits] rejected): nothing is taken until 00:00 UTC; "
            "`sonde-collector status` tells why"
            for vantage, size in rows
        }
