"""`sonde-agent spool`: what waits to be sent."""

import argparse
import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path

from sonde_agent import config
from sonde_agent.commands.output import say, say_json
from sonde_agent.spool import Spool, history
from sonde_agent.spool.history import Summary
from sonde_agent.spool.model import StreamView
from sonde_proto.units import format_size


def run(args: argparse.Namespace) -> int:
    """Tell what waits; with --new-stream, begin a new one first."""
    settings = config.load(config.find(args.config))
    path = config.spool_path(settings)
    if args.new_stream:
        bounds = settings.spool
        spool = Spool.open(
            path, max_bytes=bounds.max_bytes, max_age_s=bounds.max_age, history_s=bounds.history
        )
        try:
            spool.new_stream()
        finally:
            spool.close()
    summary, streams = history.summary(path), history.streams(path)
    if args.json:
        _tell_programs(path, summary, streams)
    else:
        _tell(path, summary, streams)
    return 0


def _tell_programs(path: Path, summary: Summary, streams: Sequence[StreamView]) -> None:
    stats = summary.stats
    say_json(
        {
            "file": str(path),
            "rows": stats.rows,
            "bytes": stats.bytes,
            "oldest_us": stats.oldest_us,
            "gaps": stats.gaps,
            "quarantined": stats.quarantined,
            "history": stats.history,
            "last_ack_us": summary.last_ack_us,
            "streams": [
                {
                    "epoch": stream.epoch.hex(),
                    "current": stream.current,
                    "copied": stream.copied,
                    "acked_seq": stream.acked_seq,
                    "highest_seq": stream.highest_seq,
                    "refused": stream.refused,
                }
                for stream in streams
            ],
        }
    )


def _tell(path: Path, summary: Summary, streams: Sequence[StreamView]) -> None:
    stats = summary.stats
    say(f"{path}: {format_size(stats.bytes)}, {stats.history} acked results kept as history")
    say(f"waiting      {stats.rows} results, the oldest measured {_ago(stats.oldest_us)}")
    say(f"last ack     {_ago(summary.last_ack_us)}")
    say(f"gaps         {stats.gaps} to be told")
    say(f"quarantined  {stats.quarantined}")
    for stream in streams:
        role = "current" if stream.current else "draining"
        copied = ", copied" if stream.copied else ""
        say(f"stream {stream.epoch.hex()} ({role}{copied}): acked {stream.acked_seq} of {stream.highest_seq}")
        if stream.refused:
            say(f"  the collector refuses it: {stream.refused}")
            say(
                "  if this spool is a copy, `sonde-agent spool --new-stream` goes on with a stream of its own"
            )


def _ago(at_us: int | None) -> str:
    if at_us is None:
        return "-"
    seconds = max(0, round(time.time() - at_us / 1e6))
    return f"{dt.timedelta(seconds=seconds)} ago"
