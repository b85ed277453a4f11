"""A collector in foreign hands says what no honest one says: shapes, sizes, numbers, acks, leases."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from support import hostile_stage
from support.hostile_stage import PORT, WORLD, Stage
from support.played_collector import honest
from support.programs import eventually

from sonde_proto.v1 import control_pb2, ingest_pb2
from sonde_proto.v1 import results_pb2 as pb

_LACK = hostile_stage.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("hostile"),
    pytest.mark.skipif(_LACK is not None, reason=f"a network of its own: {_LACK}"),
]

MOST_MB = 160
"""Of an agent that was sent the largest answers that gRPC lets pass; an honest one has some 50."""


def tcp(key: str, **more: Any) -> control_pb2.Task:
    """An honest task."""
    task = control_pb2.Task(key=key, target="words", interval_ms=2000, timeout_ms=1500, **more)
    task.endpoint.kind, task.endpoint.url = pb.ENDPOINT_KIND_TCP, f"{WORLD}:{PORT}"
    return task


def lead(number: int, body: bytes) -> bytes:
    """A field with a length."""
    size, out = len(body), bytearray([number << 3 | 2])
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size]) + body


def _absurd() -> Iterator[tuple[str, bytes]]:
    head = control_pb2.Assignment(revision=10**6, database_id=b"d" * 16).SerializeToString()
    yield "garbage", b"\xff" * 1000
    yield "no end", head + b"\x2a\xff\xff\xff\xff\x0f"
    yield "not a text", head + lead(5, lead(1, b"\xff\xfe"))
    yield "a million empty tasks", head + b"\x2a\x00" * 1_000_000
    yield "four million empty addresses", head + lead(5, lead(11, b"\x22\x00" * 3_900_000))
    yield "tasks in a task", head + lead(5, lead(12, b"\x4a\x00" * 3_900_000))
    many = lead(5, lead(1, b"k") + lead(11, b"\x22\x00" * 32_000))
    yield "many of them", head + many * 120
    yield (
        "100 000 tasks",
        head + b"".join(lead(5, tcp(f"t{number}").SerializeToString()) for number in range(100_000)),
    )
    deep = b""
    for _ in range(2000):
        deep = lead(12, lead(9, deep))
    yield "deep", head + lead(5, deep)
    yield (
        "the largest revision",
        control_pb2.Assignment(
            revision=2**64 - 1, database_id=b"d" * 16, tasks=[tcp("x")]
        ).SerializeToString(),
    )
    yield (
        "a huge database",
        control_pb2.Assignment(
            revision=10**6, database_id=b"d" * 4_000_000, tasks=[tcp("x")]
        ).SerializeToString(),
    )


def test_an_absurd_answer_is_told_and_changes_nothing(stage: Stage) -> None:
    """None comes in force or costs memory; the agent says why, connects again and measures on."""
    stage.collector.taken(stage.collector.assign(tcp("kept")))
    before = len(stage.collector.results("words"))
    for name, data in _absurd():
        calls = stage.collector.calls
        stage.collector.say(data)
        eventually(
            lambda calls=calls: stage.collector.calls > calls, 15, lambda name=name: f"{name}: {stage.tail()}"
        )
    assert all(state.revision < 10**6 for state in stage.collector.states)
    eventually(lambda: len(stage.collector.results("words")) > before + 1, 20, stage.tail)
    assert stage.peak_mb() < MOST_MB, f"{stage.peak_mb():.0f} MB"
    stage.is_well()


@pytest.mark.soak
def test_an_answer_beyond_grpcs_limit_is_waited_out(stage: Stage) -> None:
    """What gRPC itself refuses ends the call; half a minute later the agent is there again."""
    calls = stage.collector.calls
    stage.collector.say(b"\0" * (9 << 20))
    eventually(lambda: stage.collector.calls > calls, 40, stage.tail)
    stage.measure(tcp("after the limit"))
    stage.is_well()


def test_more_tasks_than_the_limit_are_refused_from_there(stage: Stage) -> None:
    """Of 20 000 tasks those within the limits run; what the agent says of the others stays short."""
    state = stage.measure(*(tcp(f"t{number}") for number in range(19_000)), slots=1)
    assert len(state.refused) == 201
    assert "limits." in state.refused[0].reason
    assert state.refused[-1].reason.startswith("and ")
    assert state.ByteSize() < 60_000
    assert stage.peak_mb() < MOST_MB
    stage.is_well()


NUMBERS = {
    FieldDescriptor.TYPE_UINT32: (0, 1, 2**31, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 1, 2**63, 2**64 - 1),
    FieldDescriptor.TYPE_ENUM: (77, -1),
    FieldDescriptor.TYPE_BOOL: (True,),
}


def specs() -> list[control_pb2.Task]:
    """A sound task of each kind."""
    tasks = [control_pb2.Task() for _ in range(5)]
    tasks[0].ping.CopyFrom(
        control_pb2.PingSpec(host=WORLD, count=2, spacing_ms=10, wait_ms=100, payload_bytes=16)
    )
    tasks[1].endpoint.kind, tasks[1].endpoint.url = pb.ENDPOINT_KIND_HTTP, f"http://{WORLD}:{PORT}/"
    tasks[1].endpoint.expect.body_contains = "ok"
    tasks[2].connection.credential, tasks[2].connection.profile = "lab", "link.conf"
    tasks[2].connection.place.host = WORLD
    tasks[3].throughput.url, tasks[3].throughput.max_bytes = f"http://{WORLD}:{PORT}/small", 1000
    tasks[4].unlock.rules.add(slug="netflix")
    return tasks


def with_every_number(task: control_pb2.Task, message: Any = None) -> Iterator[control_pb2.Task]:
    """The task with each of its numbers, and those of its spec, at each extreme."""
    inner = task if message is None else message
    for field in inner.DESCRIPTOR.fields:
        for value in NUMBERS.get(field.type, ()):
            if field.is_repeated:
                kept = list(getattr(inner, field.name))
                getattr(inner, field.name).append(value)
            else:
                kept = getattr(inner, field.name)
                setattr(inner, field.name, value)
            made = control_pb2.Task()
            made.CopyFrom(task)
            yield made
            if field.is_repeated:
                inner.ClearField(field.name)
                getattr(inner, field.name).extend(kept)
            else:
                setattr(inner, field.name, kept)
        if (
            field.type == FieldDescriptor.TYPE_MESSAGE
            and not field.is_repeated
            and inner.HasField(field.name)
        ):
            yield from with_every_number(task, getattr(inner, field.name))


def test_every_number_at_its_extremes_is_run_or_refused(stage: Stage) -> None:
    """0, 1, half and the largest in every integer, and an enum's value of the future: nothing breaks."""
    tasks = []
    for sound in specs():
        sound.target, sound.interval_ms, sound.timeout_ms = "numbers", 3000, 1500
        tasks += list(with_every_number(sound))
    for number, task in enumerate(tasks):
        task.key = f"n{number}"
    assert len(tasks) > 120
    state = stage.measure(*tasks, slots=5)
    assert 20 < len(state.refused) < len(tasks)
    stage.is_well()


CATASTROPHES = [
    "(a+)+$", "(a|a)*b", "(.*)*x", "a{1000}{1000}", "(" * 2000, "[" * 4000, "\\1(a)", "(?=a)", "a" * 5000,
    "(a?){60}a{60}", ".{1,1000}.{1,1000}.{1,1000}x",
]  # fmt: skip


def test_expressions_do_not_hang_the_agent(stage: Stage) -> None:
    """Expressions that take others for ever, on a body without end, leave the agent on time."""
    tasks = []
    for number, pattern in enumerate(CATASTROPHES):
        task = control_pb2.Task(key=f"r{number}", target="patterns", interval_ms=3000, timeout_ms=2500)
        task.endpoint.kind = pb.ENDPOINT_KIND_HTTP
        task.endpoint.url = f"http://{WORLD}:{PORT}/endless"
        task.endpoint.expect.body_regex = pattern
        task.endpoint.expect.header_regex["server"] = pattern
        tasks.append(task)
    stage.measure(*tasks, slots=5)
    stage.is_well()
    assert stage.peak_mb() < MOST_MB


def test_what_is_taken_back_or_doubled_does_no_harm(stage: Stage) -> None:
    """One key twice, a revision that goes back, "unchanged" of what is new, a clock years off: it goes on."""
    again = [tcp("same"), tcp("same")]
    again[1].endpoint.url = f"http://{WORLD}:1"
    state = stage.measure(*again)
    assert [(one.task, one.reason) for one in state.refused] == [
        ("same (again)", "another task of the assignment has this key")
    ]
    revision = stage.collector.states[-1].revision
    year_us = 365 * 86_400 * 10**6
    for lie in (
        control_pb2.Assignment(revision=1, database_id=b"d" * 16),
        control_pb2.Assignment(revision=revision + 50, database_id=b"d" * 16, unchanged=True),
        control_pb2.Assignment(unchanged=True),
        *(
            control_pb2.Assignment(
                unchanged=True,
                clock=control_pb2.Clock(agent_sent_at_us=sent, received_at_us=at, sent_at_us=at),
            )
            for sent in (0, -(2**63), time.time_ns() // 1000)
            for at in (2**63 - 1, -(2**63), time.time_ns() // 1000 - year_us)
        ),
    ):
        stage.collector.say(lie.SerializeToString())
    stage.measure(tcp("after"))
    stage.is_well()


def test_words_without_end_do_not_keep_it_busy(stage: Stage) -> None:
    """Of two thousand new assignments at once it takes one a second, and measures as soon as they end."""
    for number in range(1, 2001):
        tasks = [tcp(f"flood{number}-{one}") for one in range(20)]
        flood = control_pb2.Assignment(revision=number, database_id=b"e" * 16, tasks=tasks)
        stage.collector.say(flood.SerializeToString())
    before = stage.log.read_text().count('"event": "assignment"')
    time.sleep(4)  # the time in which they would have been taken
    assert stage.log.read_text().count('"event": "assignment"') - before < 8
    stage.collector.hang_up()
    stage.measure(tcp("after the flood"))
    stage.is_well()
    assert stage.peak_mb() < MOST_MB


Acks = Sequence[ingest_pb2.Ack | bytes]


def ahead(ack: ingest_pb2.Ack) -> Acks:
    """More than was ever sent."""
    ack.acked_seq += 10**6
    return [ack]


def largest(ack: ingest_pb2.Ack) -> Acks:
    """The largest there is."""
    ack.acked_seq = 2**64 - 1
    return [ack]


def back(ack: ingest_pb2.Ack) -> Acks:
    """Less than before."""
    ack.acked_seq, ack.chain = 0, b""
    return [ack]


def foreign(ack: ingest_pb2.Ack) -> Acks:
    """Of another history."""
    ack.chain = b"x" * 32
    return [ack]


def garbage(_: ingest_pb2.Ack) -> Acks:
    """No ack."""
    return [b"\xff" * 40]


def nothing(_: ingest_pb2.Ack) -> Acks:
    """An empty one."""
    return [b""]


def huge(ack: ingest_pb2.Ack) -> Acks:
    """With an id of megabytes."""
    ack.database_id = b"d" * 4_000_000
    return [ack]


def flood(ack: ingest_pb2.Ack) -> Acks:
    """Over and over."""
    return [ack] * 3000


def far(ack: ingest_pb2.Ack) -> Acks:
    """With clocks at their ends."""
    ack.received_at_us = ack.sent_at_us = 2**63 - 1
    return [ack]


def once(lie: Any) -> Any:
    """The lie, and the truth from then on."""
    told = False

    def one(ack: ingest_pb2.Ack) -> Acks:
        nonlocal told
        told, before = True, told
        answer: Acks = honest(ack) if before else lie(ack)
        return answer

    return one


def _no_result_is_lost(stage: Stage, target: str, lies: Sequence[Any]) -> None:
    task = tcp("acked")
    task.target, task.interval_ms = target, 1000
    stage.collector.taken(stage.collector.assign(task))
    for lie in lies:
        stage.collector.lie = lie
        time.sleep(1.2)  # a run under each lie
        stage.is_well()
    stage.collector.lie = honest
    eventually(lambda: len(stage.collector.results(target)) > len(lies), 60, stage.tail)
    seqs: dict[bytes, list[int]] = {}
    for epoch, seq in stage.collector.rows:
        seqs.setdefault(epoch, []).append(seq)
    for epoch, got in seqs.items():
        assert sorted(got) == list(range(1, max(got) + 1)), (epoch.hex(), sorted(got)[-20:])
    stage.is_well()


def test_no_lying_ack_costs_a_result(stage: Stage) -> None:
    """Whatever is acked, what was measured meanwhile is delivered in full once the acks are true again."""
    lies = [garbage, nothing, huge, flood, far]
    _no_result_is_lost(stage, "acked", [*map(once, (ahead, largest)), *lies])


@pytest.mark.soak
@pytest.mark.parametrize("lie", [ahead, largest, back, foreign], ids=lambda lie: str(lie.__name__))
def test_an_ack_of_another_history_costs_no_result(stage: Stage, lie: Any) -> None:
    """The stream is left alone for half a minute; with a true collector it goes on where it was."""
    _no_result_is_lost(stage, lie.__name__, [lie])
