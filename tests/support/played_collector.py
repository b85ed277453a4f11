"""A collector in foreign hands: real gRPC on a unix socket, that says whatever a test puts into its mouth."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from support.programs import eventually

from sonde_proto import columns
from sonde_proto.v1 import control_pb2, ingest_pb2, results_pb2

Lie = Callable[[ingest_pb2.Ack], Sequence[ingest_pb2.Ack | bytes]]

_NO_MORE = b"no more"


def honest(ack: ingest_pb2.Ack) -> Sequence[ingest_pb2.Ack | bytes]:
    """No lie."""
    return [ack]


class PlayedCollector:
    """Control and Ingest on a thread of its own; what it answers are bytes, so that they may be anything.

    Args:
        path: of its unix socket.

    Attributes:
        states: what the agent said, in order.
        rows: (epoch, seq) -> result, as committed; gaps count as committed, too.
        raw: every batch's bytes.
        lie: makes the acks that are sent of the true one.
        lease: the reply to each request for a lease.
        renewed: the reply to each renewal.
        asked: requests for leases.
    """

    def __init__(self, path: Path) -> None:
        self.address = f"unix:{path}"
        self.states: list[control_pb2.AgentState] = []
        self.rows: dict[tuple[bytes, int], results_pb2.Result] = {}
        self.raw: list[bytes] = []
        self.lie: Lie = honest
        self.lease: control_pb2.AcquireReply | bytes = control_pb2.AcquireReply(lease="l", ttl_ms=60_000)
        self.renewed: control_pb2.RenewReply | bytes = control_pb2.RenewReply(ttl_ms=60_000)
        self.asked: list[control_pb2.AcquireRequest] = []
        self.calls = 0
        self._revision = 0
        self._cursors: dict[bytes, tuple[int, bytes]] = {}
        self._assignment = b""
        self._queues: set[asyncio.Queue[bytes]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(None), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # ── what tests say ──────────────────────────────────────────────────────────────────────────────────

    def assign(self, *tasks: control_pb2.Task, **more: Any) -> int:
        """Give the agent these tasks, now and whenever it connects again; the revision."""
        self._revision += 1
        fields = {"revision": self._revision, "database_id": b"d" * 16, "monthly_bytes": 2**64 - 1, **more}
        self.say(control_pb2.Assignment(tasks=tasks, **fields).SerializeToString(), lasting=True)
        return int(fields["revision"])

    def say(self, data: bytes, *, lasting: bool = False) -> None:
        """Send bytes in place of an assignment; `lasting` also to a call that begins later."""
        if lasting:
            self._assignment = data

        def put() -> None:
            for queue in self._queues:
                queue.put_nowait(data)

        self._loop.call_soon_threadsafe(put)

    def hang_up(self) -> None:
        """End the calls of Control, and forget what was still to be said."""

        def end() -> None:
            for queue in self._queues:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(_NO_MORE)

        self._loop.call_soon_threadsafe(end)

    def taken(self, revision: int, within_s: float = 20) -> control_pb2.AgentState:
        """Wait until the agent says that a revision is in force; what it said."""
        return eventually(
            lambda: next((state for state in reversed(self.states) if state.revision == revision), None),
            within_s,
            lambda: f"revision {revision}: {self.states[-1:]}",
        )

    def results(self, target: str) -> list[results_pb2.Result]:
        """What was committed of a target."""
        return [result for result in tuple(self.rows.values()) if result.target == target]

    def missed(self, reason: results_pb2.MissReason.ValueType) -> int:
        """How many slots were missed for a reason, of all tasks."""
        return sum(
            result.missed.slots for result in tuple(self.rows.values()) if result.missed.reason == reason
        )

    # ── what the agent hears ────────────────────────────────────────────────────────────────────────────

    async def _start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
        stream, unary = grpc.stream_stream_rpc_method_handler, grpc.unary_unary_rpc_method_handler
        control = {
            "Watch": stream(self._watch, control_pb2.AgentState.FromString),
            "Acquire": unary(self._acquire, control_pb2.AcquireRequest.FromString),
            "Renew": unary(self._renew),
            "Release": unary(self._release),
        }
        ingest = {"Stream": stream(self._stream)}
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("sonde.v1.Control", control),
                grpc.method_handlers_generic_handler("sonde.v1.Ingest", ingest),
            )
        )
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def _watch(
        self, states: AsyncIterator[control_pb2.AgentState], _context: object
    ) -> AsyncIterator[bytes]:
        self.calls += 1
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._queues.add(queue)
        if self._assignment:
            queue.put_nowait(self._assignment)

        async def hear() -> None:
            async for state in states:
                self.states.append(state)

        hearing = asyncio.create_task(hear())
        try:
            while (data := await queue.get()) is not _NO_MORE:
                yield data
        finally:
            self._queues.discard(queue)
            hearing.cancel()

    async def _acquire(self, request: control_pb2.AcquireRequest, _context: object) -> bytes:
        self.asked.append(request)
        return _bytes(self.lease)

    async def _renew(self, _request: bytes, _context: object) -> bytes:
        return _bytes(self.renewed)

    async def _release(self, _request: bytes, _context: object) -> bytes:
        return b""

    async def _stream(self, batches: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async for data in batches:
            self.raw.append(data)
            batch = ingest_pb2.Batch.FromString(data)
            if batch.last_seq:
                for table in columns.decode(batch):
                    for seq, result in columns.rows(table, batch.strings):
                        self.rows[batch.epoch, seq] = result
                self._cursors[batch.epoch] = (batch.last_seq, batch.chain)
            seq, chain = self._cursors.get(batch.epoch, (0, b""))
            now_us = time.time_ns() // 1000
            true = ingest_pb2.Ack(
                acked_seq=seq,
                chain=chain,
                database_id=b"d" * 16,
                batch_sent_at_us=batch.sent_at_us,
                received_at_us=now_us,
                sent_at_us=now_us,
            )
            for ack in self.lie(true):
                yield _bytes(ack)


def _bytes(message: control_pb2.AcquireReply | control_pb2.RenewReply | ingest_pb2.Ack | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
