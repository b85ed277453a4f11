#!/usr/bin/env python3
"""How small old rows become, and how fast: a partition of performance_logs against its Parquet file.

usage: python benchmarks/archive.py [--only NAME,...] [--rows N]

The rows are such as the lab's vantages measure, with its plans: each run is ten simulated packets, their
times in whole nanoseconds as kernel stamps give them, over a path with a delay of its own, queueing, loss,
and days and nights; the figures are the agent's own formulas over them, 32-bit floats with all their
digits. One run in six goes through a tunnel and has its baseline and stages beside it; one in eight of
those measures a speed. A direct ping is no success, as plans have it by default: such rows are in fewer
indexes, so that the hot table is the smaller. They are written as ingestion writes them: a minute of one
vantage after the other.
"""

import argparse
import datetime as dt
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from pyarrow import fs

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.builders import inventory
from support.postgres import Server

from sonde_agent.checks.ping.pure import Summary, summarise
from sonde_collector.archive import ledger, steps
from sonde_collector.archive.storage import Storage
from sonde_collector.config import Archive, Retention
from sonde_collector.db import partitions
from sonde_collector.db.migrate import migrate

ROWS = ("archive_vs_hot_bytes", "archive_rows_per_s")
SERVERS, VANTAGES, EVERY_S = 40, 6, 60.0
PACKETS, WAIT_NS = 10, 1_000_000_000
COLUMNS = (
    "server_id", "probe_id", "measured_at", "stream_id", "seq", "connection_success", "family", "quality",
    "ping_ms", "jitter_ms", "packet_loss_pct", "sent", "received", "duplicates", "late", "send_errors",
    "rtt_min_ms", "rtt_mean_ms", "rtt_p95_ms", "rtt_max_ms", "rtt_stddev_ms", "ipdv_mean_abs_ms",
    "ipdv_pairs", "pdv_p95_ms", "ttl", "failure", "stage",
    "protocol_id", "connection_time_ms", "resolve_ms", "transport_ms", "handshake_ms", "first_byte_ms",
    "direct_ping_ms", "direct_jitter_ms", "direct_packet_loss_pct", "download_mbps", "upload_mbps",
)  # fmt: skip


class PathOf:
    """The way from one vantage to one server."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._base_ns = chance.uniform(3e6, 180e6)
        self._queue_ns = 10 ** chance.uniform(4.5, 6.3)  # 30 us to 2 ms
        self._loss = 10 ** chance.uniform(-4, -1.7)
        self.ttl = chance.randint(44, 60)
        self.mbps = 10 ** chance.uniform(1.3, 2.9)

    def run(self, day_share: float) -> Summary:
        """Ten packets at this time of day."""
        busy = 1 + 1.5 * max(0.0, math.sin(2 * math.pi * (day_share - 0.4)))
        times = [
            None
            if self._chance.random() < self._loss
            else int(self._base_ns + self._chance.gammavariate(1.5, self._queue_ns * busy))
            for _ in range(PACKETS)
        ]
        return summarise(times, wait_ns=WAIT_NS)


def figures(found: Summary) -> tuple[Any, ...]:
    """The columns of a ping."""
    return (
        found.rtt_p50, found.jitter_rfc3550, found.loss_pct, found.sent, found.received, 0, found.late, 0,
        found.rtt_min, found.rtt_mean, found.rtt_p95, found.rtt_max, found.rtt_stddev, found.ipdv_mean_abs,
        found.ipdv_pairs, found.pdv_p95,
    )  # fmt: skip


def rows(count: int, begin: dt.datetime) -> Iterator[tuple[Any, ...]]:
    """So many runs from that time on, in the order in which they are made."""
    chance = random.Random(11)
    ways = {(s, v): PathOf(chance) for s in range(1, SERVERS + 1) for v in range(1, VANTAGES + 1)}
    phase = {key: chance.uniform(0, EVERY_S) for key in ways}
    seqs = dict.fromkeys(range(1, VANTAGES + 1), 0)
    slots = sorted(ways, key=lambda key: (key[1], phase[key]))
    for number in range(count):
        turn, place = divmod(number, len(slots))
        server, vantage = slots[place]
        way = ways[server, vantage]
        after = turn * EVERY_S + phase[server, vantage] + chance.expovariate(1 / 0.003)
        at = begin + dt.timedelta(seconds=after)
        seqs[vantage] += 1
        found = way.run(after / 86_400 % 1)
        none = found.received == 0
        tunnel: tuple[Any, ...] = (None,) * 11
        if (number + turn) % 6 == 0:
            direct, stages = way.run(after / 86_400 % 1), [chance.lognormvariate(2.5, 0.4) for _ in range(4)]
            speed = [way.mbps * chance.uniform(0.7, 1.1) for _ in range(2)] if chance.random() < 1 / 8 else []
            tunnel = (
                1 + server % 3, sum(stages), *stages, direct.rtt_p50, direct.jitter_rfc3550, direct.loss_pct,
                *([round(each, 2) for each in speed] or (None, None)),
            )  # fmt: skip
        yield (
            server, vantage, at, vantage, seqs[vantage], not none if tunnel[0] else None, 4, 0,
            *figures(found), None if none else way.ttl,
            *(("timeout", "reply") if none else (None, None)), *tunnel,
        )  # fmt: skip


def measure(count: int) -> dict[str, dict[str, Any]]:
    """Fills a partition as ingestion does, in order of time, and archives it."""
    server = Server()
    with tempfile.TemporaryDirectory() as folder:
        try:
            server.start()
            with psycopg.connect(server.create("archive"), autocommit=True) as conn:
                record, took, peak = _archived(conn, count, Path(folder))
        finally:
            server.stop()
    command = f"python benchmarks/archive.py --rows {count}"
    made = (
        f"{count} runs of {SERVERS} servers from {VANTAGES} vantages, every {EVERY_S:g} s: ten simulated "
        "packets each, figures by the agent's formulas, all digits kept. Hot is heap and indexes after VACUUM"
    )
    ratio = record.bytes / record.hot_bytes
    return {
        "archive_vs_hot_bytes": {
            "value": record.bytes / count, "unit": "bytes a row", "reference": record.hot_bytes / count,
            "ratio": ratio, "samples": count, "spread": None, "command": command, "note": f"{made}.",
        },
        "archive_rows_per_s": {
            "value": count / took, "unit": "rows/s", "reference": None, "ratio": None, "samples": count,
            "spread": None, "command": command,
            "note": f"{made}. Detach, write, read back, compare, drop; {peak:.0f} MB at most.",
        },
    }  # fmt: skip


def _archived(conn: psycopg.Connection, count: int, folder: Path) -> tuple[Any, float, float]:
    migrate(conn)
    inventory(
        conn,
        servers=[f"s{n}" for n in range(1, SERVERS + 1)],
        vantages=[f"v{n}" for n in range(1, VANTAGES + 1)],
    )
    begin = dt.datetime.now(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begin = (begin - dt.timedelta(days=100)).replace(day=1)
    for day in (0, 27):
        at = begin + dt.timedelta(days=day)
        partitions.ensure(conn, "performance_logs", at, at)
    into = f"COPY performance_logs ({', '.join(COLUMNS)}) FROM STDIN"
    with conn.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows(count, begin):
            copy.write_row(row)
    conn.execute("VACUUM ANALYZE performance_logs")
    place = Storage(str(folder), fs.LocalFileSystem(), str(folder), folder)
    started = time.monotonic()
    done = steps.turn(conn, lambda: place, Retention(), Archive())
    took = time.monotonic() - started
    assert done.done, done
    (record,) = [each for each in ledger.records(conn) if each.rows == count]
    peak = next(
        int(line.split()[1]) / 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return record, took, peak


def main() -> None:
    """Print the rows that are asked for."""
    parser = argparse.ArgumentParser(description="Archive a partition; print its figures.")
    parser.add_argument("--only", default="", metavar="NAME,...", help="these rows alone")
    parser.add_argument("--rows", type=int, default=2_000_000, metavar="N", help="of the partition")
    given = parser.parse_args()
    wanted = [name for name in given.only.split(",") if name] or list(ROWS)
    found = measure(given.rows)
    print(json.dumps({name: found[name] for name in ROWS if name in wanted}))


if __name__ == "__main__":
    main()
