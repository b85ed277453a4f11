"""Runs that operators ask for: named to the agents while they lack answers; the answers into the database.

What is asked for stands in the database, so any collector may take it to the agent and any may take the
answer back. A NOTIFY tells of a request at once; a read every few seconds finds what was missed, and answers
that another collector heard.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import attrs
import psycopg
import structlog

from sonde_collector.control.directory import Directory
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_proto.v1 import control_pb2, results_pb2

POLL_S = 5.0
AFTER_S = 10.0
"""For so long after its end a request is named: what ran to the last moment is answered then. [s]"""
_GATHER_S = 0.2
_AGAIN_S = 1.0
_TEXT = 500  # characters kept of a free text
_BIGINT = 2**63 - 1
_ID_BYTES = 16
_OUTCOMES = {
    control_pb2.RUN_OUTCOME_DONE: "done",
    control_pb2.RUN_OUTCOME_FAILED: "failed",
    control_pb2.RUN_OUTCOME_REFUSED: "refused",
    control_pb2.RUN_OUTCOME_MISSED: "missed",
    control_pb2.RUN_OUTCOME_GONE: "gone",
}
_log = structlog.get_logger()

Key = tuple[bytes, str, str]
"""A request's id, a vantage's code, a task's key."""


@attrs.frozen
class _Open:
    id: bytes
    ends_s: float  # monotonic
    revision: int
    tasks: tuple[str, ...]


class RunRequests:
    """The open requests of every vantage, and the answers on their way to the database."""

    def __init__(self, database: Database, directory: Directory) -> None:
        self._database = database
        self._directory = directory
        self._open: dict[str, list[_Open]] = {}
        self._answers: dict[Key, control_pb2.RunAnswer] = {}
        self._heard = asyncio.Event()

    def named(self, code: str) -> list[control_pb2.RunRequest]:
        """Give what the agent of a vantage is to be told now."""
        now = time.monotonic()
        return [
            control_pb2.RunRequest(
                id=one.id,
                revision=one.revision,
                left_ms=max(round((one.ends_s - now) * 1000), 0),
                tasks=[task for task in one.tasks if (one.id, code, task) not in self._answers],
            )
            for one in self._open.get(code, ())
        ]

    def take(self, code: str, answers: Sequence[control_pb2.RunAnswer]) -> None:
        """Take in what the agent of a vantage answers; what was not asked of it is left out."""
        if not answers or code not in self._open:
            return
        asked = {(one.id, code, task) for one in self._open[code] for task in one.tasks}
        for answer in answers:
            key = (answer.id, code, answer.task)
            if key in asked and answer.outcome in _OUTCOMES:
                self._answers.setdefault(key, answer)
                self._heard.set()

    async def refresh(self) -> None:
        """Read all that is open, and wake those whose agents are to hear of something new."""
        before, now = self._open, time.monotonic()
        rows = await asyncio.to_thread(self._read)
        found: dict[str, list[_Open]] = {}
        for code, one, left_s, revision, tasks in rows:
            found.setdefault(code, []).append(_Open(one.bytes, now + left_s, revision, tuple(tasks)))
        self._open = found
        for code, requests in found.items():
            if {one.id for one in requests} - {one.id for one in before.get(code, ())}:
                self._directory.wake(code)

    async def run(self) -> None:
        """Keep what is open fresh for ever; while the database is away, name what was known."""
        healthy = True
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._database.url, autocommit=True) as conn:
                    await conn.execute(query("runs_listen"))
                    await self.refresh()
                    if not healthy:
                        _log.info("run_requests_followed")
                    healthy = True
                    while True:
                        async for _ in conn.notifies(timeout=POLL_S, stop_after=1):
                            pass
                        await self.refresh()
            except (psycopg.Error, OSError) as error:
                if healthy:
                    _log.warning("run_requests_unread", error=str(error).splitlines()[0], advice="retrying")
                healthy = False
                await asyncio.sleep(_AGAIN_S)

    async def keep_answers(self) -> None:
        """Write answers for ever: those of a moment together."""
        while True:
            await self._heard.wait()
            await asyncio.sleep(_GATHER_S)
            if not await self.flush():
                await asyncio.sleep(_AGAIN_S)

    async def flush(self) -> bool:
        """Write the answers; False = the database did not take them, and they are kept for another try."""
        self._heard.clear()
        if not (answers := dict(self._answers)):
            return True
        try:
            await asyncio.to_thread(self._write, answers)
        except (psycopg.Error, OSError) as error:
            _log.warning("answers_unwritten", error=str(error).splitlines()[0], advice="retrying")
            self._heard.set()
            return False
        self._forget(answers)
        return True

    def _forget(self, answers: dict[Key, control_pb2.RunAnswer]) -> None:
        """Name what is answered no more; agents hear it with their next word."""
        for code in {code for _, code, _ in answers}:
            left = [
                attrs.evolve(
                    one, tasks=tuple(task for task in one.tasks if (one.id, code, task) not in answers)
                )
                for one in self._open.get(code, ())
            ]
            self._open[code] = [one for one in left if one.tasks]
        for key in answers:
            self._answers.pop(key, None)

    def _read(self) -> list[tuple[str, UUID, float, int, list[str]]]:
        with self._database.pool.connection() as conn:
            return conn.execute(query("runs_open"), {"after_s": AFTER_S}).fetchall()

    def _write(self, answers: dict[Key, control_pb2.RunAnswer]) -> None:
        with self._database.pool.connection() as conn:
            conn.execute(query("runs_answer"), columns(answers))


def columns(answers: dict[Key, control_pb2.RunAnswer]) -> dict[str, list[Any]]:
    """Give answers as columns: foreign text, bounded to what is of use. **Pure**."""
    said = sorted(answers.items())  # in one order, so that two collectors can't deadlock
    return {
        "ids": [UUID(bytes=one) for (one, _, _), _ in said],
        "codes": [code for (_, code, _), _ in said],
        "tasks": [task for (_, _, task), _ in said],
        "outcomes": [_OUTCOMES[answer.outcome] for _, answer in said],
        "reasons": [_reason(answer) for _, answer in said],
        "details": [answer.detail.replace("\0", "")[:_TEXT] or None for _, answer in said],
        "epochs": [answer.epoch if len(answer.epoch) == _ID_BYTES else None for _, answer in said],
        "seqs": [min(answer.seq, _BIGINT) or None for _, answer in said],
    }


def _reason(answer: control_pb2.RunAnswer) -> str | None:
    if not answer.reason:
        return None
    try:
        return results_pb2.MissReason.Name(answer.reason).removeprefix("MISS_REASON_").lower()
    except ValueError:  # of a newer agent
        return f"reason {answer.reason}"
