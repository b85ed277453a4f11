"""The ways to the collector: mutual TLS with files read again, a CONNECT proxy, a unix socket."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.edges import Authority
from support.scripted_collector import ScriptedCollector, scripted_collector

from sonde_agent.uplink.backoff import Interrupted
from sonde_agent.uplink.channel import Channels, TlsFiles
from sonde_agent.uplink.send_errors import Action
from sonde_proto.v1 import ingest_pb2, ingest_pb2_grpc


async def hello(channels: Channels) -> ingest_pb2.Ack:
    """One hello over the channel, and its answer."""
    async with channels.use() as channel:
        call = ingest_pb2_grpc.IngestStub(channel).Stream()
        await call.write(ingest_pb2.Batch(epoch=b"e" * 16))
        answer = await call.read()
        call.cancel()
        assert isinstance(answer, ingest_pb2.Ack)
        return answer


async def test_unix_socket(tmp_path: Path) -> None:
    """A collector on the same host is reached through a socket file."""
    server = grpc.aio.server()
    ingest_pb2_grpc.add_IngestServicer_to_server(ScriptedCollector(), server)
    server.add_insecure_port(f"unix:{tmp_path}/grpc")
    await server.start()
    assert (await hello(Channels(f"unix:{tmp_path}/grpc"))).database_id
    await server.stop(grace=None)


async def test_connect_proxy() -> None:
    """With proxy= the connection is asked for with CONNECT, and nothing goes the direct way."""
    asked: list[bytes] = []

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", collector.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        try:
            await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer), return_exceptions=True)
        finally:
            for each in (writer, up_writer):
                each.transport.abort()

    async with scripted_collector() as collector:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            channels = Channels(f"localhost:{collector.port}", proxy=f"http://127.0.0.1:{port}")
            assert (await hello(channels)).database_id
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
    assert asked == [f"CONNECT localhost:{collector.port} HTTP/1.1".encode()]


async def test_mutual_tls_and_renewed_files(tmp_path: Path) -> None:
    """The collector sees our certificate; each connection reads the files anew; a missing one is told."""
    authority = Authority(tmp_path)
    server_cert, server_key = authority.leaf("localhost")
    server = grpc.aio.server()
    seen: list[bytes] = []

    async def look(_batch: ingest_pb2.Batch, context: Any) -> None:
        seen.extend(context.auth_context()["x509_common_name"])

    collector = ScriptedCollector()
    collector.on_hello = look
    ingest_pb2_grpc.add_IngestServicer_to_server(collector, server)
    ca = authority.file.read_bytes()
    credentials = grpc.ssl_server_credentials(
        [(server_key.read_bytes(), server_cert.read_bytes())], ca, require_client_auth=True
    )
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    files = TlsFiles(authority.file, tmp_path / "agent.crt", tmp_path / "agent.key")
    channels = Channels(f"localhost:{port}", tls=files)
    with pytest.raises(Interrupted, match="agent") as caught:
        await hello(channels)
    assert caught.value.action is Action.RE_ENROL
    for name in ("ams1", "ams2"):
        cert, key = authority.leaf(name)
        files.cert.write_bytes(cert.read_bytes())
        files.key.write_bytes(key.read_bytes())
        assert (await hello(channels)).database_id
    assert seen == [b"ams1", b"ams2"]
    await server.stop(grace=None)
