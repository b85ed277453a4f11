#!/usr/bin/env python3
"""How long answers take over a month of a big fleet's results: ranking, the first seed's queries, trends.

2000 servers, 50 vantages, 3 protocols, with results that have no speed and servers that are measured no more
(answers_data.sql). SONDE_BENCH_ROWS raw rows, 20 million where it says nothing; 100 million take 40 GB of
disk. Ranking, top 10 and country ranking are asked while results are being written and rolled up by the
collector's own loop. Times are a client's, over a unix socket, whole.

usage: python benchmarks/answers.py [--only ranking_ms,...] [--seconds N]
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from answers_data import COUNTRIES, SEED, SERVERS, VANTAGES, fill, run  # noqa: E402
from support.postgres import Server  # noqa: E402

from sonde_collector.db.migrate import migrate  # noqa: E402
from sonde_collector.db.pool import Database  # noqa: E402
from sonde_collector.maintain import rollup  # noqa: E402
from sonde_collector.read import answers  # noqa: E402

ROWS = (
    "ranking_ms",
    "top10_ms",
    "country_ranking_ms",
    "trend_30d_ms",
    "trend_2y_ms",
    "trend_30d_raw_ms",
)
VARIABLE = "SONDE_BENCH_ROWS"
RAW_ROWS = int(os.environ.get(VARIABLE, "20000000"))
WRITTEN_AT_ONCE, PAUSE_S = (
    500,
    0.25,
)  # 2000 rows a second beside: 50 vantages, a server of each a second and more
PG = {"shared_buffers": "1GB", "max_wal_size": "16GB", "work_mem": "16MB", "maintenance_work_mem": "1GB"}


@contextlib.contextmanager
def ingest(url: str) -> Iterator[None]:
    """Results are written, and rolled up as the collector does it, until the end of the block."""
    stop = threading.Event()

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            for turn in range(1_000_000):
                run(conn, "write", {"turn": turn, "rows": WRITTEN_AT_ONCE})
                if stop.wait(PAUSE_S):
                    return

    def roll(steps: tuple[rollup.Step, ...]) -> None:
        turns = rollup.Rollup(Database(url), steps, lambda _: None)
        while not stop.wait(turns.next_s()):
            turns.turn()
        turns.close()

    threads = [
        threading.Thread(target=write),
        *(threading.Thread(target=roll, args=(steps,)) for steps in (rollup.SOON, rollup.PATIENT)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def timed(ask: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of each turn of `ask` for so long, the first five apart: they prepare statements."""
    times: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(times) < 25:
        begun = time.perf_counter()
        ask()
        times.append((time.perf_counter() - begun) * 1000)
    return times[5:]


def row(times: list[float], note: str, **values: Any) -> dict[str, Any]:
    """One row of results."""
    cuts = statistics.quantiles(times, n=20)
    return {
        "value": round(statistics.median(times), 3),
        "unit": "ms",
        "reference": None,
        "ratio": None,
        "samples": len(times),
        "spread": f"p95 {cuts[-1]:.2f}, max {max(times):.1f}",
        "command": f"{VARIABLE}={RAW_ROWS} make bench ONLY=ranking_ms,top10_ms,country_ranking_ms,"
        "trend_30d_ms,trend_2y_ms,trend_30d_raw_ms",
        "note": f"{note}; {RAW_ROWS / 1e6:g} M raw rows, {SERVERS} servers, {VANTAGES} vantages, 3 protocols;"
        f" median of a client's whole time; PostgreSQL and client on the same {os.cpu_count()} cores",
    } | values


def measure(url: str, only: list[str], seconds: float) -> dict[str, dict[str, Any]]:
    """The rows asked for."""
    now = dt.datetime.now(dt.UTC)
    found: dict[str, dict[str, Any]] = {}
    with psycopg.connect(url, autocommit=True) as conn:

        def asked(name: str, note: str, ask: Callable[[], object]) -> None:
            if name in only:
                found[name] = row(timed(ask, seconds), note)

        with ingest(url):
            beside = f"{WRITTEN_AT_ONCE / PAUSE_S:.0f} rows/s written and rolled up beside"
            asked(
                "ranking_ms",
                f"answers.ranking(), the best 20 of all; {beside}",
                lambda: answers.ranking(conn),
            )
            if "ranking_ms" in found:
                of_country = timed(lambda: answers.ranking(conn, country="DE"), seconds)
                found["ranking_ms"]["note"] += f"; of one country {statistics.median(of_country):.2f} ms"
            top_10 = SEED["top_10"].encode()
            asked("top10_ms", f"the first seed's query; {beside}", lambda: conn.execute(top_10).fetchall())
            by_country = SEED["country_ranking"].encode()
            asked(
                "country_ranking_ms",
                f"the first seed's usage of its function, {SERVERS // COUNTRIES} servers; {beside}",
                lambda: conn.execute(by_country).fetchall(),
            )
        for name, days in (("trend_30d_ms", 30), ("trend_2y_ms", 730)):
            lo = now - dt.timedelta(days=days)
            asked(
                name,
                "answers.trend() by the day over all vantages",
                lambda lo=lo: answers.trend(conn, server="s9", lo=lo, hi=now, step="day"),
            )
        raw = SEED["trend_30_days"].replace("$1", "10").encode()
        asked(
            "trend_30d_raw_ms", "the first seed's query over raw rows", lambda: conn.execute(raw).fetchall()
        )
    return found


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(description="Time answers over a big fleet's results.")
    parser.add_argument("--only", default=",".join(ROWS), metavar="NAME,...")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each figure")
    given = parser.parse_args()
    server = Server(settings=PG)
    try:
        server.start()
        server.create("bench")
        url = f"postgresql://postgres@/bench?host={quote(str(server.directory), safe='')}&port={server.port}"
        with psycopg.connect(url, autocommit=True) as conn:
            migrate(conn)
        begun = time.monotonic()
        fill(url, RAW_ROWS)
        print(f"filled in {time.monotonic() - begun:.0f} s", file=sys.stderr)
        print(json.dumps(measure(url, given.only.split(","), given.seconds)))
    finally:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
