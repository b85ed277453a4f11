"""A collector in foreign hands asks for more than this agent's own limits: what really went over the wire."""

import datetime as dt
import time
from collections.abc import Iterator

import pytest
from support import hostile_stage
from support.hostile_stage import PORT, WORLD, Stage
from support.programs import eventually

from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_LACK = hostile_stage.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("hostile-low"),
    pytest.mark.skipif(_LACK is not None, reason=f"a network of its own: {_LACK}"),
]

LIMITS = """
[limits]
throughput_day = "3MB"
echoes_per_s = 20
runs_per_minute = 300
bodies_hour = "2MB"
[policy]
allow = ["10.9.9.0/24"]
"""
_ECHO_REQUEST = 8


@pytest.fixture(scope="module")
def low() -> Iterator[Stage]:
    """An agent with low limits, one denied network opened, and a block that soon ends."""
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=8)
    block = (
        f'[[policy.block]]\ntarget = "192.0.2.66"\nreason = "ticket 7"\nuntil = {ends:%Y-%m-%dT%H:%M:%SZ}\n'
    )
    with hostile_stage.stage(LIMITS + block) as made:
        yield made


def echo(key: str, host: str, count: int = 2) -> control_pb2.Task:
    """An assigned ping."""
    task = control_pb2.Task(key=key, target=key, interval_ms=1000, timeout_ms=3000)
    task.ping.CopyFrom(
        control_pb2.PingSpec(host=host, count=count, spacing_ms=10, wait_ms=100, payload_bytes=16)
    )
    return task


def test_a_block_ends_without_a_restart(low: Stage) -> None:
    """While it is in force its reason and end are told; then the same assignment measures its target."""
    (told,) = low.measure(echo("soon", "192.0.2.66"), slots=1).refused
    assert told.reason.startswith('policy.block holds "192.0.2.66" until 20')
    assert told.reason.endswith("Z: ticket 7")
    eventually(lambda: low.collector.results("soon"), 15, low.tail)
    assert low.collector.results("soon")[0].performance.received == 2


def received(low: Stage, since: int) -> int:
    """Bytes of TCP that came from the sink to the agent, headers and all."""
    packets = [packet for packet in tuple(low.packets)[since:] if packet.ports[0] == PORT]
    return sum(len(packet.data) for packet in packets) // 2  # each is seen as it goes out and as it comes in


def download(key: str) -> control_pb2.Task:
    """A transfer of a megabyte at most."""
    task = control_pb2.Task(key=key, target="load", interval_ms=1000, timeout_ms=900)
    task.throughput.url, task.throughput.max_bytes = f"http://{WORLD}:{PORT}/endless", 1_000_000
    task.throughput.rate_cap_mbps, task.throughput.streams = 20, 1
    return task


def test_the_evidence_sees_what_it_looks_for(low: Stage) -> None:
    """Where the policy opens a denied network, the same capture shows packets to it."""
    low.measure(echo("open", "inside.example"))
    eventually(low.touched, 10, low.tail)
    with pytest.raises(AssertionError):
        low.is_well()


LEASES = [
    control_pb2.AcquireReply(lease="l", ttl_ms=0),
    control_pb2.AcquireReply(lease="l", ttl_ms=2**32 - 1),
    control_pb2.AcquireReply(lease="l" * 10_000, ttl_ms=1),
    control_pb2.AcquireReply(reason=77, retry_after_ms=0, detail="x\n" * 5000),  # type: ignore[arg-type]
    control_pb2.AcquireReply(reason=pb.MISS_REASON_CREDENTIAL, retry_after_ms=2**32 - 1),
    control_pb2.AcquireReply(detail="d" * 3_000_000),
    b"\xff\xff\xff",
    b"",
]


def test_no_answer_about_a_lease_breaks_a_run(low: Stage) -> None:
    """Leases of no time, for ever, for no known reason, or garbage: each slot is run or missed."""
    for reply in LEASES:
        low.collector.lease = reply
        asked = len(low.collector.asked)
        task = download(f"l{LEASES.index(reply)}")
        task.throughput.max_bytes = 1000
        low.measure(task, slots=1)
        eventually(lambda asked=asked: len(low.collector.asked) > asked, 10, low.tail)
    low.collector.renewed = b"\xff"
    low.collector.lease = control_pb2.AcquireReply(lease="l", ttl_ms=60_000)
    low.measure(download("renewed"))
    low.collector.renewed = control_pb2.RenewReply(ttl_ms=60_000)
    assert low.process.poll() is None
    log = low.log.read_text()
    assert "Traceback" not in log
    assert "check_broke" not in log
    assert "never retrieved" not in log
    assert max(map(len, log.splitlines())) < 2000


def test_throughput_stays_within_the_agents_own_day(low: Stage) -> None:
    """With 2^64-1 bytes a month and every lease granted, what arrives is the local day's and no more."""
    since = len(low.packets)
    low.measure(*(download(f"d{number}") for number in range(6)), monthly_bytes=2**64 - 1, slots=5)
    eventually(lambda: low.collector.missed(pb.MISS_REASON_BUDGET), 10, low.tail)
    begun = [result.performance for result in low.collector.results("load")]
    assert any(row.down_bytes for row in begun), begun
    assert received(low, since) < 3_000_000 * 1.1 + 200_000  # of heads, and of the honest tasks


def test_echoes_stay_within_the_limit_though_assignments_change(low: Stage) -> None:
    """New tasks each second, each due at once, send no more echoes than the limit and its ten seconds."""
    since, began = len(low.packets), time.monotonic()
    for turn in range(8):
        tasks = []
        for number in range(12):
            tasks.append(echo(f"e{turn}-{number}", WORLD, 90))
            tasks[-1].interval_ms = 60_000 if number else 5000
        low.collector.taken(low.collector.assign(*tasks))
    time.sleep(2)
    took_s = time.monotonic() - began
    sent = sum(packet.kind == _ECHO_REQUEST and packet.protocol == 1 for packet in low.packets[since:]) / 2
    assert sent <= 20 * (10 + took_s)
    (told,) = low.measure(echo("big", WORLD, 1000)).refused
    assert told.reason == "limits.echoes_per_s: one run of it sends 1000"


def test_bodies_stay_within_the_hour(low: Stage) -> None:
    """Pages without end cost the hour's bytes; the slots after that are missed, and told to be."""
    before = low.collector.missed(pb.MISS_REASON_BUDGET)
    tasks = []
    for number in range(8):
        task = control_pb2.Task(key=f"p{number}", target="page", interval_ms=2000, timeout_ms=1500)
        task.endpoint.kind, task.endpoint.url = pb.ENDPOINT_KIND_HTTP, f"http://{WORLD}:{PORT}/endless"
        task.endpoint.max_body_bytes = 500_000
        tasks.append(task)
    low.measure(*tasks, slots=5)
    eventually(lambda: low.collector.missed(pb.MISS_REASON_BUDGET) > before, 10, low.tail)
    assert any(result.endpoint.body_bytes for result in low.collector.results("page"))
    read = sum(result.endpoint.body_bytes for result in low.collector.results("page"))
    assert read <= 2_000_000 * 1.02
