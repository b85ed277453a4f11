"""The report of endpoint checks: phase by phase, or address beside address. **Pure.**"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from sonde_agent.report.words import BOLD, DIM, GREEN, RED, Paint, failure_words, has, ms, notes
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

BAR_WIDTH = 28
_EIGHTHS = " ▏▎▍▌▋▊▉"
_PHASES = {
    "resolve_ms": "resolve", "connect_ms": "connect", "tls_ms": "tls", "first_byte_ms": "first byte",
    "transfer_ms": "transfer", "overhead_ms": "our client",
}  # fmt: skip
KINDS = {
    pb.ENDPOINT_KIND_DNS: "dns", pb.ENDPOINT_KIND_TCP: "tcp", pb.ENDPOINT_KIND_TLS: "tls",
    pb.ENDPOINT_KIND_HTTP: "http",
}  # fmt: skip


def render(spec: control_pb2.EndpointSpec, endpoints: Sequence[pb.Endpoint], paint: Paint) -> str:
    """Give the report of one run: one endpoint, or several side by side."""
    return _one(spec, endpoints[0], paint) if len(endpoints) == 1 else _side_by_side(spec, endpoints, paint)


def _edge(endpoint: pb.Endpoint) -> str:
    return endpoint.address or "no address"


def _heading(spec: control_pb2.EndpointSpec, where: str, paint: Paint) -> str:
    what = f"{spec.url} {spec.dns_type or 'A'}" if spec.kind == pb.ENDPOINT_KIND_DNS else spec.url
    arrow = f" → {where}" if where else ""
    return f"{paint(KINDS.get(spec.kind, 'endpoint'), DIM)}  {paint(what, BOLD)}{arrow}"


def _verdict(endpoint: pb.Endpoint, paint: Paint) -> str:
    if endpoint.ok:
        return paint("✓ " + (_answer(endpoint) or "it accepts connections"), GREEN)
    return paint("✗ " + failure_words(endpoint.failure, endpoint.stage, endpoint.mismatch), RED)


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
    phases = {label: getattr(endpoint, name) for name, label in _PHASES.items() if has(endpoint, name)}
    if phases:
        longest = max(phases.values())
        lines.append("")
        for label, value in phases.items():
            lines.append(f"  {label:<11}{ms(value):>8} ms  {paint(_bar(value, longest), DIM)}".rstrip())
        lines.append(f"  {'total':<11}{ms(endpoint.total_ms):>8} ms")
    facts = {
        "certificate": _certificate(endpoint, datetime.now(UTC)),
        "cache": _cache(endpoint),
        "pop": endpoint.pop,
        "note": "; ".join(notes(endpoint.quality)),
    }
    if any(facts.values()) or endpoint.hops:
        lines.append("")
    lines += [
        f"  {label:<13}{paint(text, DIM) if label == 'note' else text}"
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
        lines.append(f"  hop {number:<9}{hop.get('status', '-'):>3}  {ms(took):>7} ms  {hop['url']}")
    return lines


def _side_by_side(spec: control_pb2.EndpointSpec, endpoints: Sequence[pb.Endpoint], paint: Paint) -> str:
    rows: list[tuple[str, list[str]]] = [("", [_edge(endpoint) for endpoint in endpoints])]
    rows.append(("verdict", ["ok" if endpoint.ok else "FAILED" for endpoint in endpoints]))
    rows.append(("answer", [_answer(endpoint) for endpoint in endpoints]))
    for name, label in (_PHASES | {"total_ms": "total"}).items():
        cells = [ms(getattr(endpoint, name)) + " ms" if has(endpoint, name) else "" for endpoint in endpoints]
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
            code = {"ok": GREEN, "FAILED": RED}
            padded = [
                cell.replace(word, paint(word, code[word])) for cell, word in zip(padded, cells, strict=True)
            ]
        lines.append(f"  {label:<13}" + "   ".join(padded).rstrip())
    lines += [
        f"  {_edge(endpoint)}: {_verdict(endpoint, paint)}" for endpoint in endpoints if not endpoint.ok
    ]
    if said := sorted({note for endpoint in endpoints for note in notes(endpoint.quality)}):
        lines.append(f"  {'note':<13}{paint('; '.join(said), DIM)}")
    return "\n".join(lines)
