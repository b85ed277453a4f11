"""An agent of a frozen version: nothing of it is this tree's code, only the .proto files of its time."""

import hashlib
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from support.frozen import Wire

_F = FieldDescriptor
# As ingest.proto says it: what an element of a column is, and which one says NULL.
_ELEMENTS = {
    _F.TYPE_FLOAT: ("f", float("nan")), _F.TYPE_BOOL: ("b", -1), _F.TYPE_ENUM: ("b", -1),
    _F.TYPE_UINT32: ("i", -1), _F.TYPE_INT64: ("q", -(2**63)), _F.TYPE_UINT64: ("q", -(2**63)),
    _F.TYPE_STRING: ("i", 0),
}  # fmt: skip


class OldAgent:
    """Enrols, watches, leases and delivers as the protocol of its version says.

    Args:
        wire: its version's messages.
        version: what it calls itself.
        vantage: whose it is.
        ca: PEM of the authority.
        future: fill in `future` wherever a message has it.
    """

    def __init__(self, wire: Wire, version: str, vantage: str, ca: Path, *, future: bool = False) -> None:
        self.wire, self.version, self.vantage = wire, version, vantage
        self._ca, self._future = ca.read_bytes(), future
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.epoch, self.instance = os.urandom(16), os.urandom(16)
        self.certificate = b""
        self.seq, self.chain = 0, b""

    def make(self, name: str, **values: Any) -> Message:
        """A message, with what a later version would say besides."""
        message = self.wire.make(name, **values)
        if self._future:
            message.future = "what nobody knows yet"  # type: ignore[attr-defined]
        return message

    async def enrol(self, port: int, token: str) -> None:
        """Gets a certificate by a token, then asks whether its key would get another."""
        async with grpc.aio.secure_channel(
            f"127.0.0.1:{port}", grpc.ssl_channel_credentials(self._ca)
        ) as channel:
            issued = await self._unary(channel, "Enrol", "Enroll", "EnrollRequest", "Issued")(
                self.make(
                    "EnrollRequest", token=token, vantage=self.vantage, csr=self._csr(),
                    agent_version=self.version,
                )
            )  # fmt: skip
            self.certificate = issued.certificate
            csr = self._csr()
            said = b"sonde renewal 1\0" + hashlib.sha256(csr).digest()
            said += hashlib.sha256(self.certificate).digest()
            await self._unary(channel, "Enrol", "Renew", "RenewalRequest", "Issued")(
                self.make(
                    "RenewalRequest", vantage=self.vantage, csr=csr, certificate=self.certificate,
                    signature=self._key.sign(said, ec.ECDSA(hashes.SHA256())), only_ask=True,
                    agent_version=self.version,
                )
            )  # fmt: skip

    def channel(self, port: int) -> grpc.aio.Channel:
        """The connection to the port for agents, by its certificate."""
        key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem = x509.load_der_x509_certificate(self.certificate).public_bytes(serialization.Encoding.PEM)
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", grpc.ssl_channel_credentials(self._ca, key, pem))

    async def assignment(self, channel: grpc.aio.Channel) -> Any:
        """Says how it is, and gives what it is told."""
        call = self._stream(channel, "Control", "Watch", "AgentState", "Assignment")()
        await call.write(
            self.make(
                "AgentState", vantage=self.vantage, agent_version=self.version, instance=self.instance,
                sent_at_us=_now_us(), started_at_us=_now_us(), ready=True, spool_rows=3,
            )
        )  # fmt: skip
        answer = await call.read()
        call.cancel()
        return answer

    async def lease(self, channel: grpc.aio.Channel, target: str) -> tuple[Any, Any, Any]:
        """Takes a lease for a target, renews it and gives it back."""
        granted = await self._unary(channel, "Control", "Acquire", "AcquireRequest", "AcquireReply")(
            self.make(
                "AcquireRequest", vantage=self.vantage, instance=self.instance, server=target,
                wants=[self.make("Want", target=target)],
            )
        )  # fmt: skip
        renewed = await self._unary(channel, "Control", "Renew", "RenewRequest", "RenewReply")(
            self.make("RenewRequest", lease=granted.lease)
        )
        released = await self._unary(channel, "Control", "Release", "ReleaseRequest", "ReleaseReply")(
            self.make("ReleaseRequest", lease=granted.lease, connected=True)
        )
        return granted, renewed, released

    async def deliver(
        self, channel: grpc.aio.Channel, rows: Sequence[tuple[str, str, dict[str, Any]]], database_id: bytes
    ) -> int:
        """Sends results (kind, target, values) and a gap after them; gives the cursor that was acked."""
        call = self._stream(channel, "Ingest", "Stream", "Batch", "Ack")()
        head = {"vantage": self.vantage, "epoch": self.epoch, "instance": self.instance}
        head |= {"agent_version": self.version}
        await call.write(
            self.make("Batch", **head, first_seq=self.seq, chain=self.chain, sent_at_us=_now_us())
        )
        await self._read(call)
        first, last = self.seq + 1, self.seq + len(rows) + 1
        gap = self.make("Gap", first_seq=last, last_seq=last, reason=self.wire.number("GAP_REASON_TOO_OLD"))
        batch = self.make(
            "Batch", **head, first_seq=first, last_seq=last, chain=os.urandom(32), database_id=database_id,
            config_revision=1, sent_at_us=_now_us(), gaps=[gap],
        )  # fmt: skip
        self._fill(batch, rows, first)
        await call.write(batch)
        ack = await self._read(call)
        while ack.acked_seq < last:
            ack = await self._read(call)
        self.seq, self.chain = ack.acked_seq, ack.chain
        await call.done_writing()
        return int(ack.acked_seq)

    def _fill(self, batch: Any, rows: Sequence[tuple[str, str, dict[str, Any]]], first: int) -> None:
        strings = {"": 0}
        for kind in dict.fromkeys(kind for kind, _, _ in rows):
            mine = [(first + n, target, row) for n, (of, target, row) in enumerate(rows) if of == kind]
            columns = getattr(batch, kind)
            columns.seq = _pack("q", [seq for seq, _, _ in mine])
            columns.measured_at_us = _pack("q", [_now_us() for _ in mine])
            columns.target = _pack("i", [strings.setdefault(t, len(strings)) for _, t, _ in mine])
            for field in self.wire.kind(kind.capitalize()).DESCRIPTOR.fields:
                code, null = _ELEMENTS[field.type]
                values = [row.get(field.name) for _, _, row in mine]
                if all(value is None for value in values):
                    continue
                if field.type == _F.TYPE_STRING:
                    values = [strings.setdefault(value or "", len(strings)) for value in values]
                setattr(
                    columns, field.name, _pack(code, [null if value is None else value for value in values])
                )
        batch.strings.extend(strings)

    async def _read(self, call: Any) -> Any:
        answer = await call.read()
        assert answer is not grpc.aio.EOF, "it was ended"
        return answer

    def _csr(self) -> bytes:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.vantage)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self._key, hashes.SHA256())
        return request.public_bytes(serialization.Encoding.DER)

    def _unary(self, channel: grpc.aio.Channel, service: str, method: str, asks: str, gives: str) -> Any:
        return channel.unary_unary(
            f"/sonde.v1.{service}/{method}",
            request_serializer=self.wire.kind(asks).SerializeToString,
            response_deserializer=self.wire.kind(gives).FromString,
        )

    def _stream(self, channel: grpc.aio.Channel, service: str, method: str, asks: str, gives: str) -> Any:
        return channel.stream_stream(
            f"/sonde.v1.{service}/{method}",
            request_serializer=self.wire.kind(asks).SerializeToString,
            response_deserializer=self.wire.kind(gives).FromString,
        )


def _pack(code: str, values: Sequence[Any]) -> bytes:
    return struct.pack(f"<{len(values)}{code}", *values)


def _now_us() -> int:
    return time.time_ns() // 1000
