"""The load of benchmarks/ingest.py: 50 agents with mTLS, four batches under way each, and what they send."""

import asyncio
import datetime as dt
import ipaddress
import os
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sonde_proto.v1 import ingest_pb2, results_pb2

AGENTS = 50
SERVERS = 2000
_PER_AGENT = 200  # servers that one agent measures
_UNDER_WAY = 4


def epoch(agent: int) -> bytes:
    """The stream of an agent."""
    return agent.to_bytes(16, "little")


def messages(agent: int, rows: int, size: int) -> list[ingest_pb2.Batch]:
    """An agent's batches of ping results: rounds over its servers, each row some ms after the one before."""
    dice = np.random.default_rng(agent)
    start = time.time_ns() // 1000 - 3_600_000_000
    names = [f"s{(agent * 37 + n) % SERVERS}" for n in range(_PER_AGENT)]
    found = []
    for first in range(0, rows, size):
        n = min(size, rows - first)
        place = (np.arange(first, first + n)) % _PER_AGENT
        used, codes = np.unique(place, return_inverse=True)
        rtt = dice.gamma(4, 12, n).astype("<f4")
        lost = dice.random(n) < 0.05
        failed = np.where(lost, np.nan, rtt).astype("<f4")

        def real(scale: float, values: Any = failed) -> bytes:
            return (values * np.float32(scale)).astype("<f4").tobytes()

        count = np.full(n, 10, "<i4")
        columns = results_pb2.PerformanceColumns(
            seq=np.arange(first + 1, first + n + 1, dtype="<i8").tobytes(),
            measured_at_us=(start + np.arange(first, first + n) * 5000 + dice.integers(0, 5000, n)).tobytes(),
            target=(codes + 1).astype("<i4").tobytes(),
            ping_ms=real(1), jitter_ms=real(0.1), rtt_min_ms=real(0.9), rtt_mean_ms=real(1.02),
            rtt_p95_ms=real(1.2), rtt_max_ms=real(1.3), rtt_stddev_ms=real(0.1), ipdv_mean_abs_ms=real(0.1),
            pdv_p95_ms=real(0.2), connection_success=(~lost).astype("i1").tobytes(),
            packet_loss_pct=np.where(lost, 100, 0).astype("<f4").tobytes(), sent=count.tobytes(),
            received=np.where(lost, 0, 10).astype("<i4").tobytes(),
            ttl=np.where(lost, -1, 57).astype("<i4").tobytes(), family=np.full(n, 4, "<i4").tobytes(),
            failure=np.where(lost, 1, 0).astype("i1").tobytes(),
            stage=np.where(lost, 2, 0).astype("i1").tobytes(),
        )  # fmt: skip
        found.append(
            ingest_pb2.Batch(
                vantage=f"v{agent}", epoch=epoch(agent), instance=bytes(16), first_seq=first + 1,
                last_seq=first + n,
                chain=os.urandom(32), agent_version="0.1.0", config_revision=1, sent_at_us=start,
                strings=["", *(names[code] for code in used)], performance=columns,
            )
        )  # fmt: skip
    return found


def certificate(name: str, authority: Any = None) -> Any:
    """(certificate, key) of that common name; an authority without one given."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signer = (authority[0].subject, authority[1]) if authority else (subject, key)
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=9)).add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )  # fmt: skip
    return builder.sign(signer, hashes.SHA256()), key


def pem(of: Any) -> tuple[bytes, bytes]:
    """(key, certificate) as gRPC takes them."""
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return of[1].private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain), of[0].public_bytes(
        encoding
    )


class Fleet:
    """50 agents, connected and greeted; `deliver` is what is timed.

    Args:
        batches: of each agent, serialised.
    """

    def __init__(self, batches: list[list[bytes]]) -> None:
        self._batches = batches
        self._last = [[ingest_pb2.Batch.FromString(batch).last_seq for batch in mine] for mine in batches]
        self._authority = certificate("bench authority")
        self._channels: list[grpc.aio.Channel] = []
        self._calls: list[Any] = []

    def write_credentials(self, folder: Path) -> None:
        """Files key, cert and ca for a collector that these agents trust."""
        for name, data in zip(("key", "cert"), pem(certificate("collector", self._authority)), strict=True):
            (folder / name).write_bytes(data)
        (folder / "ca").write_bytes(pem(self._authority)[1])

    async def connect(self, address: str) -> None:
        """Returns when every hello is answered."""
        root = pem(self._authority)[1]
        for number in range(AGENTS):
            key = pem(certificate(f"v{number}", self._authority))
            options = (("grpc.use_local_subchannel_pool", 1),)
            channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(root, *key), options)
            self._channels.append(channel)
            answers = ingest_pb2.Ack.FromString
            call = channel.stream_stream("/sonde.v1.Ingest/Stream", response_deserializer=answers)()
            hello = ingest_pb2.Batch(vantage=f"v{number}", epoch=epoch(number), instance=bytes(16))
            await call.write(hello.SerializeToString())
            await call.read()
            self._calls.append(call)

    async def deliver(self) -> None:
        """Returns when every batch is acked."""
        await asyncio.gather(*map(self._deliver, self._calls, self._batches, self._last))

    async def _deliver(self, call: Any, batches: list[bytes], last: list[int]) -> None:
        sent = acked = 0
        while acked < len(batches):
            while sent < len(batches) and sent - acked < _UNDER_WAY:
                await call.write(batches[sent])
                sent += 1
            ack = await call.read()
            while acked < len(batches) and last[acked] <= ack.acked_seq:
                acked += 1
        await call.done_writing()

    async def close(self) -> None:
        """Ends the connections."""
        for channel in self._channels:
            await channel.close()
