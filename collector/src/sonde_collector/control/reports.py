"""What agents say of themselves, into `sonde.agents`: once a second, only the newest word of each."""

import asyncio
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_proto.v1 import control_pb2

EVERY_S = 1.0  # bounds the writes: however often agents speak, one row each and second
_TEXT = 2000  # characters kept of a free text
_LISTED = 1000  # refused tasks kept
_BIGINT = 2**63 - 1
_log = structlog.get_logger()


class Reports:
    """Collects states and writes them.

    Args:
        database: where to.
        collector: which one hears them.
    """

    def __init__(self, database: Database, collector: str = "") -> None:
        self._database = database
        self._collector = collector
        self._pending: dict[int, dict[str, Any]] = {}
        self._failing = False

    def take(self, probe_id: int, state: control_pb2.AgentState, received_us: int) -> None:
        """Remember what an agent said, to be written soon."""
        self._pending[probe_id] = _row(probe_id, state, received_us) | {"collector": self._collector}

    async def run(self) -> None:
        """Write what is new, for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what is new; what can't be written now is kept unless a newer word comes."""
        rows, self._pending = self._pending, {}
        if not rows:
            return
        try:
            await asyncio.to_thread(self._write, list(rows.values()))
            self._failing = False
        except (psycopg.Error, OSError) as error:
            self._pending = rows | self._pending
            if not self._failing:
                _log.warning("reports_unwritten", error=str(error).splitlines()[0], advice="retrying")
            self._failing = True

    def _write(self, rows: list[dict[str, Any]]) -> None:
        # In one order, so that two collectors that write the same agents can't deadlock.
        rows.sort(key=lambda row: row["probe_id"])
        with self._database.pool.connection() as conn, conn.cursor() as cursor:
            cursor.executemany(query("control_report"), rows)


def _row(probe_id: int, state: control_pb2.AgentState, received_us: int) -> dict[str, Any]:
    """Give an agent's word as a row: foreign numbers, bounded to what the columns hold. **Pure**."""
    oldest = state.spool_oldest_us if state.HasField("spool_oldest_us") else None
    return {
        "probe_id": probe_id,
        "instance": state.instance[:16],
        "version": _text(state.agent_version),
        "revision": min(state.revision, _BIGINT),
        "started_s": _moment(state.started_at_us),
        "seen_s": received_us / 1e6,
        "clock_offset_ms": state.clock_offset_us / 1000 if state.HasField("clock_offset_us") else None,
        "ready": state.ready,
        "reason": _text(state.reason),
        "spool_rows": min(state.spool_rows, _BIGINT),
        "spool_bytes": min(state.spool_bytes, _BIGINT),
        "oldest_s": None if oldest is None else _moment(oldest),
        "last_error": _text(state.last_error),
        "capabilities": [_text(word) for word in state.capabilities[:100]],
        "refused": Jsonb(
            [{"task": _text(r.task), "reason": _text(r.reason)} for r in state.refused[:_LISTED]]
        ),
    }


def _moment(us: int) -> float:
    """Give seconds since 1970 that PostgreSQL can show: the years 1970 to 9999."""
    return min(max(us / 1e6, 0.0), 253_402_300_799.0)


def _text(text: str) -> str:
    return text.replace("\0", "")[:_TEXT]
