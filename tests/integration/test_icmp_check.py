"""The ping check from a task to its row, on real sockets."""

import asyncio

import pytest
from support.own_network import OPEN_DATAGRAM_ICMP, run_in_own_network

from sonde_agent.checks.base import CheckImpossible, Context
from sonde_agent.checks.ping.check import PingCheck
from sonde_agent.net.icmp import Engines
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

pytestmark = pytest.mark.root


def measure(host: str, *commands: str, refuse: str | None = None, **spec: object) -> pb.Result:
    """The one result of pinging `host` in a namespace of its own."""
    fields = {"count": 3, "spacing_ms": 10, "wait_ms": 300, "payload_bytes": 16} | spec
    task = control_pb2.Task(
        key="k", target="here", timeout_ms=5000, ping=control_pb2.PingSpec(host=host, **fields)
    )

    async def inside() -> pb.Result:
        context = Context(icmp=Engines(), refuse=lambda _address, _port: refuse, wall_us=lambda: 42)
        try:
            (result,) = await PingCheck().run(task, context)
        finally:
            context.icmp.close()
        return result

    return run_in_own_network(inside, commands)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", 4), ("::1", 6), ("localhost", 4)])
def test_a_row_of_figures(host: str, family: int) -> None:
    """A host that answers gives a row without failure, with target and time as asked."""
    result = measure(host, OPEN_DATAGRAM_ICMP, family=family)
    row = result.performance
    assert (result.target, result.measured_at_us) == ("here", 42)
    assert (row.sent, row.received, row.packet_loss_pct, row.family) == (3, 3, 0, family)
    assert 0 < row.rtt_min_ms <= row.ping_ms <= row.rtt_max_ms < 1000
    assert not row.HasField("failure")
    assert not row.HasField("connection_success")
    assert not row.HasField("quality")


def test_a_raw_socket_is_flagged() -> None:
    """Where datagram ICMP is closed the row says that it went through a raw socket."""
    assert measure("127.0.0.1").performance.quality == Quality.RAW_SOCKET


@pytest.mark.parametrize(
    ("host", "failure", "stage", "success"),
    [
        ("127.0.0.1", pb.FAILURE_NONE, pb.STAGE_NONE, True),
        ("127.0.0.66", pb.FAILURE_TIMEOUT, pb.STAGE_TRANSPORT, False),
        ("127.0.0.67", pb.FAILURE_UNREACHABLE, pb.STAGE_TRANSPORT, False),
        ("127.0.0.68", pb.FAILURE_LOCAL, pb.STAGE_TRANSPORT, None),
        ("203.0.113.1", pb.FAILURE_UNSUPPORTED, pb.STAGE_TRANSPORT, None),
        ("2001:db8::1", pb.FAILURE_UNSUPPORTED, pb.STAGE_TRANSPORT, None),
        ("nowhere.invalid", pb.FAILURE_DNS, pb.STAGE_RESOLVE, False),
    ],
)
def test_failure_stage_and_success(
    host: str,
    failure: pb.Failure.ValueType,
    stage: pb.Stage.ValueType,
    success: bool | None,  # noqa: FBT001 -- parametrised
) -> None:
    """Each way to fail has its name and stage; success by ping is NULL where the failure was ours."""
    rules = [
        "nft add table inet t",
        "nft 'add chain inet t i { type filter hook input priority 0; }'",
        "nft 'add chain inet t o { type filter hook output priority 0; }'",
        "nft add rule inet t i ip daddr 127.0.0.66 drop",
        "nft add rule inet t i ip daddr 127.0.0.67 reject with icmp type host-unreachable",
        "nft add rule inet t o ip daddr 127.0.0.68 drop",
    ]
    row = measure(host, OPEN_DATAGRAM_ICMP, *rules, success=True).performance
    assert (row.failure, row.stage) == (failure, stage)
    assert (row.connection_success if row.HasField("connection_success") else None) == success
    assert bool(row.quality & Quality.SUCCESS_BY_PING) == (success is not None)
    if failure in (pb.FAILURE_LOCAL, pb.FAILURE_UNSUPPORTED):
        assert not row.HasField("packet_loss_pct")


def test_an_address_of_the_other_family_is_no_address() -> None:
    """An IPv4 address asked for over IPv6 fails at resolve, and nothing is sent."""
    row = measure("127.0.0.1", OPEN_DATAGRAM_ICMP, family=6).performance
    assert (row.failure, row.stage, row.family) == (pb.FAILURE_NO_ADDRESS, pb.STAGE_RESOLVE, 6)


def test_the_policy_judges_the_address() -> None:
    """An address that the policy forbids is not pinged, whatever name led to it."""
    row = measure("localhost", OPEN_DATAGRAM_ICMP, refuse="it is loopback").performance
    assert (row.failure, row.HasField("sent")) == (pb.FAILURE_POLICY, False)


@pytest.mark.parametrize("spec", [{"host": "224.0.0.1"}, {"host": "127.0.0.1", "payload_bytes": 9000}])
def test_what_can_t_be_pinged_is_said_in_words(spec: dict[str, object]) -> None:
    """A target or a size that no ping can have ends in one sentence, before anything is sent."""
    with pytest.raises(CheckImpossible, match=r"host|bytes"):
        measure(str(spec.pop("host")), OPEN_DATAGRAM_ICMP, **spec)


def test_the_deadline_leaves_nothing_behind() -> None:
    """A run cut by its deadline is gone from the engine: nothing is sent for it any more."""

    async def inside() -> int:
        context = Context(icmp=Engines())
        spec = control_pb2.PingSpec(host="127.0.0.1", count=1000, spacing_ms=10, wait_ms=10, payload_bytes=16)
        task = control_pb2.Task(key="k", target="here", timeout_ms=5000, ping=spec)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await PingCheck().run(task, context)
        left = len(context.icmp.engine(4)._in_flight.runs)
        context.icmp.close()
        return left

    assert run_in_own_network(inside, [OPEN_DATAGRAM_ICMP]) == 0
