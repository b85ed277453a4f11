"""Runs through the lab's VPN servers by a tunnel helper, each beside what the lab recorded of it."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support import residue
from support.boxes import events
from support.vantage import WAYS, Vantage, opened
from support.wire_truth import direct_echoes, flights, inner_echoes

from sonde_agent.checks.base import Context
from sonde_agent.checks.ping.check import PingCheck
from sonde_agent.net.icmp import Engines
from sonde_agent.tunnel import namespaces
from sonde_lab import records
from sonde_lab.records import Record
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

ECHOES, SPACING_MS, PAYLOAD_BYTES = 40, 10, 16
_REMOTE_STAGES = (pb.STAGE_TRANSPORT, pb.STAGE_HANDSHAKE, pb.STAGE_AUTH)
_NOTICED_MS = 1.0  # clocks of two processes, and a program that notes a time before its packet has left
_BYTES_OF_KIB = 1024


@dataclass(frozen=True)
class Case:
    """A way through the lab.

    Attributes:
        name: the end of its rows' names.
        protocol: of WAYS.
        backend: of the helper.
        server: the lab's key.
        vantage: from where.
        rounds: round trips of the protocol's handshake.
    """

    name: str
    protocol: str
    backend: str
    server: str
    vantage: str
    rounds: int


CASES = (
    Case("wireguard_go", "WireGuard", "wireguard-go", "wg-se", "ams", 1),
    Case("openvpn_udp", "OpenVPN-UDP", "openvpn", "ovpn-de-udp", "ams", 4),
    Case("openvpn_tcp", "OpenVPN-TCP", "openvpn", "ovpn-de-tcp", "ams", 5),
    Case("ikev2", "IKEv2", "ikev2", "ike-us", "nyc", 6),
)
DIRECT = CASES[1]  # its server's line drops no echoes


@dataclass(frozen=True)
class Pinged:
    """A tunnel that was opened, pinged through and closed [ms, MB of 10^6 bytes].

    Attributes:
        setup_ms: from the request to the box's readiness.
        connection_ms: of it, from the first stage to configured.
        remote_ms: of that, the stages that wait for the server; the rest configures this host.
        teardown_ms: until nothing was left.
        rtt_ms: median inside.
        line_ms: of these echoes, median on the line, both ways.
        far_ms: of these echoes, median at the server's end, between the ways.
        rounds: round trips that the line saw in the handshake.
        handshake_far_ms: what the server's end took for its parts of the handshake.
        private_mb: memory that the box's processes share with nobody.
        shared_mb: the same with their part of what is shared (PSS).
    """

    setup_ms: float
    connection_ms: float
    remote_ms: float
    teardown_ms: float
    rtt_ms: float
    line_ms: float
    far_ms: float
    rounds: int
    handshake_far_ms: float
    private_mb: float
    shared_mb: float

    @property
    def own_setup_ms(self) -> float:
        """What setting up took beyond the connection."""
        return self.setup_ms - self.connection_ms

    @property
    def rtt_excess_us(self) -> float:
        """How much longer the median was than the line's."""
        return (self.rtt_ms - self.line_ms) * 1000

    @property
    def ends_us(self) -> float:
        """Of that, the server's end, and as much for ours, which does the same work."""
        return 2 * self.far_ms * 1000

    def handshake_excess_ms(self, case: Case) -> float:
        """How much longer connecting took than the protocol's round trips on the line."""
        return self.connection_ms - case.rounds * self.line_ms


def pinged(vantage: Vantage, case: Case) -> Pinged:
    """Open a tunnel, ping through it, read its memory, and close it."""
    began = time.time()
    request = opened(WAYS[case.protocol], _echoes("echoes", ECHOES), _echoes("memory", 5))
    request.backend = case.backend
    told: list[tunnel_pb2.HelperEvent] = []
    private = shared = 0.0
    with vantage.connect(request) as connection:
        for event in events(connection):
            told.append(event)
            if event.task.key == "memory":
                private, shared = _memory_mb(residue.descendants(vantage.helper))
    check(case, told)
    up = next(event.up for event in told if event.WhichOneof("event") == "up")
    row = rows(told)[0]
    packets = _recorded(vantage, case, began)
    inside = inner_echoes(packets)
    remote = sum(event.stage.ms for event in told if event.stage.stage in _REMOTE_STAGES)
    seen = flights(packets, remote, _NOTICED_MS)
    return Pinged(
        setup_ms=up.setup_ms,
        connection_ms=up.connection_ms,
        remote_ms=remote,
        teardown_ms=told[-1].ended.teardown_ms,
        rtt_ms=row.ping_ms,
        line_ms=inside.line_ms,
        far_ms=inside.far_ms,
        rounds=seen.rounds,
        handshake_far_ms=seen.far_ms,
        private_mb=private,
        shared_mb=shared,
    )


def direct_excess_us(vantage: Vantage) -> float:
    """How much longer the median of direct echoes to a server was than the line's record of them."""
    began = time.time()
    target = _echoes("direct", ECHOES, WAYS[DIRECT.protocol].entry)

    async def measure() -> pb.Performance:
        engines = Engines()
        try:
            [result] = await PingCheck().run(target, Context(icmp=engines))
        finally:
            engines.close()
        return result.performance

    with _inside(vantage):
        row = asyncio.run(measure())
    if row.failure:
        raise SystemExit(f"direct ping: {row.detail}")
    return (row.ping_ms - direct_echoes(_recorded(vantage, DIRECT, began)).line_ms) * 1000


def _echoes(key: str, count: int, host: str = "") -> control_pb2.Task:
    spec = control_pb2.PingSpec(
        host=host, count=count, spacing_ms=SPACING_MS, wait_ms=500, payload_bytes=PAYLOAD_BYTES
    )
    return control_pb2.Task(key=key, target="bench", timeout_ms=20_000, ping=spec)


def rows(told: list[tunnel_pb2.HelperEvent]) -> list[pb.Performance]:
    """Give what the checks inside measured."""
    return [event.result.performance for event in told if event.WhichOneof("event") == "result"]


def check(case: Case, told: list[tunnel_pb2.HelperEvent]) -> None:
    """End the benchmark where a run failed: a figure of a failure is none."""
    whys = [row.detail or pb.Failure.Name(row.failure) for row in rows(told) if row.failure]
    if not told or told[-1].ended.failure:
        whys.append(told[-1].ended.detail if told else "the tunnel helper hung up")
    if whys:
        raise SystemExit(f"{case.name}: {'; '.join(whys)}")


def _recorded(vantage: Vantage, case: Case, since_s: float) -> list[Record]:
    """What the line of a case's server held of this vantage's packets."""
    path = vantage.lab.vantages.index(vantage.name)
    file = vantage.lab.folder / "lines" / f"{case.server}.record"
    return [one for one in records.read(file, since_s) if one.path == path]


@contextlib.contextmanager
def _inside(vantage: Vantage) -> Iterator[None]:
    netns = os.open(vantage.lab.netns(vantage.name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        with namespaces.inside(netns):
            yield
    finally:
        os.close(netns)


def _memory_mb(pids: dict[int, list[str]]) -> tuple[float, float]:
    """Private memory of processes, and PSS [10^6 bytes]."""
    private = shared = 0
    for pid in pids:
        words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
        clean, dirty, pss = (
            int(words[words.index(name) + 1]) for name in ("Private_Clean:", "Private_Dirty:", "Pss:")
        )
        private += clean + dirty
        shared += pss
    return private * _BYTES_OF_KIB / 1e6, shared * _BYTES_OF_KIB / 1e6
