"""Rows per second from gRPC to committed, beside the fastest server-side COPY of the same rows.

A PostgreSQL of its own (fsync on, reached by its unix socket as the embedded one is), the collector's
ingestion in a process of its own, and this process as 50 agents with mTLS. The reference (see ingest_copy.py)
runs once with one connection and once with two, and the faster counts. Rounds alternate. Each row's note says
whose CPU time a row cost: where the sum is about all that the cores have, that is the limit.

usage: python benchmarks/ingest.py [--only ingest_vs_copy,...] [--rows N] [--rounds N]
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import psycopg
from ingest_agents import AGENTS, SERVERS, Fleet, messages
from ingest_copy import copied
from ingest_timing import Meter, Timing
from prometheus_client import CollectorRegistry

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.builders import inventory  # noqa: E402
from support.postgres import Server  # noqa: E402

from sonde_collector.db import partitions  # noqa: E402
from sonde_collector.db.migrate import migrate  # noqa: E402
from sonde_collector.db.pool import Database  # noqa: E402
from sonde_collector.ingest.metrics import IngestMetrics  # noqa: E402
from sonde_collector.ingest.service import SERVER_OPTIONS, IngestService  # noqa: E402
from sonde_collector.ingest.settings import IngestSettings  # noqa: E402
from sonde_collector.ingest.writer import Writer  # noqa: E402

ROWS = (
    "ingest_vs_copy",
    "ingest_rows_per_s",
    "ingest_rows_per_s_row",
    "ingest_rows_per_s_20",
    "ingest_rows_per_s_1",
)

RATIO = 0.8  # asked for, see run.py

# The same for both sides; autovacuum as PostgreSQL comes, not as often as the tests have it.
PG = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "synchronous_commit": "on",
    "checkpoint_timeout": "15min",
    "autovacuum_naptime": "1min",
}


def fresh(server: Server) -> str:
    """A migrated database with inventory and partitions; returns its URL."""
    server.drop("bench")
    server.create("bench")
    url = f"postgresql://postgres@/bench?host={quote(str(server.directory), safe='')}&port={server.port}"
    with psycopg.connect(url, autocommit=True) as conn:
        migrate(conn)
        vantages = [f"v{agent}" for agent in range(AGENTS)]
        inventory(conn, vantages=vantages, servers=[f"s{number}" for number in range(SERVERS)])
        partitions.keep_ahead(conn, every="month", ahead=1)
        conn.execute("ANALYZE")
        conn.execute("CHECKPOINT")
    return url


def check(url: str, timing: Timing) -> Timing:
    """The timing, if all its rows are there."""
    with psycopg.connect(url) as conn:
        total = conn.execute("SELECT count(*) FROM performance_logs").fetchone()
    assert total == (timing.rows,), total
    return timing


def reference(server: Server, rows: int, connections: int) -> Timing:
    """One COPY from files."""
    url = fresh(server)
    made = [messages(number, rows // AGENTS, 1000) for number in range(AGENTS)]
    folder = server.directory / "files"
    folder.mkdir(exist_ok=True)
    return check(url, copied(url, folder, made, connections, Meter(server.pid)))


def ours(server: Server, rows: int, size: int, fk: str) -> Timing:
    """One delivery, in batches of `size`."""
    url = fresh(server)
    made = [messages(number, rows // AGENTS, size) for number in range(AGENTS)]
    fleet = Fleet([[batch.SerializeToString() for batch in mine] for mine in made])
    return check(url, asyncio.run(delivered(server, url, fleet, rows // AGENTS * AGENTS, fk)))


async def delivered(server: Server, url: str, fleet: Fleet, rows: int, fk: str) -> Timing:
    """From the first batch to the last ack, with a collector of its own."""
    with tempfile.TemporaryDirectory() as folder:
        fleet.write_credentials(Path(folder))
        command = [sys.executable, __file__, "--collector", url, fk, folder]
        collector = subprocess.Popen(  # noqa: ASYNC220  # made once, before anything is timed
            command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
        )
        assert collector.stdout is not None
        assert collector.stdin is not None
        try:
            await fleet.connect(f"127.0.0.1:{collector.stdout.readline().strip()}")
            meter = Meter(server.pid, collector.pid)
            meter.start()
            await fleet.deliver()
            timing = meter.stop(rows)
            await fleet.close()
        finally:
            collector.stdin.close()
            collector.wait(30)
    return timing


async def collect(url: str, fk: Any, folder: Path) -> None:
    """The collector's process: serves until its stdin ends."""
    read = {name: (folder / name).read_bytes() for name in ("key", "cert", "ca")}
    credentials = grpc.ssl_server_credentials(
        [(read["key"], read["cert"])], read["ca"], require_client_auth=True
    )
    database, metrics = Database(url), IngestMetrics(CollectorRegistry())
    service = IngestService(database, Writer(database, IngestSettings(fk_check=fk), metrics), metrics)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    service.add_to(server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    service.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await service.stop(1)
    await server.stop(0)


def row(timings: Sequence[Timing], reference: float | None, note: str) -> dict[str, Any]:
    """One row of results."""
    values = [timing.rate for timing in timings]
    value = statistics.median(values)
    return {
        "value": round(value),
        "unit": "rows/s",
        "reference": None if reference is None else round(reference),
        "ratio": None if reference is None else round(value / reference, 3),
        "samples": len(values),
        "spread": f"{min(values):.0f} to {max(values):.0f}",
        "command": "python benchmarks/ingest.py",
        "note": f"{note}; 50 mTLS agents, load generator and PostgreSQL on the same {os.cpu_count()} cores, "
        f"fsync on; CPU {spent(timings)}",
    }


def spent(timings: Sequence[Timing]) -> str:
    """Whose CPU time a row cost, in words."""
    each = zip(*(timing.each for timing in timings), strict=True)
    server, collector, client, cores = map(statistics.median, each)
    return (
        f"us/row: PostgreSQL {server:.2f}, collector {collector:.2f}, this process {client:.2f}, "
        f"of {cores:.2f} that the cores had"
    )


def by_cpu(timings: Sequence[Timing], reference: Sequence[Timing]) -> str:
    """The same ratio in CPU time, which other work on the machine does not change; and what it lacks."""
    used = [statistics.median(sum(timing.each[:3]) for timing in each) for each in (timings, reference)]
    server = statistics.median(timing.each[0] for timing in timings)
    return (
        f"by CPU time alone {used[1] / used[0]:.2f}x, as collector and load generator share the cores with "
        f"PostgreSQL and take {used[0] - server:.2f} us/row; {RATIO}x would leave them "
        f"{used[1] / RATIO - server:.2f}"
    )


def measure(only: set[str], rows: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Runs what is asked for."""
    found: dict[str, dict[str, Any]] = {}
    server = Server(durable=True, settings=PG)
    server.start()
    try:
        if only & {"ingest_vs_copy", "ingest_rows_per_s"}:
            mine: list[Timing] = []
            theirs: dict[int, list[Timing]] = {1: [], 2: []}
            for _ in range(rounds):
                for connections, timings in theirs.items():
                    timings.append(reference(server, rows, connections))
                mine.append(ours(server, rows, 1000, "batch"))
            rates = {n: statistics.median(each.rate for each in timings) for n, timings in theirs.items()}
            told = "; ".join(f"{rates[n]:.0f}/s with {n} (CPU {spent(theirs[n])})" for n in theirs)
            best = max(rates, key=rates.__getitem__)
            note = f"batches of 1000, fk_check batch; COPY: {told}; {by_cpu(mine, theirs[best])}"
            both = row(mine, rates[best], note)
            found |= {name: both for name in ("ingest_vs_copy", "ingest_rows_per_s") if name in only}
        for name, size, fk, fewer in (
            ("ingest_rows_per_s_row", 1000, "row", 2),
            ("ingest_rows_per_s_20", 20, "batch", 4),
            ("ingest_rows_per_s_1", 1, "batch", 40),
        ):
            if name in only:
                mine = [ours(server, rows // fewer, size, fk) for _ in range(rounds)]
                found[name] = row(mine, None, f"batches of {size}, fk_check {fk}")
    finally:
        server.stop()
    return found


def main() -> None:
    """Measures and prints the rows; with --collector, is the process that is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(ROWS), help="which rows, comma-separated")
    parser.add_argument("--rows", type=int, default=800_000, help="results of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--collector", nargs=3, metavar=("URL", "FK", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.collector:
        url, fk, folder = args.collector
        asyncio.run(collect(url, fk, Path(folder)))
    else:
        print(json.dumps(measure(set(args.only.split(",")) & set(ROWS), args.rows, args.rounds)))


if __name__ == "__main__":
    main()
