"""A running collector among clients that don't speak its language."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from support.books import events, without_traceback
from support.builders import Spool, performance
from support.fleet import collector_toml, prepare_database
from support.postgres import Server
from support.programs import Program, eventually, free_port

from sonde_proto.v1 import control_pb2, control_pb2_grpc, ingest_pb2, ingest_pb2_grpc

pytestmark = pytest.mark.postgres

MIB = 1 << 20


@pytest.fixture
def collector(postgres_server: Server, tmp_path: Path) -> Iterator[tuple[Program, int]]:
    """A collector with an inventory, and its port."""
    name, port = f"noise_{secrets.token_hex(4)}", free_port()
    prepare_database(postgres_server, name, tmp_path / "inventory")
    config = tmp_path / "collector.toml"
    config.write_text(collector_toml(postgres_server.url(name), port))
    program = Program("sonde-collector", "serve", "--config", str(config), log=tmp_path / "log")
    program.start()
    try:
        eventually(lambda: events(program, "serving"), 30, program.tail)
        yield program, port
    finally:
        program.kill()
        postgres_server.drop(name)


async def _answer(port: int, path: str, *messages: bytes) -> grpc.StatusCode:
    """How a call with these raw messages ends."""

    async def say() -> AsyncIterator[bytes]:
        for message in messages:
            yield message

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(path)(say())
        try:
            async for _ in call:
                pass
        except grpc.aio.AioRpcError as error:
            return error.code() if error.details() else grpc.StatusCode.UNKNOWN
        return await call.code()


async def _acked(call: "grpc.aio.StreamStreamCall[ingest_pb2.Batch, ingest_pb2.Ack]") -> int:
    ack = await call.read()
    assert isinstance(ack, ingest_pb2.Ack)
    return ack.acked_seq


async def test_noise_gets_a_status_and_leaves_no_traceback(collector: tuple[Program, int]) -> None:
    """Garbage, giants, strangers and sudden ends each get a status; a good agent beside them is served."""
    program, port = collector
    ingest, control = "/sonde.v1.Ingest/Stream", "/sonde.v1.Control/Watch"
    hello = Spool().hello().SerializeToString()
    code = grpc.StatusCode
    assert await _answer(port, ingest) == code.INVALID_ARGUMENT
    assert await _answer(port, ingest, b"\xff" * 100) == code.INVALID_ARGUMENT
    assert await _answer(port, ingest, b"") == code.INVALID_ARGUMENT
    assert await _answer(port, ingest, hello, os.urandom(5000)) == code.INVALID_ARGUMENT
    assert await _answer(port, ingest, hello, b"\0" * (9 * MIB)) == code.INVALID_ARGUMENT
    assert await _answer(port, ingest, hello, b"\0" * (20 * MIB)) in {
        code.RESOURCE_EXHAUSTED,
        code.INVALID_ARGUMENT,
    }
    state = control_pb2.AgentState(vantage="ams1").SerializeToString()
    assert await _answer(port, control, b"\xff" * 100) == code.INVALID_ARGUMENT
    assert await _answer(port, control, state, b"\xff" * 100) == code.INVALID_ARGUMENT
    assert await _answer(port, control) == code.OK
    stranger = control_pb2.AgentState(vantage="nowhere").SerializeToString()
    assert await _answer(port, control, stranger) == code.NOT_FOUND
    assert await _answer(port, "/sonde.v1.Nothing/Here", b"x") == code.UNIMPLEMENTED
    for words in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(2000), b"\x16\x03\x01\x02\x00\x01"):
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            sock.sendall(words)
    spool = Spool()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        left = ingest_pb2_grpc.IngestStub(channel).Stream()
        await left.write(Spool().hello())
        await left.read()
        left.cancel()
        watch = control_pb2_grpc.ControlStub(channel).Watch()
        await watch.write(control_pb2.AgentState(vantage="ams1"))
        await watch.read()
        watch.cancel()
        good = ingest_pb2_grpc.IngestStub(channel).Stream()
        await good.write(spool.hello())
        await good.write(spool.batch([performance("s1")]))
        async with asyncio.timeout(20):
            while await _acked(good) < 1:
                pass
        good.cancel()
    assert program.stop(within_s=20) == 0
    without_traceback([program])
