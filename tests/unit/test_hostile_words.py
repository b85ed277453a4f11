"""Any assignment and any ack that can travel: read, judged, planned and joined without a defect."""

import contextlib
import ipaddress
import random
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.any_message import messages

from sonde_agent import grouping
from sonde_agent.addresses import parse_address
from sonde_agent.admission import Admission, Slot, most_demanding
from sonde_agent.allowance import Allowance, cost_of
from sonde_agent.checks.kinds import KINDS
from sonde_agent.checks.throughput.pure import plan_of
from sonde_agent.config import PolicyRules
from sonde_agent.judgement import MOST_TOLD, Judge
from sonde_agent.limits import USUAL, Limits
from sonde_agent.policy import DENIED, Policy
from sonde_agent.schedule import Schedule
from sonde_agent.spool import Diverged, Spool, SpoolError
from sonde_agent.task_places import files, places
from sonde_agent.uplink import calls
from sonde_agent.uplink.backoff import Interrupted
from sonde_agent.uplink.clock_exchange import ClockExchange
from sonde_proto.v1 import control_pb2, ingest_pb2, results_pb2

FILES = Path("/etc/sonde/files")
POLICY = Policy(PolicyRules(files=(FILES,), deny_targets=("localhost",)))
JUDGE = Judge(KINDS, ("", "lab"), USUAL)


def _plan_and_join(assignment: control_pb2.Assignment) -> None:
    """All that the agent does with an assignment before a packet is sent."""
    judged = JUDGE.judge(assignment.tasks, POLICY)
    allowed = judged.allowed
    assert len(judged.told()) <= MOST_TOLD + 1
    keys = {task.key for task in assignment.tasks}
    assert set(allowed) <= keys
    for task in allowed.values():
        _is_within(task)
        for inside in task.connection.inside:
            _is_within(inside)
    schedule = Schedule("v", random.Random(1))
    run_keys = {key: grouping.run_key(task) for key, task in allowed.items()}
    schedule.assign({key: task.interval_ms * 10**6 for key, task in allowed.items()}, 0, run_keys)
    admission, allowance = Admission(32), Allowance(Limits(), 0.0)
    for due in schedule.take(10**18):
        task = grouping.joined([allowed[due.key], allowed[due.key]])
        slot = Slot(due.key, 0, most_demanding([getattr(task, "class")]), tunnel=grouping.opens_tunnel(task))
        admission.offer(slot)
        allowance.take(cost_of(task), 1.0)
        grouping.wants(task, "")
        for load in grouping.loads(task):
            plan_of(load.throughput)
    admission.start()


def _is_within(task: control_pb2.Task) -> None:
    """What an allowed task may ask for, said a second time and another way."""
    assert task.timeout_ms <= 3_600_000
    assert task.ping.count <= 1000
    assert task.ping.count <= 1 or task.ping.spacing_ms >= 10
    assert task.throughput.streams <= 64
    assert task.endpoint.max_body_bytes <= 10**8
    for file in files(task):
        assert FILES in PurePath(file).parents or file == FILES
        assert ".." not in file.parts
    if task.WhichOneof("spec") == "ping" and not task.ping.host:
        return  # the tunnel's own gateway
    for host, _ in places(task):
        address = parse_address(host)
        assert host.lower().rstrip(".") != "localhost"
        if isinstance(address, ipaddress.IPv4Address):
            assert not any(address in network for network in DENIED)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=80, deadline=None)
@given(messages(control_pb2.Assignment))
def test_any_assignment_is_run_or_refused(assignment: control_pb2.Assignment) -> None:
    """Whatever can travel is read or told not to be; what is allowed of it stays within every bound."""
    with contextlib.suppress(Interrupted):
        _plan_and_join(calls.read_assignment(assignment.SerializeToString()))


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=20_000, deadline=None)
@given(messages(control_pb2.Assignment))
@pytest.mark.soak
def test_any_assignment_is_run_or_refused_for_long(assignment: control_pb2.Assignment) -> None:
    """The same, many times."""
    with contextlib.suppress(Interrupted):
        _plan_and_join(calls.read_assignment(assignment.SerializeToString()))


@given(messages(control_pb2.Assignment))
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50, deadline=None)
def test_an_assignment_is_read_as_protobuf_reads_it(assignment: control_pb2.Assignment) -> None:
    """What is taken is what was sent, field by field."""
    with contextlib.suppress(Interrupted):
        assert calls.read_assignment(assignment.SerializeToString()) == assignment


@given(st.binary(max_size=300), messages(control_pb2.Assignment), st.integers(0, 300), st.integers(0, 255))
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=100, deadline=None)
def test_any_bytes_are_an_answer_or_none(
    noise: bytes, assignment: control_pb2.Assignment, at: int, byte: int
) -> None:
    """Noise, and an assignment with a byte changed or its end cut off, are told to be none, or read."""
    data = bytearray(assignment.SerializeToString())
    if data:
        data[at % len(data)] = byte
    for answer in (noise, bytes(data), bytes(data[:at])):
        for read in (calls.read_assignment, calls.read_ack):
            with contextlib.suppress(Interrupted):
                read(answer)


@given(messages(ingest_pb2.Ack), st.integers(1, 2**62))
def test_any_clock_is_taken_in(ack: ingest_pb2.Ack, now_us: int) -> None:
    """An offset that is kept can be sent on, whatever the times were."""
    clock = ClockExchange()
    clock.add(ack.batch_sent_at_us, ack.received_at_us, ack.sent_at_us, now_us)
    if (best := clock.best()) is not None:
        ingest_pb2.Batch(clock_offset_us=best.offset_us)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(messages(ingest_pb2.Ack), st.integers(0, 12)), max_size=6))
def test_no_ack_deletes_what_was_never_sent(told: list[tuple[ingest_pb2.Ack, int]]) -> None:
    """Of results that no collector saw, none is lost to any answer to a hello."""
    with TemporaryDirectory() as folder:
        spool = Spool.open(Path(folder) / "spool", max_bytes=2**20, max_age_s=1e9, history_s=0)
        with contextlib.closing(spool):
            spool.append([results_pb2.Result(measured_at_us=number, target="t") for number in range(1, 11)])
            for ack, near in told:
                (view,) = spool.streams()
                seq = near if ack.acked_seq % 2 else ack.acked_seq
                with contextlib.suppress(Diverged, SpoolError):
                    spool.reconcile(view, seq, ack.chain, ack.database_id)
            (view,) = spool.streams()
            chunk = spool.peek(view, view.acked_seq, 100, 10**6)
            assert [result.measured_at_us for _, result in chunk.results] == list(range(1, 11))
