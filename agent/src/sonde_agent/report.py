"""Results for human eyes, and for programs. **Pure**: text out, nothing printed."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

BAR_WIDTH = 28
_EIGHTHS = " ▏▎▍▌▋▊▉"
_GREEN, _RED, _DIM, _BOLD, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
_PHASES = {
    "resolve_ms": "resolve", "connect_ms": "connect", "tls_ms": "tls", "first_byte_ms": "first byte",
    "transfer_ms": "transfer", "overhead_ms": "our client",
}  # fmt: skip
_KINDS = {
    pb.ENDPOINT_KIND_DNS: "dns", pb.ENDPOINT_KIND_TCP: "tcp", pb.ENDPOINT_KIND_TLS: "tls",
    pb.ENDPOINT_KIND_HTTP: "http",
}  # fmt: skip
_STAGES = {
    pb.STAGE_RESOLVE: "while resolving the name",
    pb.STAGE_TRANSPORT: "while connecting",
    pb.STAGE_HANDSHAKE: "in the handshake",
    pb.STAGE_AUTH: "when saying who we are",
    pb.STAGE_CONFIGURED: "while being configured",
    pb.STAGE_FIRST_BYTE: "waiting for the first byte",
    pb.STAGE_TRANSFER: "in the middle of the answer",
    pb.STAGE_EXPECT: "comparing with what is expected",
}
_FAILURES = {
    pb.FAILURE_TIMEOUT: "timeout",
    pb.FAILURE_REFUSED: "refused",
    pb.FAILURE_RESET: "connection lost",
    pb.FAILURE_UNREACHABLE: "unreachable",
    pb.FAILURE_NO_ADDRESS: "no address",
    pb.FAILURE_DNS: "DNS failure",
    pb.FAILURE_TLS: "TLS failure",
    pb.FAILURE_CERTIFICATE: "bad certificate",
    pb.FAILURE_PROTOCOL: "wrong protocol",
    pb.FAILURE_AUTH: "credentials refused",
    pb.FAILURE_EXPECTATION: "not as expected",
    pb.FAILURE_LOCAL: "a problem on this host",
    pb.FAILURE_UNSUPPORTED: "this host can't",
    pb.FAILURE_POLICY: "forbidden by this agent's policy",
    pb.FAILURE_INTERNAL: "the check itself broke",
}
_NOTES = {
    Quality.USER_STAMPS: "some times are this process's own, not the kernel's",
    Quality.SUCCESS_BY_PING: "success means: it answers ping",
    Quality.NOT_READY: "this host was not fit to judge others",
    Quality.CLOCK_STEPPED: "the wall clock was stepped meanwhile",
    Quality.INSECURE: "the certificate was not verified",
    Quality.BODY_CAPPED: "only the beginning of the body was read",
    Quality.RAW_SOCKET: "through a raw socket",
    Quality.CPU_LIMITED: "our own CPU was the limit",
}
Paint = Callable[[str, str], str]


def succeeded(result: pb.Result) -> bool:
    """Whether a result is a success: the endpoint is as expected, or the host answers ping."""
    if result.HasField("endpoint"):
        return result.endpoint.ok
    return not result.performance.failure and result.performance.received > 0


def render(task: control_pb2.Task, results: Sequence[pb.Result], *, color: bool) -> str:
    """The report of one run by hand: several lines, without a final newline."""
    paint: Paint = (lambda text, code: f"{code}{text}{_PLAIN}") if color else (lambda text, _code: text)
    if task.HasField("ping"):
        return "\n\n".join(_ping(task, result.performance, paint) for result in results)
    endpoints = [result.endpoint for result in results]
    if len(endpoints) == 1:
        return _one(task.endpoint, endpoints[0], paint)
    return _side_by_side(task.endpoint, endpoints, paint)


def to_json(results: Sequence[pb.Result]) -> str:
    """The same for programs: a JSON array; fields as in results.proto, enums as lower-case words."""
    return json.dumps([_plain(result) for result in results], indent=2, ensure_ascii=False)


def _plain(message: Message) -> dict[str, Any]:
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        prefix = (
            "".join(f"_{char}" if char.isupper() else char.upper() for char in field.enum_type.name)[1:] + "_"
        )
        return field.enum_type.values_by_number[value].name.removeprefix(prefix).lower()
    if field.name == "quality":
        return [flag.name.lower() for flag in Quality if flag & value and flag.name]
    if field.name == "hops":
        return json.loads(value)
    return round(value, 4) if isinstance(value, float) else value


def _has(message: Message, name: str) -> bool:
    return bool(message.HasField(name))


def _ms(value: float) -> str:
    """Milliseconds in three significant places or more: 0.031, 4.27, 31.4, 1204."""
    decimals = 3 if value < 1 else 2 if value < 10 else 1 if value < 1000 else 0  # noqa: PLR2004 - places on a screen
    return f"{value:.{decimals}f}"


def _failure(failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, words: str) -> str:
    text = " ".join(filter(None, (_FAILURES.get(failure, "failed"), _STAGES.get(stage))))
    return f"{text}: {words}" if words else text


def _notes(quality: int) -> list[str]:
    return [note for flag, note in _NOTES.items() if flag & quality]


def _edge(endpoint: pb.Endpoint) -> str:
    return endpoint.address or "no address"


def _heading(spec: control_pb2.EndpointSpec, where: str, paint: Paint) -> str:
    what = f"{spec.url} {spec.dns_type or 'A'}" if spec.kind == pb.ENDPOINT_KIND_DNS else spec.url
    arrow = f" → {where}" if where else ""
    return f"{paint(_KINDS.get(spec.kind, 'endpoint'), _DIM)}  {paint(what, _BOLD)}{arrow}"


def _verdict(endpoint: pb.Endpoint, paint: Paint) -> str:
    if endpoint.ok:
        return paint("✓ " + (_answer(endpoint) or "it accepts connections"), _GREEN)
    return paint("✗ " + _failure(endpoint.failure, endpoint.stage, endpoint.mismatch), _RED)


def _answer(endpoint: pb.Endpoint) -> str:
    """What answered, in one line: 200 · HTTP/1.1 · TLSv1.3 · 12 bytes."""
    parts = []
    if endpoint.kind == pb.ENDPOINT_KIND_DNS and endpoint.HasField("answers"):
        parts.append(endpoint.answers.replace(",", ", ") or "no records")
    elif endpoint.HasField("status"):
        parts.append(str(endpoint.status))
    if endpoint.http_version:
        parts.append(f"HTTP/{endpoint.http_version}")
    if endpoint.tls_version:
        parts.append(endpoint.tls_version)
    if endpoint.HasField("body_bytes"):
        parts.append(f"{endpoint.body_bytes} bytes")
    return " · ".join(parts)


def _certificate(endpoint: pb.Endpoint, now: datetime) -> str:
    if not endpoint.HasField("cert_not_after_us"):
        return ""
    ends = datetime.fromtimestamp(endpoint.cert_not_after_us / 1e6, UTC)
    left = f"{(ends - now).days} days left" if ends > now else "expired"
    issuer = endpoint.cert_issuer or "an unnamed issuer"
    return f"{left} (until {ends:%Y-%m-%d}) · by {issuer} · {endpoint.cert_sha256[:16]}…"


def _cache(endpoint: pb.Endpoint) -> str:
    age = f"{endpoint.cache_age_s} s old" if endpoint.HasField("cache_age_s") else ""
    return " · ".join(filter(None, (endpoint.cache_status, age)))


def _bar(value: float, longest: float) -> str:
    eighths = round(value / longest * BAR_WIDTH * 8) if longest else 0
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _one(spec: control_pb2.EndpointSpec, endpoint: pb.Endpoint, paint: Paint) -> str:
    family = f" (IPv{endpoint.family})" if endpoint.family and endpoint.address else ""
    lines = [_heading(spec, endpoint.address + family, paint), "  " + _verdict(endpoint, paint)]
    if not endpoint.ok and endpoint.kind != pb.ENDPOINT_KIND_DNS and (answer := _answer(endpoint)):
        lines.append(f"  {answer}")
    phases = {label: getattr(endpoint, name) for name, label in _PHASES.items() if _has(endpoint, name)}
    if phases:
        longest = max(phases.values())
        lines.append("")
        for label, value in phases.items():
            lines.append(f"  {label:<11}{_ms(value):>8} ms  {paint(_bar(value, longest), _DIM)}".rstrip())
        lines.append(f"  {'total':<11}{_ms(endpoint.total_ms):>8} ms")
    facts = {
        "certificate": _certificate(endpoint, datetime.now(UTC)),
        "cache": _cache(endpoint),
        "pop": endpoint.pop,
        "note": "; ".join(_notes(endpoint.quality)),
    }
    if any(facts.values()) or endpoint.hops:
        lines.append("")
    lines += [
        f"  {label:<13}{paint(text, _DIM) if label == 'note' else text}"
        for label, text in facts.items()
        if text
    ]
    return "\n".join(lines + _hops(endpoint))


def _hops(endpoint: pb.Endpoint) -> list[str]:
    if not endpoint.hops:
        return []
    lines = []
    for number, hop in enumerate(json.loads(endpoint.hops), 1):
        took = sum(hop.get(name, 0) for name in _PHASES)
        lines.append(f"  hop {number:<9}{hop.get('status', '-'):>3}  {_ms(took):>7} ms  {hop['url']}")
    return lines


def _side_by_side(spec: control_pb2.EndpointSpec, endpoints: Sequence[pb.Endpoint], paint: Paint) -> str:
    rows: list[tuple[str, list[str]]] = [("", [_edge(endpoint) for endpoint in endpoints])]
    rows.append(("verdict", ["ok" if endpoint.ok else "FAILED" for endpoint in endpoints]))
    rows.append(("answer", [_answer(endpoint) for endpoint in endpoints]))
    for name, label in (_PHASES | {"total_ms": "total"}).items():
        cells = [
            _ms(getattr(endpoint, name)) + " ms" if _has(endpoint, name) else "" for endpoint in endpoints
        ]
        rows.append((label, cells))
    rows.append(("cache", [_cache(endpoint) for endpoint in endpoints]))
    rows.append(("pop", [endpoint.pop for endpoint in endpoints]))
    rows.append(("certificate", [endpoint.cert_sha256[:16] for endpoint in endpoints]))
    widths = [max(len(cells[column]) for _, cells in rows) for column in range(len(endpoints))]
    lines = [_heading(spec, f"{len(endpoints)} addresses", paint)]
    for label, cells in rows:
        if not any(cells):
            continue
        padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
        if label == "verdict":
            code = {"ok": _GREEN, "FAILED": _RED}
            padded = [
                cell.replace(word, paint(word, code[word])) for cell, word in zip(padded, cells, strict=True)
            ]
        lines.append(f"  {label:<13}" + "   ".join(padded).rstrip())
    lines += [
        f"  {_edge(endpoint)}: {_verdict(endpoint, paint)}" for endpoint in endpoints if not endpoint.ok
    ]
    if notes := sorted({note for endpoint in endpoints for note in _notes(endpoint.quality)}):
        lines.append(f"  {'note':<13}{paint('; '.join(notes), _DIM)}")
    return "\n".join(lines)


def _ping(task: control_pb2.Task, row: pb.Performance, paint: Paint) -> str:
    family = f" (IPv{row.family})" if row.family else ""
    lines = [f"{paint('ping', _DIM)}  {paint(task.ping.host, _BOLD)}{family}"]
    counts = f"{row.sent} sent · {row.received} received · {row.packet_loss_pct:g} % lost"
    extras = {"duplicate": row.duplicates, "late": row.late, "not sent by our kernel": row.send_errors}
    counts += "".join(f" · {number} {name}" for name, number in extras.items() if number)
    if row.failure:
        lines.append("  " + paint("✗ " + _failure(row.failure, row.stage, ""), _RED))
    if row.HasField("sent"):
        lines.append("  " + (counts if row.failure else paint("✓ " + counts, _GREEN)))
    rtt = {
        "min": "rtt_min_ms",
        "mean": "rtt_mean_ms",
        "median": "ping_ms",
        "p95": "rtt_p95_ms",
        "max": "rtt_max_ms",
    }
    parts = [f"{label} {_ms(getattr(row, name))}" for label, name in rtt.items() if _has(row, name)]
    if parts:
        lines += ["", f"  {'rtt':<9}{'  '.join(parts)} ms"]
    if row.HasField("rtt_stddev_ms"):
        lines.append(f"  {'stddev':<9}{_ms(row.rtt_stddev_ms)} ms")
    if row.HasField("jitter_ms"):
        lines.append(f"  {'jitter':<9}{_ms(row.jitter_ms)} ms (RFC 3550)")
    if row.HasField("ipdv_mean_abs_ms"):
        lines.append(
            f"  {'ipdv':<9}{_ms(row.ipdv_mean_abs_ms)} ms, mean of {row.ipdv_pairs} pairs in a row (RFC 3393)"
        )
    if row.HasField("pdv_p95_ms"):
        lines.append(f"  {'pdv':<9}{_ms(row.pdv_p95_ms)} ms p95 above the fastest (RFC 5481)")
    if row.HasField("ttl"):
        lines.append(f"  {'ttl':<9}{row.ttl}")
    if notes := _notes(row.quality):
        lines.append(f"  {'note':<9}{paint('; '.join(notes), _DIM)}")
    return "\n".join(lines)
