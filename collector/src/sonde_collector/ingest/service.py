"""The Ingest service: who sends, in what order, how much at once, and what they are told.

Each RPC reads one stream: a hello takes the session, then batches go to the writer while there is room, and
acks come back as writes settle. A stream is not read while there is no room, so gRPC's flow control holds its
agent back.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc
import structlog

from sonde_collector.config import Limits
from sonde_collector.db.pool import Database
from sonde_collector.few_lines import FewLines
from sonde_collector.identity import Peers
from sonde_collector.ingest.arrival import take_in
from sonde_collector.ingest.connection import Connection, End
from sonde_collector.ingest.hello import check_hello, check_version, identify, read
from sonde_collector.ingest.metrics import IngestMetrics
from sonde_collector.ingest.sessions import Sessions
from sonde_collector.ingest.transaction import Settled
from sonde_collector.ingest.writer import Writer
from sonde_collector.limits.vantages import Vantages
from sonde_collector.versions import OURS, too_old
from sonde_proto.columns import MalformedBatch

# Largest batch taken. [bytes] gRPC itself takes twice as much, so that a batch a bit too large gets an answer
# that says what to do; gRPC's own says RESOURCE_EXHAUSTED, and an agent would wait and send it again.
MAX_BATCH_BYTES = 8 << 20
SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", 2 * MAX_BATCH_BYTES),
    # A host that lost its power sends no FIN: without a ping its connection would look alive until a reboot.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Unless this is set gRPC waits 60 s for the answer to a ping, whatever the line above says.
    ("grpc.http2.ping_timeout_ms", 20_000),
    # Agents ping every 10 s: one that comes a little early must not count as too many.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
"""What a server that carries this service should be made with."""

_SERVICE, _METHOD = "sonde.v1.Ingest", "Stream"

# Batches of one connection in memory; enough to fill a write from a stream of small ones.
_WINDOW = 256
_LOOK_S = 1.0  # whoever is slowed down looks so often whether its connection has ended
_HELLO_S = 30.0  # a connection that says nothing for so long is not an agent
_RENEW_EVERY_S = 20.0
_RENEW_AT_ONCE = 500  # streams locked by one renewal: short enough for a writer to wait for
_REFUSED_REMEMBERED = 10_000  # whatever names strangers make up

_Context = grpc.aio.ServicerContext[bytes, bytes]

_log = structlog.get_logger()
_few = FewLines(_log)


class IngestService:
    """Serves sonde.v1.Ingest.

    Args:
        database: for hellos and signs of life.
        writer: takes the batches; started and stopped here.
        metrics: what is counted.
        peers: who judges whom agents may speak for; without, nothing is revoked.
        vantages: what each may spend; without, what [limits] says by itself.
    """

    def __init__(
        self,
        database: Database,
        writer: Writer,
        metrics: IngestMetrics,
        peers: Peers | None = None,
        vantages: Vantages | None = None,
    ) -> None:
        self._peers = peers or Peers()
        self._peers.on_look.append(self._end_refused)
        self._vantages = vantages or Vantages(Limits())
        self._vantages.on_spent = self._end_refused
        self._writer = writer
        self._metrics = metrics
        self._connections: dict[bytes, Connection] = {}
        self._refused: dict[str, str] = {}
        """Why a vantage's last hello was refused; it comes again every half minute, and is told once."""
        self._settled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._sessions = Sessions(database, self._vantages)
        self._renewing: asyncio.Task[None] | None = None

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the service. Messages arrive as bytes: one that is no Batch is answered by us."""
        handler: Any = grpc.stream_stream_rpc_method_handler(self._stream)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),))

    def start(self) -> None:
        """Starts the writer and the renewal of sessions, in the running loop.

        Raises:
            CannotSkipChecks: see `Writer.start`.
        """
        loop = asyncio.get_running_loop()

        def settle(batches: Sequence[Settled]) -> None:
            loop.call_soon_threadsafe(self._settle, batches)

        self._writer.start(settle)
        self._renewing = asyncio.create_task(self._renew_for_ever())

    async def stop(self, grace_s: float = 10.0) -> None:
        """Takes no new batches, waits for those taken, acks what is committed, ends every connection.

        Args:
            grace_s: at most so long for what is queued; the rest stays in the agents' spools. [s]
        """
        self._stopping.set()
        self._wake_all()
        deadline = time.monotonic() + grace_s
        while not self._writer.idle and time.monotonic() < deadline:
            self._settled.clear()
            try:
                await asyncio.wait_for(self._settled.wait(), min(0.1, grace_s))
            except TimeoutError:
                continue
        await asyncio.to_thread(self._writer.stop)
        await asyncio.sleep(0)  # what the last write settled is on its way through this loop
        for connection in list(self._connections.values()):
            connection.finish(End(grpc.StatusCode.UNAVAILABLE, "the collector is stopping"))
        while self._connections and time.monotonic() < deadline + 1:  # noqa: ASYNC110  # an event for this alone?
            await asyncio.sleep(0.01)  # for the seconds of a stop no event is worth keeping
        if self._renewing is not None:
            self._renewing.cancel()
        await self._sessions.close()

    async def _stream(self, _requests: Any, context: _Context) -> None:
        connection: Connection | None = None
        try:
            connection = await self._greet(context)
            await self._serve(connection, context)
        except End as end:
            self._metrics.refused.labels(end.status.name).inc()
            if connection is not None and end.status is grpc.StatusCode.ABORTED:
                number = connection.session.number
                _log.warning("agent_fenced", vantage=connection.vantage, session=number, reason=end.detail)
            await context.abort(end.status, end.detail)
        finally:
            if connection is not None:
                self._forget(connection)

    async def _greet(self, context: _Context) -> Connection:
        """Reads the hello and takes its stream."""
        if self._stopping.is_set():
            raise End(grpc.StatusCode.UNAVAILABLE, "the collector is stopping")
        try:
            raw = await asyncio.wait_for(context.read(), _HELLO_S)
        except TimeoutError:
            raise End(grpc.StatusCode.DEADLINE_EXCEEDED, f"no hello within {_HELLO_S:.0f} s") from None
        if not isinstance(raw, bytes):
            raise End(grpc.StatusCode.INVALID_ARGUMENT, "the stream ended before its hello")
        received_at_us = _now_us()
        hello = read(raw)
        check_hello(hello)
        try:
            check_version(hello)
            peer = identify(self._peers, context.auth_context(), hello.vantage)
            self._refuse_spent(hello.vantage)
            taken = await self._sessions.take(hello)
        except End as end:
            self._tell_refused(hello.vantage, end)
            raise
        self._refused.pop(hello.vantage, None)
        connection = Connection(taken, hello, received_at_us, peer)
        older = self._connections.get(hello.epoch)
        if older is not None and older.session.number > taken.number:
            raise End(grpc.StatusCode.ABORTED, "fenced: a newer connection of this stream took over")
        if older is not None:
            older.finish(End(grpc.StatusCode.ABORTED, "fenced: a newer connection of this stream took over"))
        self._connections[hello.epoch] = connection
        self._metrics.connections.set(len(self._connections))
        _few.info("agent_connected", vantage=hello.vantage, session=taken.number, acked_seq=taken.acked_seq)
        if too_old(hello.agent_version):
            _few.warning("agent_too_old", vantage=hello.vantage, version=hello.agent_version[:40], ours=OURS)
        return connection

    def _refuse_spent(self, vantage: str) -> None:
        if spent := self._vantages.spent.get(vantage):
            raise End(grpc.StatusCode.RESOURCE_EXHAUSTED, spent)

    def _end_refused(self) -> None:
        """End the connections of those who may not speak any more."""
        for connection in self._connections.values():
            if connection.end is not None:
                continue
            if refused := self._peers.refusal(connection.peer):
                _log.warning("agent_cut_off", vantage=connection.vantage, reason=str(refused))
                connection.finish(End(refused.status, str(refused)))
            elif spent := self._vantages.spent.get(connection.vantage):
                connection.finish(End(grpc.StatusCode.RESOURCE_EXHAUSTED, spent))
        self._settled.set()

    def _tell_refused(self, vantage: str, end: End) -> None:
        if end.status is grpc.StatusCode.UNAVAILABLE or self._refused.get(vantage) == end.detail:
            return  # the database is away, and said to be; or nothing is new
        if len(self._refused) >= _REFUSED_REMEMBERED:
            self._refused.clear()
        self._refused[vantage] = end.detail
        _log.warning("agent_refused", vantage=vantage, status=end.status.name, reason=end.detail)

    async def _serve(self, connection: Connection, context: _Context) -> None:
        """Reads and acks until the agent has sent all and all is settled, or something ends it."""
        reading = asyncio.create_task(self._read(connection, context))
        try:
            while True:
                connection.changed.clear()
                if connection.owes_ack:
                    await context.write(connection.ack(_now_us()).SerializeToString())
                if connection.end is not None:
                    raise connection.end
                if reading.done() and not connection.in_flight and not connection.owes_ack:
                    reading.result()
                    if not self._stopping.is_set():
                        return
                if not connection.changed.is_set():
                    await connection.changed.wait()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, connection: Connection, context: _Context) -> None:
        """Hands batches to the writer while there is room, until the agent has no more or we stop."""
        try:
            while await self._room(connection):
                raw = await context.read()
                if not isinstance(raw, bytes) or self._stopping.is_set():
                    return
                self._take_in(connection, raw)
        except End as end:
            connection.finish(end)
        finally:
            connection.changed.set()

    def _take_in(self, connection: Connection, raw: bytes) -> None:
        if len(raw) > MAX_BATCH_BYTES:
            raise End(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"a batch of {len(raw)} bytes: at most {MAX_BATCH_BYTES} are taken; send fewer results",
            )
        batch = read(raw)
        if batch.epoch != connection.session.epoch:
            raise End(
                grpc.StatusCode.INVALID_ARGUMENT,
                "epoch is not the hello's: one connection carries one stream",
            )
        if batch.vantage not in {"", connection.vantage}:
            raise End(grpc.StatusCode.INVALID_ARGUMENT, f"vantage {batch.vantage!r} is not the hello's")
        try:
            arrival = take_in(
                batch,
                vantage=connection.vantage,
                session=connection.session.number,
                received_at_us=_now_us(),
                size=len(raw),
            )
        except MalformedBatch as error:
            raise End(
                grpc.StatusCode.INVALID_ARGUMENT, f"batch {batch.first_seq}..{batch.last_seq}: {error}"
            ) from error
        connection.take_in(arrival)
        self._vantages.take_in(arrival.vantage, arrival.rows, arrival.unpacked, time.monotonic())
        self._writer.submit(arrival)

    async def _room(self, connection: Connection) -> bool:
        """Waits until this connection may be read; False when it may not be any more."""
        while wait_s := self._vantages.wait_s(connection.vantage, time.monotonic()):
            if self._stopping.is_set() or connection.end is not None:
                return False
            await asyncio.sleep(min(wait_s, _LOOK_S))
        while (
            self._writer.full or connection.in_flight >= _WINDOW or self._vantages.crowded(connection.vantage)
        ):
            self._settled.clear()
            if self._stopping.is_set() or connection.end is not None:
                return False
            await self._settled.wait()
        return not self._stopping.is_set() and connection.end is None

    def _settle(self, batches: Sequence[Settled]) -> None:
        for settled in batches:
            self._vantages.settle(settled.arrival.vantage, settled.arrival.unpacked)
            connection = self._connections.get(settled.arrival.epoch)
            if connection is not None and connection.session.number == settled.arrival.session:
                connection.settle(settled)
        self._settled.set()

    def _wake_all(self) -> None:
        self._settled.set()
        for connection in self._connections.values():
            connection.changed.set()

    def _forget(self, connection: Connection) -> None:
        if self._connections.get(connection.session.epoch) is not connection:
            return
        del self._connections[connection.session.epoch]
        self._metrics.connections.set(len(self._connections))
        epoch, number = connection.session.epoch, connection.session.number
        if not connection.in_flight:
            self._sessions.leave(epoch, number)
        _few.info("agent_left", vantage=connection.vantage, session=number)

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY_S)
            before = time.monotonic() - _RENEW_EVERY_S
            silent = [item for item in self._connections.values() if item.alive_at < before]
            for low in range(0, len(silent), _RENEW_AT_ONCE):
                await self._renew(silent[low : low + _RENEW_AT_ONCE])

    async def _renew(self, connections: Sequence[Connection]) -> None:
        held = [(item.session.epoch, item.session.number) for item in connections]
        try:
            alive = await self._sessions.renew(held)
        except End:
            return  # the database is away: nobody can have taken over either
        for item in connections:
            if (item.session.epoch, item.session.number) not in alive:
                item.finish(
                    End(grpc.StatusCode.ABORTED, "fenced: a newer connection of this stream took over")
                )


def _now_us() -> int:
    return time.time_ns() // 1000
