"""What is negotiated on the wire, and what a stolen certificate can do: speak for its own vantage alone."""

import asyncio
import contextlib
import datetime as dt
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from support.identity import Enrolled, House
from support.postgres import Server
from support.programs import run

from sonde_collector.pki import authority as pki
from sonde_proto.v1 import control_pb2, control_pb2_grpc, ingest_pb2, ingest_pb2_grpc

pytestmark = pytest.mark.postgres
TLS_12, TLS_13 = 0x0303, 0x0304
_HANDSHAKE, _SERVER_HELLO, _SUPPORTED_VERSIONS = 22, 2, 43


@pytest.fixture(scope="module")
def house(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One collector, TLS on every port."""
    with House(tmp_path_factory.mktemp("house"), postgres_server) as house:
        yield house


class Tap:
    """A TCP relay that keeps the first bytes which the server says."""

    def __init__(self, port: int) -> None:
        self.heard: list[bytes] = []
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            for source, to, kept in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pump, args=(source, to, kept), daemon=True).start()

    def _pump(self, source: socket.socket, to: socket.socket, kept: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if kept:
                    self.heard.append(data)
                    kept = False
                to.sendall(data)
        for each in (source, to):
            each.close()

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.close()


def negotiated(server_hello: bytes) -> int:
    """The version that a ServerHello chose (RFC 8446, 4.1.3 and 4.2.1)."""
    kind, _, _ = struct.unpack_from("!BHH", server_hello)
    assert kind == _HANDSHAKE
    assert server_hello[5] == _SERVER_HELLO
    (version,) = struct.unpack_from("!H", server_hello, 9)
    at = 9 + 2 + 32
    at += 1 + server_hello[at] + 2 + 1
    (size,) = struct.unpack_from("!H", server_hello, at)
    at, end = at + 2, at + 2 + size
    while at < end:
        extension, size = struct.unpack_from("!HH", server_hello, at)
        if extension == _SUPPORTED_VERSIONS:
            (version,) = struct.unpack_from("!H", server_hello, at + 4)
        at += 4 + size
    return int(version)


def test_agents_speak_tls_13(house: House) -> None:
    """An enrolled agent's connections to both ports, read off the wire: TLS 1.3."""
    collector = house.collectors[0]
    taps = Tap(collector.grpc), Tap(collector.enroll)
    agent = house.enrolled("ams1")
    text = agent.config.read_text().replace(str(collector.grpc), str(taps[0].port))
    agent.config.write_text(text.replace(str(collector.enroll), str(taps[1].port)))
    agent.program.start()
    house.delivers(agent)
    done = run("sonde-agent", "renew", "--config", str(agent.config))
    assert done.returncode == 0, done.stderr
    assert agent.program.stop() == 0
    for tap in taps:
        tap.close()
        assert tap.heard
        assert {negotiated(said) for said in tap.heard} == {TLS_13}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("port", ["grpc", "enroll", "http"])
def test_nothing_below_tls_12_is_spoken(house: House, port: str) -> None:
    """Each port: a client that offers TLS 1.1 at best is refused, one that offers 1.2 gets it."""

    def offer(version: ssl.TLSVersion) -> str | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.minimum_version = context.maximum_version = version
        if port == "grpc":
            agent = stolen(house)
            context.load_cert_chain(agent.file("cert.pem"), agent.file("key.pem"))
        with (
            socket.create_connection(("127.0.0.1", getattr(house.collectors[0], port)), 10) as sock,
            context.wrap_socket(sock) as session,
        ):
            return session.version()

    assert offer(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        offer(ssl.TLSVersion.TLSv1_1)


def stolen(house: House) -> Enrolled:
    """The identity of ams1."""
    found = [agent for agent in house.agents if agent.vantage == "ams1" and agent.file("key.pem").exists()]
    return found[0] if found else house.enrolled("ams1")


def _channel(house: House, cert: bytes, key: bytes) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(house.pki.ca_cert.read_bytes(), key, cert)
    return grpc.aio.secure_channel(f"127.0.0.1:{house.collectors[0].grpc}", credentials)


async def _status(call: Any, messages: Sequence[Any]) -> tuple[grpc.StatusCode, str]:
    with contextlib.suppress(grpc.aio.AioRpcError):
        for message in messages:
            await call.write(message)
        while await call.read() is not grpc.aio.EOF:
            continue
    async with asyncio.timeout(20):
        return await call.code(), await call.details()


async def test_a_stolen_certificate_speaks_for_its_vantage_alone(house: House) -> None:
    """With the key of ams1: no hello, watch or lease as nyc1, no batch of nyc1 within a stream of ams1."""
    agent = stolen(house)
    hello = {"epoch": bytes(15) + b"s", "instance": bytes(16)}
    before = house.rows("SELECT count(*) FROM sonde.streams")
    async with _channel(
        house, agent.file("cert.pem").read_bytes(), agent.file("key.pem").read_bytes()
    ) as channel:
        ingest, control = ingest_pb2_grpc.IngestStub(channel), control_pb2_grpc.ControlStub(channel)
        refused = [
            await _status(ingest.Stream(), [ingest_pb2.Batch(vantage="nyc1", **hello)]),
            await _status(control.Watch(), [control_pb2.AgentState(vantage="nyc1", instance=bytes(16))]),
        ]
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await control.Acquire(control_pb2.AcquireRequest(vantage="nyc1", instance=bytes(16)))
        refused.append((error.value.code(), error.value.details() or ""))
        for status, details in refused:
            assert status is grpc.StatusCode.PERMISSION_DENIED
            assert 'is for "ams1", not for vantage "nyc1"' in details
        assert house.rows("SELECT count(*) FROM sonde.streams") == before
        status, details = await _status(
            ingest.Stream(),
            [
                ingest_pb2.Batch(vantage="ams1", **hello),
                ingest_pb2.Batch(vantage="nyc1", epoch=hello["epoch"], first_seq=1, last_seq=1, strings=[""]),
            ],
        )
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert "is not the hello's" in details


async def test_the_collectors_certificate_is_no_agents(house: House) -> None:
    """One that is named like a vantage, and signed by the same authority, is refused as a client's."""
    key = pki.new_key()
    certificate = house.authority.server(key, ["ams1"])
    async with _channel(house, pki.pem(certificate), pki.key_pem(key)) as channel:
        call = ingest_pb2_grpc.IngestStub(channel).Stream()
        hello = ingest_pb2.Batch(vantage="ams1", epoch=bytes(15) + b"t", instance=bytes(16))
        status, _ = await _status(call, [hello])
    assert status is grpc.StatusCode.UNAVAILABLE
    assert house.rows("SELECT count(*) FROM sonde.streams WHERE epoch = %s", bytes(15) + b"t") == [(0,)]


async def test_a_stream_does_not_outlive_its_certificate(house: House) -> None:
    """A connection that stands when its certificate ends is ended by the collector, in words."""
    key = pki.new_key()
    certificate = house.authority.agent(key.public_key(), "ams1", dt.timedelta(seconds=6))
    async with _channel(house, pki.pem(certificate), pki.key_pem(key)) as channel:
        watch = control_pb2_grpc.ControlStub(channel).Watch()
        await watch.write(control_pb2.AgentState(vantage="ams1", instance=bytes(16)))
        assert await watch.read() is not grpc.aio.EOF
        ingest = ingest_pb2_grpc.IngestStub(channel).Stream()
        await ingest.write(ingest_pb2.Batch(vantage="ams1", epoch=bytes(15) + b"u", instance=bytes(16)))
        assert await ingest.read() is not grpc.aio.EOF
        for call in (watch, ingest):
            status, details = await _status(call, [])
            assert status is grpc.StatusCode.UNAUTHENTICATED
            assert "has ended at" in details
