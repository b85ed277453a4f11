#!/usr/bin/env python3
"""How fast the spool takes results, one a commit and in bursts, beside bare SQLite with the same promise.

The reference inserts the same bytes into one table (WAL, synchronous=FULL, as many a transaction), with no
chain, checksum, gap or bound: what the disk and SQLite allow. Rounds alternate, so that a busy machine is
busy for both. All is in a folder beside this script, because /tmp may be memory, which has no fsync.

usage: python benchmarks/spool.py [--only spool_append_single_per_s,...]
"""

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path

from sonde_agent.spool import Spool
from sonde_proto.v1 import results_pb2

ROWS = ("spool_append_single_per_s", "spool_append_burst_rows_per_s", "spool_read_rows_per_s")

ROUNDS = 7
SINGLES = 600  # a round
BURST = 1000
BURSTS = 10  # a round


def results(count: int) -> list[results_pb2.Result]:
    """Ping results as an agent makes them, all fields set that a ping sets: 98 bytes each."""
    return [
        results_pb2.Result(
            measured_at_us=1_790_000_000_000_000 + n,
            target=f"server-{n % 200}",
            performance=results_pb2.Performance(
                ping_ms=20 + n % 7 / 10,
                jitter_ms=0.3,
                packet_loss_pct=0.0,
                family=4,
                sent=10,
                received=10,
                duplicates=0,
                late=0,
                send_errors=0,
                rtt_min_ms=19.5,
                rtt_mean_ms=20.5,
                rtt_p95_ms=22.5,
                rtt_max_ms=23.5,
                rtt_stddev_ms=0.5,
                ipdv_mean_abs_ms=0.25,
                ipdv_pairs=9,
                pdv_p95_ms=2.5,
                ttl=55,
                quality=3,
            ),
        )
        for n in range(count)
    ]


class Bare:
    """SQLite and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "bare.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE results (seq INTEGER PRIMARY KEY, measured_us INTEGER, body BLOB)")

    def append(self, rows: list[results_pb2.Result]) -> None:
        """One durable transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "INSERT INTO results (measured_us, body) VALUES (?, ?)",
            [(row.measured_at_us, row.SerializeToString()) for row in rows],
        )
        self._db.execute("COMMIT")


def rate(store: Spool | Bare, rows: list[results_pb2.Result], times: int) -> float:
    """Rows a second for so many appends of the same rows."""
    started = time.perf_counter()
    for _ in range(times):
        store.append(rows)
    return len(rows) * times / (time.perf_counter() - started)


def row(name: str, ours: list[float], bare: list[float], note: str) -> dict[str, object]:
    """A row for results.json: medians over the rounds, spread as (max - min) / median."""
    value = statistics.median(ours)
    reference = statistics.median(bare) if bare else None
    return {
        "value": round(value),
        "unit": "rows/s",
        "reference": round(reference) if reference else None,
        "ratio": round(value / reference, 3) if reference else None,
        "samples": len(ours),
        "spread": round((max(ours) - min(ours)) / value, 3),
        "command": f"make bench ONLY={name}",
        "note": note,
    }


def measure(folder: Path, only: list[str]) -> dict[str, dict[str, object]]:
    """Run what was asked for."""
    spool = Spool.open(folder / "spool.db", max_bytes=1 << 30, max_age_s=86_400 * 14, history_s=86_400 * 2)
    bare = Bare(folder)
    burst = results(BURST)
    single: tuple[list[float], list[float]] = ([], [])
    bursts: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for index, store in enumerate((spool, bare)):
            if ROWS[0] in only:
                single[index].append(rate(store, burst[:1], SINGLES))
            if ROWS[1] in only or ROWS[2] in only:
                bursts[index].append(rate(store, burst, BURSTS))
    made: dict[str, dict[str, object]] = {}
    if ROWS[0] in only:
        note = "One result an append, each on the disk when it returns. Reference: bare SQLite, same promise."
        made[ROWS[0]] = row(ROWS[0], *single, note)
    if ROWS[1] in only:
        note = f"Bursts of {BURST} results, one transaction each. Reference: bare SQLite, same promise."
        made[ROWS[1]] = row(ROWS[1], *bursts, note)
    if ROWS[2] in only:
        note = "peek of 1000 results: read, checksum verified, parsed."
        made[ROWS[2]] = row(ROWS[2], read(spool), [], note)
    spool.close()
    return made


def read(spool: Spool) -> list[float]:
    """Rows a second for chunks of 1000 through the whole spool, one figure per ten chunks."""
    stream = spool.streams()[-1]
    rates, after = [], 0
    while after + 10_000 <= stream.highest_seq:
        started = time.perf_counter()
        for _ in range(10):
            after = spool.peek(stream, after, 1000, 1 << 20).last_seq
        rates.append(10_000 / (time.perf_counter() - started))
    return rates


def main() -> None:
    """Measure and print the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(ROWS))
    only = parser.parse_args().only.split(",")
    with tempfile.TemporaryDirectory(prefix=".spool-", dir=Path(__file__).parent) as folder:
        print(json.dumps(measure(Path(folder), only)))


if __name__ == "__main__":
    main()
