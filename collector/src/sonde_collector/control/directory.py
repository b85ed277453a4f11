"""Which vantages there are and at which revision their tasks stand, as the database says, kept fresh.

A NOTIFY tells of a change at once; a read every few seconds finds what a lost connection missed. Any number
of collectors on one database hear the same.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

import attrs
import psycopg
import structlog

from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_proto.v1 import control_pb2

POLL_S = 5.0
_log = structlog.get_logger()


@attrs.frozen
class Entry:
    """One vantage."""

    probe_id: int
    revision: int


class Directory:
    """The vantages, and an event for each of those who watch one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: Mapping[str, Entry] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._reading = asyncio.Lock()
        self._begun = self._read_whole = 0  # reads, counted; the last that succeeded
        self.database_id = b""

    async def find(self, code: str) -> Entry | None:
        """Give the vantage; one that is not known yet is looked for once more in the database."""
        if code not in self._entries:
            await self.refresh()
        return self._entries.get(code)

    def known(self, code: str) -> Entry | None:
        """Give the vantage as last read."""
        return self._entries.get(code)

    @contextlib.contextmanager
    def watching(self, code: str) -> Iterator[asyncio.Event]:
        """Give an event that is set when the vantage's tasks change."""
        event = asyncio.Event()
        events = self._watchers.setdefault(code, set())
        events.add(event)
        try:
            yield event
        finally:
            events.discard(event)
            if not events:
                self._watchers.pop(code, None)

    def wake(self, code: str) -> None:
        """Set the events of those who watch one vantage."""
        for event in self._watchers.get(code, ()):
            event.set()

    def wake_all(self) -> None:
        """Set every event: the collector stops."""
        for code in self._watchers:
            self.wake(code)

    async def assignment(self, entry: Entry) -> control_pb2.Assignment:
        """Read the tasks of a vantage as they are now."""
        row = await asyncio.to_thread(self._read_assignment, entry.probe_id)
        assignment = control_pb2.Assignment()
        if row is not None:
            revision, body, paused, until_s, reason = row
            assignment.ParseFromString(bytes(body))
            assignment.revision = revision
            if paused:
                assignment.pause.until_us = round(until_s * 1e6)
                assignment.pause.reason = reason
        assignment.database_id = self.database_id
        return assignment

    async def overtake(self, code: str, entry: Entry, revision: int) -> Entry:
        """Number the tasks of a vantage above a revision that its agent has of this very database.

        The database was restored and is behind the agent, which would ignore all that it is told. One read
        anew, or numbered so by another collector, is left as it is.
        """
        if await asyncio.to_thread(self._overtake, entry.probe_id, revision):
            _log.warning(
                "assignment_overtaken", vantage=code, agent=revision, advice="the database was restored"
            )
        await self.refresh()
        return self._entries.get(code, entry)

    async def refresh(self) -> None:
        """Read all vantages, and wake those who watch one that changed.

        Whoever waits for a read that is still to begin shares it: a thousand strangers at once are two reads.
        """
        asked = self._begun
        async with self._reading:
            if self._read_whole > asked:
                return
            self._begun += 1
            database_id, entries = await asyncio.to_thread(self._read)
            self._read_whole = self._begun
        before = self._entries
        self._entries, anew = entries, database_id != self.database_id
        self.database_id = database_id
        for code, events in self._watchers.items():
            if anew or entries.get(code) != before.get(code):
                for event in events:
                    event.set()

    async def run(self) -> None:
        """Keep the directory fresh for ever."""
        healthy = True
        while True:
            try:
                async with await self._database.listen() as conn:
                    await conn.execute(query("control_listen"))
                    await self.refresh()
                    if not healthy:
                        _log.info("assignments_followed")
                    healthy = True
                    await self._follow(conn)
            except (psycopg.Error, OSError) as error:
                if healthy:
                    _log.warning("assignments_unread", error=str(error).splitlines()[0], advice="retrying")
                healthy = False
                await asyncio.sleep(1.0)

    async def _follow(self, conn: psycopg.AsyncConnection) -> None:
        while True:
            async for _ in conn.notifies(timeout=POLL_S, stop_after=1):
                pass
            await self.refresh()

    def _read(self) -> tuple[bytes, dict[str, Entry]]:
        with self._database.pool.connection() as conn:
            rows = conn.execute(query("control_directory")).fetchall()
        return rows[0][0].bytes, {code: Entry(probe, revision) for _, code, probe, revision in rows if code}

    def _overtake(self, probe_id: int, revision: int) -> bool:
        with self._database.pool.connection() as conn:
            parameters = {"probe": probe_id, "revision": revision}
            return conn.execute(query("control_overtake"), parameters).rowcount > 0

    def _read_assignment(self, probe_id: int) -> tuple[int, bytes, bool, float, str] | None:
        with self._database.pool.connection() as conn:
            return conn.execute(query("control_assignment"), (probe_id,)).fetchone()
