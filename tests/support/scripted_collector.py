"""A collector over real gRPC that keeps cursor and rows in memory and fails as a test tells it to."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from support.results import number

from sonde_proto import columns
from sonde_proto.v1 import ingest_pb2, ingest_pb2_grpc

Hook = Callable[[ingest_pb2.Batch, Any], Awaitable[None]]


async def nothing(_batch: ingest_pb2.Batch, _context: object) -> None:
    """The hook that does nothing."""


class ScriptedCollector(ingest_pb2_grpc.IngestServicer):
    """Commits to memory as the real one does to PostgreSQL.

    Attributes:
        rows: (epoch, seq) -> number of the result; a second commit of one fails the test.
        gaps: epoch -> gaps, in order.
        cursors: epoch -> (seq, chain).
        sizes: rows of each batch, in order of arrival.
        on_hello, before_commit, before_ack: hooks; they may wait, or abort the call.
    """

    def __init__(self) -> None:
        self.port = 0
        self.database_id = b"d" * 16
        self.rows: dict[tuple[bytes, int], int] = {}
        self.gaps: dict[bytes, list[ingest_pb2.Gap]] = {}
        self.cursors: dict[bytes, tuple[int, bytes]] = {}
        self.hellos: list[ingest_pb2.Batch] = []
        self.sizes: list[int] = []
        self.doubles: list[tuple[bytes, int]] = []
        self.on_hello = self.before_commit = self.before_ack = nothing
        self._server: grpc.aio.Server | None = None

    @property
    def numbers(self) -> list[int]:
        """The numbers of all results committed, sorted."""
        return sorted(self.rows.values())

    def forget(self) -> None:
        """Begin with an empty database."""
        self.rows, self.gaps, self.cursors = {}, {}, {}

    async def Stream(  # noqa: N802  # gRPC names it
        self, request_iterator: AsyncIterator[ingest_pb2.Batch], context: Any
    ) -> AsyncIterator[ingest_pb2.Ack]:
        """Hello, then batches."""
        async for batch in request_iterator:
            received = time.time_ns() // 1000
            if batch.last_seq == 0:
                self.hellos.append(batch)
                await self.on_hello(batch, context)
            else:
                await self._commit(batch, context)
                await self.before_ack(batch, context)
            seq, chain = self.cursors.get(batch.epoch, (0, b""))
            yield ingest_pb2.Ack(
                acked_seq=seq,
                chain=chain,
                database_id=self.database_id,
                batch_sent_at_us=batch.sent_at_us,
                received_at_us=received,
                sent_at_us=time.time_ns() // 1000,
            )

    async def _commit(self, batch: ingest_pb2.Batch, context: Any) -> None:
        tables = columns.decode(batch)
        self.sizes.append(sum(len(table) for table in tables))
        await self.before_commit(batch, context)
        cursor, _ = self.cursors.get(batch.epoch, (0, b""))
        if batch.first_seq > cursor + 1:
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, f"first_seq must be {cursor + 1}")
        covered = {seq for gap in batch.gaps for seq in range(gap.first_seq, gap.last_seq + 1)}
        for table in tables:
            for seq, result in columns.rows(table, batch.strings):
                covered.add(seq)
                if seq > cursor:
                    if (batch.epoch, seq) in self.rows:
                        self.doubles.append((batch.epoch, seq))
                    self.rows[batch.epoch, seq] = number(result)
        if covered != set(range(batch.first_seq, batch.last_seq + 1)):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "rows and gaps do not cover the range")
        self.gaps.setdefault(batch.epoch, []).extend(batch.gaps)
        self.cursors[batch.epoch] = (batch.last_seq, batch.chain)

    async def start(self, port: int = 0) -> None:
        """Listen on loopback; the port of the last start unless told."""
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 500),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        ingest_pb2_grpc.add_IngestServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port or self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Stop at once, as a killed one would."""
        if self._server:
            await self._server.stop(grace=None)
            self._server = None


@asynccontextmanager
async def scripted_collector() -> AsyncIterator[ScriptedCollector]:
    """A running collector."""
    collector = ScriptedCollector()
    await collector.start()
    try:
        yield collector
    finally:
        await collector.stop()


async def until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    """Wait until a condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)
