"""One call for one stream: hello, cursor, batches in a window, acks."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from sonde_agent.spool import Chunk, Spool, StreamView
from sonde_agent.uplink import calls
from sonde_agent.uplink.backoff import Interrupted, interrupted
from sonde_agent.uplink.clock_exchange import ClockExchange
from sonde_agent.uplink.narrowing import Narrowing, Sent
from sonde_agent.uplink.send_errors import Action
from sonde_proto import columns
from sonde_proto.v1 import ingest_pb2

HELLO_TIMEOUT_S = 30.0
ACK_TIMEOUT_S = 120.0  # a collector whose database is away may take long; another one may be faster
LAST_ACKS_S = 2.0
LIMIT_BYTES = 1 << 20
COALESCE_S = (
    0.2  # at most five batches a second that are not full: an ack is a COMMIT there and an fsync here
)
MOST_IDLE_ACKS = 100
"""In a row that bring nothing new: a collector that sends them without end is not to keep this agent busy."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends. `instance` is 16 random bytes of this process."""

    vantage: str
    agent_version: str
    instance: bytes


@dataclass(slots=True)
class Session:
    """The state of one call.

    Attributes:
        stir: set when results were appended; the session sets it for acks.
        on_cursor: called once the collector answered the hello.
        on_progress: called for each ack that brought something new.
        acked_seq: what the collector has, as it last said.
    """

    call: calls.Uplink
    spool: Spool
    stream: StreamView
    identity: Identity
    clock: ClockExchange
    narrowing: Narrowing
    stir: asyncio.Event
    wall_us: Callable[[], int]
    on_cursor: Callable[[], None]
    on_progress: Callable[[], None]
    acked_seq: int = 0
    under_way: deque[Sent] = field(default_factory=deque)
    _sent_seq: int = 0

    async def run(self) -> None:
        """Serve the stream: the current one for ever, an older one until it is drained.

        Raises:
            Interrupted: the call ended.
            Diverged, SpoolError: as `Spool.reconcile` and `Spool.ack`.
        """
        await self._hello()
        sending = asyncio.create_task(self._send())
        receiving = asyncio.create_task(self._receive())
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.exception() is not None:
                # A write fails as soon as the call has ended; acks that came before are still to be read.
                await asyncio.wait({receiving}, timeout=LAST_ACKS_S)
            for task in (receiving, sending):  # how the call ended outranks a write that failed of it
                if task.done():
                    task.result()
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)

    async def _hello(self) -> None:
        view = self.stream
        hello = self._batch(view.acked_seq, 0, view.chain)
        hello.copied = view.copied
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                await self._write(hello)
                ack = await self._read()
        except TimeoutError:
            raise Interrupted(Action.RETRY, f"no answer to hello within {HELLO_TIMEOUT_S:.0f} s") from None
        cursor = await asyncio.to_thread(
            self.spool.reconcile, view, ack.acked_seq, ack.chain, ack.database_id
        )
        self.acked_seq = self._sent_seq = cursor
        self.on_cursor()

    async def _send(self) -> None:
        while True:
            self.stir.clear()
            if len(self.under_way) < self.narrowing.window:
                batch, rows = await asyncio.to_thread(self._next)
                if batch is not None:
                    self.under_way.append(Sent(batch.first_seq, batch.last_seq, rows))
                    self._sent_seq = batch.last_seq
                    batch.sent_at_us = self.wall_us()
                    await self._write(batch)
                    if len(rows) < self.narrowing.limit_rows:
                        await asyncio.sleep(COALESCE_S)
                    continue
                if not self.stream.current and not self.under_way:
                    return
            try:
                async with asyncio.timeout(ACK_TIMEOUT_S if self.under_way else None):
                    await self.stir.wait()
            except TimeoutError:
                raise Interrupted(Action.RETRY, f"no ack within {ACK_TIMEOUT_S:.0f} s") from None

    async def _receive(self) -> None:
        idle = 0
        while True:
            ack = await self._read()
            if ack.acked_seq > self._sent_seq:
                raise Interrupted(Action.RESYNC, f"acked seq {ack.acked_seq}, sent was only {self._sent_seq}")
            if ack.acked_seq <= self.acked_seq:
                idle += 1
                if idle > MOST_IDLE_ACKS:
                    raise Interrupted(Action.RETRY, f"{idle} acks in a row brought nothing new")
                continue
            # Known only to the call until it is on the disk: a failure here leaves all to the next hello.
            await asyncio.to_thread(self.spool.ack, self.stream, ack.acked_seq, ack.database_id, ack.chain)
            self.acked_seq, idle = ack.acked_seq, 0
            while self.under_way and self.under_way[0].last_seq <= ack.acked_seq:
                self.under_way.popleft()
            self.narrowing.acked(ack.acked_seq)
            self.on_progress()
            self.stir.set()

    def _next(self) -> tuple[ingest_pb2.Batch | None, tuple[int, ...]]:
        """The next batch, encoded, and the seqs of its results; runs in a thread."""
        while True:
            chunk = self.spool.peek(self.stream, self._sent_seq, self.narrowing.limit_rows, LIMIT_BYTES)
            if not chunk:
                return None, ()
            try:
                return self._encode(chunk), tuple(seq for seq, _ in chunk.results)
            except (ValueError, OverflowError):
                self._set_aside_unencodable(chunk)

    def _encode(self, chunk: Chunk) -> ingest_pb2.Batch:
        batch = self._batch(chunk.first_seq, chunk.last_seq, chunk.chain)
        batch.database_id = chunk.database_id
        batch.config_revision = chunk.revision
        batch.gaps.extend(chunk.gaps)
        return columns.encode(batch, chunk.results)

    def _set_aside_unencodable(self, chunk: Chunk) -> None:
        for seq, result in chunk.results:
            try:
                columns.encode(ingest_pb2.Batch(), [(seq, result)])
            except (ValueError, OverflowError) as error:
                self.spool.quarantine(self.stream, seq, str(error))

    def _batch(self, first_seq: int, last_seq: int, chain: bytes) -> ingest_pb2.Batch:
        offset = self.clock.best()
        return ingest_pb2.Batch(
            vantage=self.identity.vantage,
            epoch=self.stream.epoch,
            instance=self.identity.instance,
            agent_version=self.identity.agent_version,
            first_seq=first_seq,
            last_seq=last_seq,
            chain=chain,
            sent_at_us=self.wall_us(),
            clock_offset_us=offset.offset_us if offset else None,
        )

    async def _write(self, batch: ingest_pb2.Batch) -> None:
        try:
            await self.call.write(batch)
        except (grpc.RpcError, asyncio.InvalidStateError):
            raise await self._ended() from None

    async def _read(self) -> ingest_pb2.Ack:
        try:
            # Not `call.read()`: once a write has failed it gives nothing more of what came before.
            answer = calls.read_ack(await anext(aiter(self.call)))
        except (grpc.RpcError, StopAsyncIteration):
            raise await self._ended() from None
        self.clock.add(answer.batch_sent_at_us, answer.received_at_us, answer.sent_at_us, self.wall_us())
        return answer

    async def _ended(self) -> Interrupted:
        return interrupted(await self.call.code(), await self.call.details())
