"""A collector's ingestion on a port of its own, and an agent's side of the wire."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Self

import grpc
import psycopg
from prometheus_client import CollectorRegistry
from support.builders import Spool, arrive

from sonde_collector.db import partitions
from sonde_collector.db.pool import Database
from sonde_collector.ingest.metrics import IngestMetrics
from sonde_collector.ingest.prepared import prepare
from sonde_collector.ingest.service import SERVER_OPTIONS, IngestService
from sonde_collector.ingest.settings import IngestSettings
from sonde_collector.ingest.transaction import Outcome, write
from sonde_collector.ingest.writer import Writer
from sonde_proto.v1 import ingest_pb2, ingest_pb2_grpc

DEADLINE_S = 30.0


class Running:
    """An ingesting collector."""

    def __init__(self, url: str, settings: IngestSettings) -> None:
        self.registry = CollectorRegistry()
        self.database = Database(url)
        metrics = IngestMetrics(self.registry)
        self.writer = Writer(self.database, settings, metrics)
        self.service = IngestService(self.database, self.writer, metrics)
        self.address = ""

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample; 0 where it was never set."""
        return self.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def collector(
    url: str, credentials: grpc.ServerCredentials | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """A collector on 127.0.0.1, stopped at the end."""
    running = Running(url, IngestSettings(**settings))
    server = grpc.aio.server(options=SERVER_OPTIONS)
    running.service.add_to(server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    running.address = f"127.0.0.1:{port}"
    await server.start()
    running.service.start()
    try:
        yield running
    finally:
        await running.service.stop(0.2)
        await server.stop(0)
        running.database.close()


class Agent:
    """One connection of an agent: it says hello, sends, and reads acks."""

    def __init__(self, address: str, spool: Spool, channel: grpc.aio.Channel | None = None) -> None:
        self.spool = spool
        self._channel = channel or grpc.aio.insecure_channel(
            address,
            options=(("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", 64 << 20)),
        )
        self._call: Any = ingest_pb2_grpc.IngestStub(self._channel).Stream()  # type: ignore[no-untyped-call]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()
        await self._channel.close()

    async def hello(self, acked_seq: int = 0, **values: Any) -> ingest_pb2.Ack:
        """Says hello and gives the cursor."""
        await self.send(self.spool.hello(acked_seq, **values))
        return await self.ack()

    async def send(self, batch: ingest_pb2.Batch) -> None:
        """Sends one message; what ended the connection shows when reading."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.write(batch)

    async def ack(self) -> ingest_pb2.Ack:
        """The next ack."""
        ack = await asyncio.wait_for(self._call.read(), DEADLINE_S)
        assert isinstance(ack, ingest_pb2.Ack), "the connection ended without a status"
        return ack

    async def acked(self, seq: int) -> ingest_pb2.Ack:
        """Reads acks until one reaches this seq."""
        while True:
            ack = await self.ack()
            if ack.acked_seq >= seq:
                return ack

    async def done(self) -> None:
        """Says that nothing more comes."""
        await self._call.done_writing()

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """How the connection ended: reads on until it does."""
        code = await asyncio.wait_for(self._call.code(), DEADLINE_S)
        return code, await self._call.details()


@contextlib.contextmanager
def connection(url: str) -> Iterator[psycopg.Connection]:
    """A connection in autocommit mode."""
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


def write_once(
    conn: psycopg.Connection,
    batches: Iterable[ingest_pb2.Batch],
    *,
    session: int = 0,
    fk: str = "row",
    **kwargs: Any,
) -> Outcome:
    """Writes batches as a writer does, partitions included."""
    partitions.keep_ahead(conn, every="month", ahead=1)
    prepared = prepare([arrive(batch, session) for batch in batches], IngestSettings())
    return write(conn, prepared, by_row=fk == "row", **kwargs)


def stored(conn: psycopg.Connection) -> list[tuple[bytes, int]]:
    """Every (epoch, seq) in the database as a row, a reject or part of a gap; twice where it is twice."""
    found = conn.execute(
        "SELECT s.epoch, x.seq FROM ("
        " SELECT stream_id, seq FROM performance_logs"
        " UNION ALL SELECT stream_id, seq FROM sonde.performance_held"
        " UNION ALL SELECT stream_id, seq FROM sonde.endpoint_checks"
        " UNION ALL SELECT stream_id, seq FROM sonde.vantage_health"
        " UNION ALL SELECT stream_id, seq FROM sonde.missed_runs"
        " UNION ALL SELECT stream_id, seq FROM streaming_checks"
        " UNION ALL SELECT stream_id, seq FROM sonde.canary_checks"
        " UNION ALL SELECT stream_id, seq FROM sonde.rejected_results"
        " UNION ALL SELECT stream_id, generate_series(first_seq, last_seq) FROM sonde.gaps"
        ") x JOIN sonde.streams s ON s.id = x.stream_id ORDER BY 1, 2"
    ).fetchall()
    return [(bytes(epoch), seq) for epoch, seq in found]


def expected(*spools: Spool) -> list[tuple[bytes, int]]:
    """What `stored` gives when all that these spools made is there exactly once."""
    return sorted((spool.epoch, seq) for spool in spools for seq in range(1, spool.last_seq + 1))


async def until(true: Callable[[], bool]) -> None:
    """Waits for something to become true, with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110  # what becomes true is often in another process
            await asyncio.sleep(0.01)
