"""From what was seen of a tunnel run to its one row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.checks.connection.pure import LONGEST_DETAIL, row_of, unlock_rows
from sonde_agent.checks.connection.verdict import OURS, Course, judge
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

SPEC = control_pb2.ConnectionSpec(credential="acme", protocol="WireGuard")
EXIT, OWN = "203.0.113.7", "198.51.100.1"
ALIVE = pb.Performance(sent=5, received=5, ping_ms=20, jitter_ms=0.1, packet_loss_pct=0)
DEAD = pb.Performance(sent=5, received=0, packet_loss_pct=100, failure=pb.FAILURE_TIMEOUT)


def up(exit_address: str = EXIT) -> tunnel_pb2.TunnelUp:
    """A tunnel that came up."""
    made = tunnel_pb2.TunnelUp(backend="wireguard-go", family=4, connection_ms=25, exit_address=exit_address)
    if exit_address:
        made.first_byte_ms = 70
    return made


def ended(
    failure: pb.Failure.ValueType = pb.FAILURE_NONE,
    stage: pb.Stage.ValueType = pb.STAGE_NONE,
    words: str = "",
) -> tunnel_pb2.TunnelEnded:
    """How it ended."""
    return tunnel_pb2.TunnelEnded(failure=failure, stage=stage, detail=words)


def ping(row: pb.Performance = ALIVE) -> tuple[str, pb.Result]:
    """Echoes inside."""
    return "ping", pb.Result(performance=row)


def load(**fields: float) -> tuple[str, pb.Result]:
    """A transfer inside."""
    return "throughput", pb.Result(performance=pb.Performance(engine=pb.ENGINE_HTTP, **fields))


def test_a_good_run_is_one_row_of_both_paths() -> None:
    """The headline is what went through, the baseline stands beside it, and the bytes are those of both."""
    course = Course(
        protocol="WireGuard", stages={pb.STAGE_RESOLVE: 3, pb.STAGE_HANDSHAKE: 22}, up=up(), ended=ended(),
        inside=[ping(), load(download_mbps=48, down_bytes=1000)],
        direct_ping=pb.Performance(sent=5, received=5, ping_ms=19, packet_loss_pct=0),
        direct_throughput=pb.Performance(download_mbps=90, upload_mbps=80, down_bytes=500, up_bytes=7),
        own_address=OWN,
    )  # fmt: skip
    row = row_of(SPEC, course)
    assert row == pb.Performance(
        protocol="WireGuard", credential="acme", backend="wireguard-go", family=4, connection_success=True,
        connection_time_ms=25, resolve_ms=3, handshake_ms=22, first_byte_ms=70, exit_address=EXIT,
        ping_ms=20, jitter_ms=0.1, packet_loss_pct=0, sent=5, received=5, engine=pb.ENGINE_HTTP,
        download_mbps=48, down_bytes=1500, up_bytes=7, direct_ping_ms=19, direct_packet_loss_pct=0,
        direct_download_mbps=90, direct_upload_mbps=80,
    )  # fmt: skip


def test_a_leak_is_no_success_and_yields_no_figures() -> None:
    """The exit is our own address: what was measured went the direct way."""
    inside = [ping(), load(download_mbps=9, down_bytes=700, up_bytes=7)]
    course = Course(protocol="WireGuard", up=up(OWN), ended=ended(), inside=inside, own_address=OWN)
    row = row_of(SPEC, course)
    assert (row.connection_success, row.failure, row.stage) == (False, pb.FAILURE_LEAK, pb.STAGE_FIRST_BYTE)
    assert not row.HasField("ping_ms")
    assert not row.HasField("connection_time_ms")
    assert not row.HasField("download_mbps")
    assert (row.down_bytes, row.up_bytes) == (700, 7)  # it has cost them nevertheless


def test_an_exit_that_nobody_could_compare_is_flagged() -> None:
    """Not asked, or our own address unknown: EXIT_UNKNOWN; a host without that family can't be the exit."""
    course = Course(protocol="WireGuard", up=up(""), ended=ended(), inside=[ping()])
    assert row_of(SPEC, course).quality == Quality.EXIT_UNKNOWN
    course.up = up()
    assert row_of(SPEC, course).quality == Quality.EXIT_UNKNOWN
    course.own_family = False
    assert row_of(SPEC, course).quality == 0


@pytest.mark.parametrize(
    ("alive", "stage"), [(ALIVE, pb.STAGE_HANDSHAKE), (DEAD, pb.STAGE_TRANSPORT), (None, pb.STAGE_TRANSPORT)]
)
def test_wireguards_silence_is_told_apart_by_an_echo(
    alive: pb.Performance | None, stage: pb.Stage.ValueType
) -> None:
    """A host that answers echoes is not the one that is down; other protocols tell their own stage."""
    silent = ended(pb.FAILURE_TIMEOUT, pb.STAGE_HANDSHAKE, "no answer")
    assert judge(Course(protocol="WireGuard", ended=silent, direct_ping=alive)).stage == stage
    assert judge(Course(protocol="IKEv2", ended=silent, direct_ping=alive)).stage == pb.STAGE_HANDSHAKE


def test_a_tunnel_that_passes_nothing_is_no_success() -> None:
    """All echoes lost, no exit asked: TIMEOUT at the first byte. An exit that answers proves the tunnel."""
    course = Course(protocol="WireGuard", up=up(""), ended=ended(), inside=[ping(DEAD)])
    verdict = judge(course)
    assert (verdict.connected, verdict.failure, verdict.stage) == (
        False, pb.FAILURE_TIMEOUT, pb.STAGE_FIRST_BYTE,
    )  # fmt: skip
    course.up = up()
    verdict = judge(course)
    assert (verdict.connected, verdict.failure) == (True, pb.FAILURE_TIMEOUT)
    assert "ping inside" in verdict.detail
    course.up.exit_address = ""  # what was asked answered, but named no address
    assert judge(course) == verdict
    assert row_of(SPEC, course).first_byte_ms == 70


@pytest.mark.parametrize(
    ("failure", "stage", "connected"),
    [
        (pb.FAILURE_REFUSED, pb.STAGE_TRANSPORT, True),
        (pb.FAILURE_POLICY, pb.STAGE_RESOLVE, True),
        (pb.FAILURE_UNSUPPORTED, pb.STAGE_NONE, True),
        (pb.FAILURE_TIMEOUT, pb.STAGE_TRANSPORT, False),
        (pb.FAILURE_DNS, pb.STAGE_RESOLVE, False),
    ],
)
def test_only_silence_inside_says_that_nothing_comes_through(
    *, failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, connected: bool
) -> None:
    """A refusal came through the tunnel, and what this host could not ask proves nothing against it."""
    transfer = load()
    transfer[1].performance.failure, transfer[1].performance.stage = failure, stage
    page = "endpoint", pb.Result(endpoint=pb.Endpoint(failure=failure, stage=stage))
    for inside in (transfer, page):
        course = Course(protocol="OpenVPN-UDP", up=up(""), ended=ended(), inside=[inside])
        assert judge(course).connected is connected


def test_a_failure_inside_keeps_the_connection_and_its_figures() -> None:
    """A transfer that is refused says so, at the first byte or later; ping and connection time stand."""
    refused = load()
    refused[1].performance.failure, refused[1].performance.stage = pb.FAILURE_REFUSED, pb.STAGE_TRANSPORT
    course = Course(protocol="WireGuard", up=up(), ended=ended(), inside=[ping(), refused], own_address=OWN)
    row = row_of(SPEC, course)
    assert (row.connection_success, row.failure, row.stage) == (
        True, pb.FAILURE_REFUSED, pb.STAGE_FIRST_BYTE,
    )  # fmt: skip
    assert (row.ping_ms, row.connection_time_ms) == (20, 25)


def test_a_run_out_of_time_keeps_what_it_has() -> None:
    """Cut while things ran inside: connected, with the figures so far; cut before: no success."""
    course = Course(protocol="IKEv2", stages={pb.STAGE_TRANSPORT: 9}, inside=[])
    assert judge(course).stage == pb.STAGE_TRANSPORT
    assert judge(course).connected is False
    course.up, course.inside = up(), [ping()]
    verdict = judge(course)
    assert (verdict.connected, verdict.failure, verdict.stage) == (
        True, pb.FAILURE_TIMEOUT, pb.STAGE_TRANSFER,
    )  # fmt: skip


def test_a_handshake_alone_is_a_success_without_a_time() -> None:
    """The flag says that nothing went through; connection time is left unset."""
    spec = control_pb2.ConnectionSpec(handshake_only=True, credential="acme")
    row = row_of(spec, Course(protocol="WireGuard", stages={pb.STAGE_HANDSHAKE: 21}, ended=ended(), family=4))
    assert (row.connection_success, row.handshake_ms, row.backend, row.family) == (True, 21, "probe", 4)
    assert row.quality == Quality.HANDSHAKE_ONLY
    assert not row.HasField("connection_time_ms")


@given(
    failure=st.sampled_from(pb.Failure.values()),
    stage=st.sampled_from(pb.Stage.values()),
    stood=st.booleans(),
    words=st.text(max_size=400),
)
def test_no_failure_is_ever_a_success_of_the_server_or_blames_it_for_ours(
    *, failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, stood: bool, words: str
) -> None:
    """Without a tunnel: failed = False, ours = unset. With one: connected, unless nothing came through."""
    course = Course(
        protocol="WireGuard", up=up() if stood else None, ended=ended(failure, stage, words), inside=[ping()],
        own_address=OWN,
    )  # fmt: skip
    row = row_of(SPEC, course)
    assert len(row.detail) <= LONGEST_DETAIL
    assert row.failure == failure
    if stood or not failure:
        assert row.connection_success
    elif failure in OURS:
        assert not row.HasField("connection_success")
    else:
        assert row.HasField("connection_success")
        assert not row.connection_success
    assert row.HasField("connection_time_ms") == stood


def unlocked(exchanges: int = 1) -> tuple[str, pb.Result]:
    """What a rule said inside."""
    return "unlock", pb.Result(unlock=pb.Unlock(platform="acme", family=4, exchanges=exchanges))


@pytest.mark.parametrize(
    ("exit_address", "failure", "rows"),
    [(EXIT, pb.FAILURE_NONE, 1), (OWN, pb.FAILURE_NONE, 0), (EXIT, pb.FAILURE_RESET, 0)],
)
def test_only_a_tunnel_that_stood_tells_what_rules_said(
    exit_address: str, failure: pb.Failure.ValueType, rows: int
) -> None:
    """A leak, or a tunnel that broke, is no word on the exit; else the rows name protocol and account."""
    course = Course(
        protocol="WireGuard",
        up=up(exit_address),
        ended=ended(failure, pb.STAGE_TRANSFER),
        inside=[ping(), unlocked()],
        own_address=OWN,
    )
    told = unlock_rows(row_of(SPEC, course), course)
    assert [(row.platform, row.protocol, row.credential) for row in told] == [
        ("acme", "WireGuard", "acme")
    ] * rows


def test_platforms_that_are_silent_are_no_word_on_the_tunnel() -> None:
    """A rule without any answer does not make a tunnel dead; one with an answer makes it alive."""
    silent = Course(protocol="WireGuard", up=up(""), ended=ended(), inside=[unlocked(0)])
    assert row_of(SPEC, silent).connection_success
    for exchanges, connected in ((0, False), (1, True)):
        course = Course(
            protocol="WireGuard", up=up(""), ended=ended(), inside=[ping(DEAD), unlocked(exchanges)]
        )
        assert row_of(SPEC, course).connection_success is connected
