"""What `iperf3 -J` says, as our figures. No socket, no clock.

Source: iperf3's JSON as of 3.12; a run that is interrupted has its intervals and no words of the other side.
"""

import json
from typing import Any, NamedTuple

from sonde_agent.checks.endpoint.failures import End, scrub
from sonde_agent.checks.ping.pure import percentile
from sonde_agent.checks.throughput.pure import Figures
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2 as pb

_LEAST_BIN_S = 0.125
_BUSY_PCT = 90  # of one core: iperf3 has one thread
_INTERRUPTED = "interrupt"
_FAILURES = (
    ("Connection refused", pb.FAILURE_REFUSED, pb.STAGE_TRANSPORT, "the port is closed"),
    ("timed out", pb.FAILURE_TIMEOUT, pb.STAGE_TRANSPORT, "no answer in time"),
    ("No route to host", pb.FAILURE_UNREACHABLE, pb.STAGE_TRANSPORT, "the host is unreachable"),
    ("Network is unreachable", pb.FAILURE_UNREACHABLE, pb.STAGE_TRANSPORT, "the network is unreachable"),
    ("server is busy", pb.FAILURE_BUSY, pb.STAGE_HANDSHAKE, "the iperf3 server runs another test"),
    ("reset by peer", pb.FAILURE_RESET, pb.STAGE_TRANSFER, "the peer reset the connection"),
    ("control socket has closed", pb.FAILURE_RESET, pb.STAGE_TRANSFER, "the iperf3 server went away"),
)


class Report(NamedTuple):
    """Figures, or why there are none; never both."""

    figures: Figures | None
    end: End | None
    used_bytes: int


def parse(text: str, *, upload: bool, bounded: bool) -> Report:
    """What a run gave. **Pure.**

    Args:
        text: its standard output.
        upload: we sent.
        bounded: we interrupted it, because its bytes were used up.
    """
    try:
        said = json.loads(text)
        sums = [interval["sum"] for interval in said["intervals"]]
        used = sum(int(one["bytes"]) for one in sums)
        complaint = said.get("error", "")
        if complaint and not (bounded and complaint.startswith(_INTERRUPTED)):
            return Report(None, _end(complaint), used)
        figures = _figures(said, sums, used, upload=upload)
    except (ValueError, KeyError, TypeError, IndexError):
        return Report(
            None, End(pb.FAILURE_PROTOCOL, pb.STAGE_TRANSFER, "iperf3 says nothing that is known"), 0
        )
    if figures is None:
        words = "too little moved to tell a rate: allow the run more bytes"
        return Report(None, End(pb.FAILURE_EXPECTATION, pb.STAGE_TRANSFER, words), used)
    return Report(figures, None, used)


def _end(complaint: str) -> End:
    for sign, failure, stage, words in _FAILURES:
        if sign in complaint:
            return End(failure, stage, words)
    return End(pb.FAILURE_PROTOCOL, pb.STAGE_HANDSHAKE, f"iperf3: {scrub(complaint)}")


def _figures(said: dict[str, Any], sums: list[dict[str, Any]], used: int, *, upload: bool) -> Figures | None:
    kept = [one for one in sums if not one["omitted"]] or sums
    seconds, moved = sum(one["seconds"] for one in kept), sum(one["bytes"] for one in kept)
    if seconds <= 0 or moved <= 0:
        return None
    end, mbps = said.get("end", {}), moved * 8 / seconds / 1e6
    arrived = end.get("sum_received", {})
    if upload and "error" not in said and arrived.get("bytes"):
        mbps = arrived["bits_per_second"] / 1e6  # what we sent lies in our own buffer in part
    bins = sorted(one["bytes"] * 8 / one["seconds"] / 1e6 for one in kept if one["seconds"] >= _LEAST_BIN_S)
    senders = [stream["sender"] for stream in end.get("streams", ())] if upload else []
    least_us = [sender["min_rtt"] for sender in senders if sender.get("min_rtt")]
    busy = end.get("cpu_utilization_percent", {}).get("host_total", 0) > _BUSY_PCT
    return Figures(
        mbps=mbps,
        p50_mbps=percentile(bins, 0.5) if bins else None,
        p90_mbps=percentile(bins, 0.9) if bins else None,
        used_bytes=used,
        min_rtt_ms=min(least_us) / 1000 if least_us else None,
        retransmits=sum(sender.get("retransmits", 0) for sender in senders) if upload else None,
        streams=len(said["start"]["connected"]),
        quality=Quality.CPU_LIMITED if busy else Quality(0),
    )
