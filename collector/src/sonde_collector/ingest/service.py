"""The Ingest service: who sends, in what order, how much at once, and what they are told.

Each RPC reads one stream: a hello takes the session, then batches go to the writer while there is room, and
acks come back as writes settle. A stream is not read while there is no room, so gRPC's flow control holds its
agent back.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import psycopg
import structlog

from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.pool import Database
from sonde_collector.ingest import session
from sonde_collector.ingest.arrival import take_in
from sonde_collector.ingest.connection import Connection, End
from sonde_collector.ingest.held import HeldConnection
from sonde_collector.ingest.metrics import IngestMetrics
from sonde_collector.ingest.transaction import Settled
from sonde_collector.ingest.writer import Writer
from sonde_proto.columns import MalformedBatch, parse
from sonde_proto.v1 import ingest_pb2

# Largest batch taken. [bytes] gRPC itself takes twice as much, so that a batch a bit too large gets an answer
# that says what to do; gRPC's own says RESOURCE_EXHAUSTED, and an agent would wait and send it again.
MAX_BATCH_BYTES = 8 << 20
SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", 2 * MAX_BATCH_BYTES),
    # A host that lost its power sends no FIN: without a ping its connection would look alive until a reboot.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
"""What a server that carries this service should be made with."""

_SERVICE, _METHOD = "sonde.v1.Ingest", "Stream"

# Batches of one connection in memory; enough to fill a write from a stream of small ones.
_WINDOW = 256
_HELLO_S = 30.0  # a connection that says nothing for so long is not an agent
_RENEW_EVERY_S = 20.0
_RENEW_AT_ONCE = 500  # streams locked by one renewal: short enough for a writer to wait for
_HELLO_THREADS = 4

_T = TypeVar("_T")
_Context = grpc.aio.ServicerContext[bytes, bytes]

_log = structlog.get_logger()


class IngestService:
    """Serves sonde.v1.Ingest.

    Args:
        database: for hellos and signs of life.
        writer: takes the batches; started and stopped here.
        metrics: what is counted.
    """

    def __init__(self, database: Database, writer: Writer, metrics: IngestMetrics) -> None:
        self._database = database
        self._writer = writer
        self._metrics = metrics
        self._connections: dict[bytes, Connection] = {}
        self._settled = asyncio.Event()
        self._stopping = asyncio.Event()
        self._threads = ThreadPoolExecutor(_HELLO_THREADS, thread_name_prefix="hello")
        self._held = threading.local()
        self._all_held: list[HeldConnection] = []
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
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        for held in self._all_held:
            held.close()

    async def _stream(self, _requests: Any, context: _Context) -> None:
        connection: Connection | None = None
        try:
            connection = await self._greet(context)
            await self._serve(connection, context)
        except End as end:
            self._metrics.refused.labels(end.status.name).inc()
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
        hello = _parse(raw)
        _check_hello(hello)
        _check_identity(context, hello.vantage)
        taken = await self._in_thread(lambda conn: session.take(conn, hello))
        connection = Connection(taken, hello, received_at_us)
        older = self._connections.get(hello.epoch)
        if older is not None and older.session.number > taken.number:
            raise End(grpc.StatusCode.ABORTED, "fenced: a newer connection of this stream took over")
        if older is not None:
            older.finish(End(grpc.StatusCode.ABORTED, "fenced: a newer connection of this stream took over"))
        self._connections[hello.epoch] = connection
        self._metrics.connections.set(len(self._connections))
        _log.info("agent_connected", vantage=hello.vantage, session=taken.number, acked_seq=taken.acked_seq)
        return connection

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
        batch = _parse(raw)
        if batch.epoch != connection.session.epoch:
            raise End(
                grpc.StatusCode.INVALID_ARGUMENT,
                "epoch is not the hello's: one connection carries one stream",
            )
        if batch.vantage not in {"", connection.vantage}:
            raise End(grpc.StatusCode.INVALID_ARGUMENT, f"vantage {batch.vantage!r} is not the hello's")
        try:
            arrival = take_in(
                batch, session=connection.session.number, received_at_us=_now_us(), size=len(raw)
            )
        except MalformedBatch as error:
            raise End(
                grpc.StatusCode.INVALID_ARGUMENT, f"batch {batch.first_seq}..{batch.last_seq}: {error}"
            ) from error
        connection.take_in(arrival)
        self._writer.submit(arrival)

    async def _room(self, connection: Connection) -> bool:
        """Waits until this connection may be read; False when it may not be any more."""
        while self._writer.full or connection.in_flight >= _WINDOW:
            self._settled.clear()
            if self._stopping.is_set() or connection.end is not None:
                return False
            await self._settled.wait()
        return not self._stopping.is_set() and connection.end is None

    def _settle(self, batches: Sequence[Settled]) -> None:
        for settled in batches:
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
            self._threads.submit(self._leave, epoch, number)
        _log.info("agent_left", vantage=connection.vantage, session=number)

    def _leave(self, epoch: bytes, number: int) -> None:
        try:
            self._use(lambda conn: session.leave(conn, epoch, number))
        except (psycopg.Error, DatabaseError):
            _log.debug("leave_failed")  # its time runs out by itself

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
            alive = await self._in_thread(lambda conn: session.renew(conn, held))
        except End:
            return  # the database is away: nobody can have taken over either
        for item in connections:
            if (item.session.epoch, item.session.number) not in alive:
                item.finish(
                    End(grpc.StatusCode.ABORTED, "fenced: a newer connection of this stream took over")
                )

    def _use(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        """Does work on this thread's connection; a second time when the first found it broken."""
        if not hasattr(self._held, "connection"):
            self._held.connection = HeldConnection(self._database)
            self._all_held.append(self._held.connection)
        connection: HeldConnection = self._held.connection
        try:
            with connection as conn:
                return work(conn)
        except psycopg.OperationalError:
            with connection as conn:
                return work(conn)

    async def _in_thread(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._use, work)
        except session.HelloRefused as refused:
            raise End(_REFUSED[refused.why], str(refused)) from refused
        except (psycopg.Error, DatabaseError) as error:
            _log.warning("database_unavailable", error=" ".join(str(error).split()))
            raise End(grpc.StatusCode.UNAVAILABLE, "the collector's database does not answer") from error


_REFUSED = {
    session.Why.UNKNOWN_VANTAGE: grpc.StatusCode.NOT_FOUND,
    session.Why.COPY: grpc.StatusCode.FAILED_PRECONDITION,
}
_ID_BYTES = 16


def _parse(raw: bytes) -> ingest_pb2.Batch:
    try:
        return parse(raw)
    except MalformedBatch as error:
        raise End(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error


def _check_hello(hello: ingest_pb2.Batch) -> None:
    if hello.last_seq:
        raise End(
            grpc.StatusCode.INVALID_ARGUMENT, "the first message must be a hello: a Batch with last_seq = 0"
        )
    for name in ("epoch", "instance"):
        if len(getattr(hello, name)) != _ID_BYTES:
            raise End(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"hello: {name} is {len(getattr(hello, name))} bytes, not {_ID_BYTES}",
            )
    if not hello.vantage or "\0" in hello.vantage:
        raise End(grpc.StatusCode.INVALID_ARGUMENT, "hello: vantage is not set, or holds a NUL")


def _check_identity(context: _Context, vantage: str) -> None:
    """On TLS the certificate must be the vantage's; plain text comes from this host alone, see config."""
    identity = context.auth_context()
    if b"ssl" not in identity.get("transport_security_type", ()):
        return
    names = [name.decode(errors="replace") for name in identity.get("x509_common_name", ())]
    if not names:
        raise End(grpc.StatusCode.UNAUTHENTICATED, "a client certificate is needed: enrol this agent")
    if names != [vantage]:
        raise End(
            grpc.StatusCode.PERMISSION_DENIED,
            f"the certificate is for {', '.join(names)}, the hello says vantage {vantage!r}: they must agree",
        )


def _now_us() -> int:
    return time.time_ns() // 1000
