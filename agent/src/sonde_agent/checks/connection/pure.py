"""From what was seen of one tunnel run to its one row. No socket, no clock."""

from collections.abc import Mapping

from sonde_agent.checks.connection.verdict import Course, Verdict, judge
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

PROBE = "probe"
LONGEST_DETAIL = 200

_STAGE_FIELDS: Mapping[pb.Stage.ValueType, str] = {
    pb.STAGE_RESOLVE: "resolve_ms",
    pb.STAGE_TRANSPORT: "transport_ms",
    pb.STAGE_HANDSHAKE: "handshake_ms",
    pb.STAGE_AUTH: "auth_ms",
    pb.STAGE_CONFIGURED: "configured_ms",
}
_PING_FIELDS = (
    "ping_ms", "jitter_ms", "packet_loss_pct", "sent", "received", "duplicates", "late", "send_errors",
    "rtt_min_ms", "rtt_mean_ms", "rtt_p95_ms", "rtt_max_ms", "rtt_stddev_ms", "ipdv_mean_abs_ms",
    "ipdv_pairs", "pdv_p95_ms", "ttl",
)  # fmt: skip
_THROUGHPUT_FIELDS = (
    "download_mbps", "upload_mbps", "engine", "streams", "download_p50_mbps", "download_p90_mbps",
    "upload_p50_mbps", "upload_p90_mbps", "loaded_ping_ms", "tcp_min_rtt_ms", "retransmits", "down_bytes",
    "up_bytes",
)  # fmt: skip
_COST = ("down_bytes", "up_bytes")
_FIELDS = {"ping": _PING_FIELDS, "throughput": _THROUGHPUT_FIELDS}
_OF_PING = {"direct_ping_ms": "ping_ms", "direct_jitter_ms": "jitter_ms",
            "direct_packet_loss_pct": "packet_loss_pct"}  # fmt: skip
_OF_THROUGHPUT = {"direct_download_mbps": "download_mbps", "direct_upload_mbps": "upload_mbps"}


def row_of(spec: control_pb2.ConnectionSpec, course: Course) -> pb.Performance:
    """Give the one row of a run: headline through the tunnel, baseline beside it. **Pure.**"""
    verdict = judge(course)
    row = pb.Performance(protocol=course.protocol, credential=spec.credential)
    _tell_verdict(row, verdict)
    for stage, ms in course.stages.items():
        if stage in _STAGE_FIELDS:
            setattr(row, _STAGE_FIELDS[stage], ms)
    quality = Quality(0)
    if spec.handshake_only:
        row.backend, quality = PROBE, Quality.HANDSHAKE_ONLY
    if course.family:
        row.family = course.family
    if course.up is not None:
        row.backend, row.family = course.up.backend, course.up.family
        if verdict.connected:
            row.connection_time_ms = course.up.connection_ms
        quality |= _tell_exit(row, course.up, course)
    quality |= _tell_inside(row, course, leaks=verdict.failure == pb.FAILURE_LEAK)
    _tell_baseline(row, course)
    if quality:
        row.quality = quality
    return row


def unlock_rows(row: pb.Performance, course: Course) -> list[pb.Unlock]:
    """Give what unlock rules said through a tunnel that stood to the end; else nothing: it is no word on it.

    **Pure.**

    Args:
        row: of the run.
        course: what was seen of it.
    """
    broke = course.ended is not None and course.ended.failure
    if not row.connection_success or row.failure == pb.FAILURE_LEAK or broke:
        return []
    told = [result.unlock for _, result in course.inside if result.HasField("unlock")]
    for one in told:
        one.protocol, one.credential = row.protocol, row.credential
    return told


def _tell_verdict(row: pb.Performance, verdict: Verdict) -> None:
    if verdict.connected is not None:
        row.connection_success = verdict.connected
    if verdict.failure:
        row.failure, row.stage = verdict.failure, verdict.stage
        if verdict.detail:
            row.detail = verdict.detail[:LONGEST_DETAIL]


def _tell_inside(row: pb.Performance, course: Course, *, leaks: bool) -> Quality:
    """Tell the figures of what ran inside; of what leaks, and so went the direct way, the cost alone."""
    quality = Quality(0)
    for kind, result in course.inside:
        if result.HasField("performance"):
            _copy(row, result.performance, {name: name for name in (_COST if leaks else _FIELDS[kind])})
            quality |= Quality(0 if leaks else result.performance.quality)
    return quality


def _tell_exit(row: pb.Performance, up: tunnel_pb2.TunnelUp, course: Course) -> Quality:
    if up.first_byte_ms:
        row.first_byte_ms = up.first_byte_ms
    if not up.exit_address:
        return Quality.EXIT_UNKNOWN
    row.exit_address = up.exit_address
    return Quality.EXIT_UNKNOWN if course.own_address is None and course.own_family else Quality(0)


def _tell_baseline(row: pb.Performance, course: Course) -> None:
    if course.direct_ping is not None:
        _copy(row, course.direct_ping, _OF_PING)
    if (direct := course.direct_throughput) is not None:
        _copy(row, direct, _OF_THROUGHPUT)
        row.down_bytes += direct.down_bytes  # what the run cost
        row.up_bytes += direct.up_bytes


def _copy(row: pb.Performance, source: pb.Performance, names: Mapping[str, str]) -> None:
    """Copy what is set, by the names that it has in the row -> in the source."""
    present = {field.name for field, _ in source.ListFields()}
    for ours, theirs in names.items():
        if theirs in present:
            setattr(row, ours, getattr(source, theirs))
