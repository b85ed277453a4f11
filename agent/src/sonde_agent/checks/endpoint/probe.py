"""One run against one address: what all kinds share, and the two that end with the handshake.

Blocks: it belongs in a worker thread.
"""

import contextlib
import json
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from sonde_agent.checks.base import Context
from sonde_agent.checks.endpoint import expect, local_files
from sonde_agent.checks.endpoint.certificate import certificate_facts
from sonde_agent.checks.endpoint.failures import End, Trouble, classify
from sonde_agent.checks.endpoint.pure import parse_host_port
from sonde_agent.net import resolve, stamps
from sonde_agent.net.dial import Deadline, TlsWire, Wire
from sonde_agent.net.resolve import Resolved
from sonde_agent.net.stamps import Interval
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_PHASES = ("resolve_ms", "connect_ms", "tls_ms", "first_byte_ms", "transfer_ms")


class Probe(ABC):
    """A run: its stage, and the result that it fills as it goes. Each kind adds `_prepare` and `_measure`."""

    def __init__(self, spec: control_pb2.EndpointSpec, context: Context, deadline: Deadline) -> None:
        self._spec, self._context, self._deadline = spec, context, deadline
        self._out = pb.Endpoint(kind=spec.kind)
        self._stage: pb.Stage.ValueType = pb.STAGE_NONE
        self._phases = dict.fromkeys(_PHASES, 0)  # ns over all hops; only those in `_reached` count
        self._reached: set[str] = set()
        self._hops: list[dict[str, Any]] = []
        self._quality = Quality(0)
        self._mismatch: str | None = None
        self._tls: ssl.SSLContext | None = None

    def _prepare(self) -> None:  # noqa: B027  # a hook: most kinds need none
        """What is done before the clock starts: it costs time only once, and is no property of the target."""

    @abstractmethod
    def _measure(self, address: str) -> None:
        """Measure the address; say what is wrong by raising, or in `_mismatch`."""

    def run(self, address: str, resolved: Resolved) -> pb.Endpoint:
        """Measure one address; whatever happens to the target stands in the result."""
        self._out.address, self._out.family = address, resolve.family_of(address)
        self._took("resolve_ms", resolved.took)
        end: End | None = None
        start, offset = time.monotonic_ns(), stamps.wall_offset()
        try:
            self._prepare()
            start = time.monotonic_ns()
            self._measure(address)
        except (OSError, Trouble) as error:
            end = self._ended(error)
        total_ns = time.monotonic_ns() - start + (resolved.took.ns if resolved.took else 0)
        if abs(stamps.wall_offset() - offset) > stamps.STEP_NS:
            self._quality |= Quality.CLOCK_STEPPED
        self._finish(total_ns, end)
        return self._out

    def _ended(self, error: Exception) -> End:
        end = classify(error, self._stage)
        if end is None:
            raise error
        family = self._out.family
        if end.failure in (pb.FAILURE_UNREACHABLE, pb.FAILURE_LOCAL, pb.FAILURE_UNSUPPORTED) and (
            isinstance(error, OSError) and self._stage == pb.STAGE_TRANSPORT and resolve.host_lacks(family)
        ):
            return End(pb.FAILURE_UNSUPPORTED, end.stage, f"this host has no IPv{family}")
        return end

    def _took(self, phase: str, interval: Interval | None) -> None:
        if interval is None:
            return
        self._phases[phase] += interval.ns
        self._reached.add(phase)
        if self._hops:
            hop = self._hops[-1]
            hop[phase] = round(hop.get(phase, 0) + interval.ns / 1e6, 3)
        if (
            not interval.kernel and phase != "resolve_ms"
        ):  # the system's resolver can't be stamped: nothing to flag
            self._quality |= Quality.USER_STAMPS

    def _finish(self, total_ns: int, end: End | None) -> None:
        out = self._out
        for phase in self._reached:
            setattr(out, phase, self._phases[phase] / 1e6)
        out.total_ms = total_ns / 1e6
        if end is None or end.stage == pb.STAGE_EXPECT:
            # Of a run that broke off, the rest of the time is the target's silence as much as our own work.
            out.overhead_ms = max(total_ns - sum(self._phases.values()), 0) / 1e6
        mismatch = self._mismatch or expect.total_mismatch(self._spec.expect, out.total_ms)
        if end is None and mismatch:
            end = End(pb.FAILURE_EXPECTATION, pb.STAGE_EXPECT, mismatch)
        out.ok = end is None
        if end is not None:
            out.failure, out.stage, out.mismatch = end
        if len(self._hops) > 1:
            out.redirects = len(self._hops) - 1
            out.hops = json.dumps(self._hops, separators=(",", ":"))
        if self._quality:
            out.quality = int(self._quality)

    @contextlib.contextmanager
    def _connected(self, address: str, port: int) -> Iterator[Wire]:
        self._stage = pb.STAGE_TRANSPORT
        if reason := self._context.refuse(address, port):
            raise Trouble(pb.FAILURE_POLICY, reason)
        with Wire(address, port, self._deadline) as wire:
            self._took("connect_ms", wire.connected)
            yield wire

    def _secured(self, wire: Wire, server_name: str) -> TlsWire:
        context = self._tls = self._tls or local_files.tls_context(self._spec)
        self._stage = pb.STAGE_HANDSHAKE
        if self._spec.expect.insecure:
            self._quality |= Quality.INSECURE
        try:
            secure = TlsWire(wire, context, server_name)
        except ValueError as error:  # a name that TLS can't carry
            raise Trouble(pb.FAILURE_LOCAL, f"server name {server_name!r}: {error}") from None
        self._took("tls_ms", secure.handshake())
        out = self._out
        out.tls_version = secure.tls.version() or ""
        if der := secure.tls.getpeercert(binary_form=True):
            with contextlib.suppress(ValueError):  # OpenSSL took it; our walk need not
                out.cert_sha256, out.cert_issuer, out.cert_not_after_us = certificate_facts(der)
        return secure

    def _check_certificate(self) -> None:
        if self._out.HasField("cert_not_after_us"):
            now_us = self._context.wall_us()
            self._mismatch = expect.certificate_mismatch(
                self._spec.expect, self._out.cert_not_after_us, now_us
            )


class TcpProbe(Probe):
    """Does the port accept?"""

    def _measure(self, address: str) -> None:
        with self._connected(address, parse_host_port(self._spec.url)[1]):
            pass


class TlsProbe(Probe):
    """Does it shake hands, and with which certificate?

    In TLS 1.3 a server judges our certificate after our side is done: its refusal is not seen here.
    """

    def _prepare(self) -> None:
        self._tls = local_files.tls_context(self._spec)

    def _measure(self, address: str) -> None:
        host, port = parse_host_port(self._spec.url)
        with self._connected(address, port) as wire:
            self._secured(wire, self._spec.sni or host).flush()
        self._check_certificate()
