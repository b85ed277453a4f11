"""The report of a ping check. **Pure.**"""

from sonde_agent.report.words import BOLD, DIM, GREEN, RED, Paint, failure_words, has, ms, notes
from sonde_proto.v1 import results_pb2 as pb


def render(host: str, row: pb.Performance, paint: Paint) -> str:
    """Give the report of one run against `host`."""
    family = f" (IPv{row.family})" if row.family else ""
    lines = [f"{paint('ping', DIM)}  {paint(host, BOLD)}{family}"]
    counts = f"{row.sent} sent · {row.received} received · {row.packet_loss_pct:g} % lost"
    extras = {"duplicate": row.duplicates, "late": row.late, "not sent by our kernel": row.send_errors}
    counts += "".join(f" · {number} {name}" for name, number in extras.items() if number)
    if row.failure:
        lines.append("  " + paint("✗ " + failure_words(row.failure, row.stage, ""), RED))
    if row.HasField("sent"):
        lines.append("  " + (counts if row.failure else paint("✓ " + counts, GREEN)))
    rtt = {
        "min": "rtt_min_ms",
        "mean": "rtt_mean_ms",
        "median": "ping_ms",
        "p95": "rtt_p95_ms",
        "max": "rtt_max_ms",
    }
    parts = [f"{label} {ms(getattr(row, name))}" for label, name in rtt.items() if has(row, name)]
    if parts:
        lines += ["", f"  {'rtt':<9}{'  '.join(parts)} ms"]
    if row.HasField("rtt_stddev_ms"):
        lines.append(f"  {'stddev':<9}{ms(row.rtt_stddev_ms)} ms")
    if row.HasField("jitter_ms"):
        lines.append(f"  {'jitter':<9}{ms(row.jitter_ms)} ms (RFC 3550)")
    if row.HasField("ipdv_mean_abs_ms"):
        lines.append(
            f"  {'ipdv':<9}{ms(row.ipdv_mean_abs_ms)} ms, mean of {row.ipdv_pairs} pairs in a row (RFC 3393)"
        )
    if row.HasField("pdv_p95_ms"):
        lines.append(f"  {'pdv':<9}{ms(row.pdv_p95_ms)} ms p95 above the fastest (RFC 5481)")
    if row.HasField("ttl"):
        lines.append(f"  {'ttl':<9}{row.ttl}")
    if said := notes(row.quality):
        lines.append(f"  {'note':<9}{paint('; '.join(said), DIM)}")
    return "\n".join(lines)
