"""Whoever stole a vantage's certificate, and says with it whatever it likes."""

import asyncio
import contextlib
import datetime as dt
import os
from array import array
from typing import Any

import grpc
from support.builders import Spool, performance
from support.identity import House

from sonde_collector.pki import authority as pki
from sonde_proto.v1 import ingest_pb2, ingest_pb2_grpc


def channel(house: House, vantage: str) -> grpc.aio.Channel:
    """A connection to the first collector with a certificate of that vantage."""
    key = pki.new_key()
    certificate = house.authority.agent(key.public_key(), vantage, dt.timedelta(hours=1))
    credentials = grpc.ssl_channel_credentials(
        house.pki.ca_cert.read_bytes(), pki.key_pem(key), pki.pem(certificate)
    )
    return grpc.aio.secure_channel(
        f"127.0.0.1:{house.collectors[0].grpc}", credentials, options=(("grpc.use_local_subchannel_pool", 1),)
    )


async def ended(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a call ends, whatever comes before."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            continue
    async with asyncio.timeout(60):
        return await call.code(), await call.details()


class Flood:
    """One stream that sends results as fast as they are taken.

    Args:
        through: the connection.
        vantage: whose certificate it has.
        rows: of each batch.
    """

    def __init__(self, through: grpc.aio.Channel, vantage: str, rows: int) -> None:
        self.epoch = os.urandom(16)
        self.acked = 0
        self.sent = 0
        self._rows = rows
        self._batch = Spool(vantage).batch([performance(f"s{n % 40 + 1}") for n in range(rows)])
        self._batch.epoch = self.epoch
        self._call: Any = ingest_pb2_grpc.IngestStub(through).Stream()
        self._hello = ingest_pb2.Batch(vantage=vantage, epoch=self.epoch, instance=os.urandom(16))

    async def run(self) -> None:
        """Sends until it is cancelled, or ended."""
        await self._call.write(self._hello)
        reading = asyncio.create_task(self._read())
        try:
            while True:
                first, self.sent = self.sent + 1, self.sent + self._rows
                self._batch.first_seq, self._batch.last_seq = first, self.sent
                self._batch.performance.seq = array("q", range(first, self.sent + 1)).tobytes()
                await self._call.write(self._batch)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    @property
    def open(self) -> bool:
        """Whether nothing has ended it."""
        return not self._call.done()

    def close(self) -> None:
        """Ends it."""
        self._call.cancel()

    async def _read(self) -> None:
        while (ack := await self._call.read()) is not grpc.aio.EOF:
            self.acked = ack.acked_seq
