"""Results on their way to the spool: gathered for a moment, then written in one commit off the event loop.

A result is at risk of a power failure for at most GATHER_S plus one commit. This is no queue before the
durable one: nothing is sent from here, and the spool takes all that is given.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import structlog

from sonde_proto.v1 import results_pb2

GATHER_S = 0.1
"""One fsync carries all that ended within this time: 5000 checks a minute cost 10 a second, not 83."""

log = structlog.get_logger()


class ResultStore(Protocol):
    """What the journal needs of the spool."""

    def append(self, results: Sequence[results_pb2.Result]) -> tuple[bytes, int]:
        """Keep results; they are durable when this returns. Give the stream's epoch and the last seq."""

    def measured_under(self, database_id: bytes, revision: int) -> None:
        """Say which assignment the results appended from now on were measured under."""


Kept = Callable[[bytes, int], None]
"""Told the epoch of the stream and a seq once all that was added lies on the disk, up to that seq."""


class Journal:
    """Takes results on the event loop, commits them in one thread, in order.

    Args:
        store: the spool.
    """

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._work: list[Sequence[results_pb2.Result] | Callable[[], None]] = []
        self._kept: list[Kept] = []
        self._wake = asyncio.Event()
        self._closing = False
        # One thread: commits stay in order, and SQLite's writer is never contended.
        self._thread = ThreadPoolExecutor(1, "journal")

    def add(self, results: Sequence[results_pb2.Result], kept: Kept | None = None) -> None:
        """Take results; they are durable within GATHER_S and one commit, which `kept` is told."""
        if results:
            self._work.append(results)
            if kept is not None:
                self._kept.append(kept)
            self._wake.set()

    def measured_under(self, database_id: bytes, revision: int) -> None:
        """Say which assignment the results added from now on were measured under."""
        self._work.append(lambda: self._store.measured_under(database_id, revision))
        self._wake.set()

    async def run(self) -> None:
        """Commit what was added, until `close` was called and all is durable."""
        loop = asyncio.get_running_loop()
        while not (self._closing and not self._work):
            await self._wake.wait()
            if not self._closing:
                await asyncio.sleep(GATHER_S)
            self._wake.clear()
            work, self._work = self._work, []
            told, self._kept = self._kept, []
            try:
                end = await loop.run_in_executor(self._thread, self._commit, work)
            except Exception:
                # The spool promises not to raise for a full disk; what it raises is a defect, and the agent
                # goes on measuring.
                log.exception(
                    "spool_append_failed", hint="results of this moment are lost; please report this"
                )
                continue
            for kept in told:
                kept(*end)
        self._thread.shutdown()

    def close(self) -> None:
        """Let `run` end once all is durable. Nothing may be added after."""
        self._closing = True
        self._wake.set()

    def _commit(self, work: Sequence[Sequence[results_pb2.Result] | Callable[[], None]]) -> tuple[bytes, int]:
        batch: list[results_pb2.Result] = []
        end = (b"", 0)
        for one in work:
            if callable(one):
                if batch:
                    end = self._store.append(batch)
                    batch = []
                one()
            else:
                batch.extend(one)
        if batch:
            end = self._store.append(batch)
        return end
