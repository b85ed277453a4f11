"""The report of a throughput check. **Pure.**"""

from sonde_agent.report.words import BOLD, DIM, GREEN, RED, Paint, failure_words, has, ms, notes
from sonde_proto.units import format_size
from sonde_proto.v1 import results_pb2 as pb

_ENGINES = {
    pb.ENGINE_HTTP: "HTTP", pb.ENGINE_IPERF3: "iperf3", pb.ENGINE_SPEEDTEST: "speedtest-cli",
    pb.ENGINE_NDT7: "ndt7",
}  # fmt: skip


def render(what: str, row: pb.Performance, paint: Paint) -> str:
    """Give the report of one run against `what`."""
    family = f" (IPv{row.family})" if row.family else ""
    lines = [f"{paint('throughput', DIM)}  {paint(what, BOLD)}{family}"]
    if row.failure:
        lines.append("  " + paint("✗ " + failure_words(row.failure, row.stage, row.detail), RED))
    facts = figures(row)
    if facts and not row.failure:
        head, *facts = facts
        lines.append("  " + paint(f"✓ {head[0]} {head[1]}", GREEN))
    lines += [f"  {label:<11}{text}" for label, text in facts]
    if said := notes(row.quality):
        lines.append(f"  {'note':<11}{paint('; '.join(said), DIM)}")
    return "\n".join(lines)


def figures(row: pb.Performance) -> list[tuple[str, str]]:
    """Give the figures of a transfer, as label and text."""
    facts = [(way, _rate(row, way)) for way in ("download", "upload") if has(row, f"{way}_mbps")]
    if has(row, "loaded_ping_ms"):
        facts.append(("loaded rtt", f"{ms(row.loaded_ping_ms)} ms"))
    tcp = [f"rtt min {ms(row.tcp_min_rtt_ms)} ms"] if has(row, "tcp_min_rtt_ms") else []
    tcp += [f"{row.retransmits} retransmits"] if has(row, "retransmits") else []
    if tcp:
        facts.append(("tcp", " · ".join(tcp)))
    if row.down_bytes or row.up_bytes:
        by = f"{_ENGINES.get(row.engine, 'unknown engine')}, {row.streams} streams"
        facts.append(("cost", f"{format_size(row.down_bytes + row.up_bytes)} by {by}"))
    return facts


def _rate(row: pb.Performance, way: str) -> str:
    text = f"{getattr(row, f'{way}_mbps'):.1f} Mbit/s"
    if has(row, f"{way}_p50_mbps"):
        text += f" (median {getattr(row, f'{way}_p50_mbps'):.1f}, p90 {getattr(row, f'{way}_p90_mbps'):.1f})"
    return text
