"""The report of a tunnel run: its stages, and what was measured direct and through it. **Pure.**"""

from sonde_agent.report import throughput
from sonde_agent.report.words import BOLD, DIM, GREEN, RED, Paint, failure_words, has, ms, notes
from sonde_proto.v1 import results_pb2 as pb

_STAGES = {
    "resolve_ms": "resolve", "transport_ms": "transport", "handshake_ms": "handshake", "auth_ms": "auth",
    "configured_ms": "configured", "connection_time_ms": "connected", "first_byte_ms": "first byte",
}  # fmt: skip


def render(name: str, row: pb.Performance, paint: Paint) -> str:
    """Give the report of one run by the profile `name`."""
    lines = [heading(name, row, paint), "  " + verdict(row, paint)]
    stages = [
        f"  {label:<11}{ms(getattr(row, field)):>8} ms" for field, label in _STAGES.items() if has(row, field)
    ]
    facts = _paths(row) + throughput.figures(row)
    if has(row, "direct_download_mbps") or has(row, "direct_upload_mbps"):
        ways = (("down", "direct_download_mbps"), ("up", "direct_upload_mbps"))
        direct = [f"{way} {getattr(row, field):.1f} Mbit/s" for way, field in ways if has(row, field)]
        facts.append(("direct", " · ".join(direct)))
    if row.exit_address:
        facts.append(("exit", row.exit_address))
    if said := notes(row.quality):
        facts.append(("note", paint("; ".join(said), DIM)))
    for part in (stages, [f"  {label:<11}{text}" for label, text in facts]):
        if part:
            lines += ["", *part]
    return "\n".join(lines)


def heading(name: str, row: pb.Performance, paint: Paint) -> str:
    """Give the line that says what was opened."""
    family = f" (IPv{row.family})" if row.family else ""
    return f"{paint('vpn', DIM)}  {paint(name, BOLD)} → {row.protocol or 'unknown protocol'}{family}"


def verdict(row: pb.Performance, paint: Paint) -> str:
    """Give the line that says whether it worked."""
    if row.failure:
        return paint("✗ " + failure_words(row.failure, row.stage, row.detail), RED)
    done = (
        f"connected in {ms(row.connection_time_ms)} ms"
        if has(row, "connection_time_ms")
        else "it shook hands"
    )
    return paint(f"✓ {done} by {row.backend}", GREEN)


def _paths(row: pb.Performance) -> list[tuple[str, str]]:
    """Give ping and loss, direct and through the tunnel."""
    rows = []
    for label, prefix in (("ping", "direct_"), ("", "")):
        if has(row, f"{prefix}packet_loss_pct"):
            text = f"{getattr(row, f'{prefix}packet_loss_pct'):g} % lost"
            if has(row, f"{prefix}ping_ms"):
                text = f"{ms(getattr(row, f'{prefix}ping_ms'))} ms · {text}"
            if has(row, f"{prefix}jitter_ms"):
                text += f" · jitter {ms(getattr(row, f'{prefix}jitter_ms'))} ms"
            rows.append((label or "ping", f"{'direct' if prefix else 'through':<8} {text}"))
    return rows
