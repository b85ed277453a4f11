#!/usr/bin/env python3
"""What a turn of health costs at full scale: 2000 servers from 50 vantages, 10 000 results a second.

A real PostgreSQL, every window full, two of a hundred results failing. Each turn takes ten seconds' worth of
results from the inbox. The figure is CPU time of the process that judges; PostgreSQL's is beside it.

usage: python benchmarks/health.py [--only health_turn_cpu_s]
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.postgres import Server  # noqa: E402

from sonde_collector.db import partitions  # noqa: E402
from sonde_collector.db.migrate import migrate  # noqa: E402
from sonde_collector.health.entries import VERDICT, pack, server_series  # noqa: E402
from sonde_collector.health.evaluate import turn  # noqa: E402

ROWS = ("health_turn_cpu_s",)
SERVERS, VANTAGES, PROVIDERS = 2000, 50, 20
PER_S, EVERY_S, TURNS = 10_000, 10, 5
FAILING = 0.02
BATCH = 1000
INVENTORY = f"""
INSERT INTO countries (iso_code, name) VALUES ('NL', 'Netherlands');
INSERT INTO cities (country_id, name) VALUES (1, 'Amsterdam');
INSERT INTO providers (name, slug) SELECT 'p' || i, 'p' || i FROM generate_series(1, {PROVIDERS}) i;
INSERT INTO probe_locations (code, city_id) SELECT 'v' || i, 1 FROM generate_series(1, {VANTAGES}) i;
INSERT INTO servers (provider_id, city_id, hostname)
SELECT 1 + i % {PROVIDERS}, 1, 's' || i FROM generate_series(1, {SERVERS}) i;
INSERT INTO sonde.server_keys SELECT hostname, id FROM servers;
"""


def fill(conn: psycopg.Connection, rng: np.random.Generator, age_s: float, pairs: np.ndarray) -> None:
    """Leaves results of these (server, vantage) in the inbox, as ingestion does."""
    verdicts = np.zeros(len(pairs), VERDICT)
    verdicts["object"], verdicts["probe"] = pairs // VANTAGES + 1, pairs % VANTAGES + 1
    verdicts["series"] = server_series(1, 4)
    verdicts["at_us"] = (time.time() - age_s) * 1e6 + rng.integers(0, 10_000_000, len(pairs))
    verdicts["ok"] = rng.random(len(pairs)) > FAILING
    verdicts["failure"], verdicts["ms"] = 1 - verdicts["ok"], 20
    for start in range(0, len(pairs), BATCH):
        conn.execute(
            "INSERT INTO sonde.health_inbox (object, verdicts) VALUES ('server', %s)",
            (pack(verdicts[start : start + BATCH]),),
        )


def measure(url: str) -> tuple[list[float], list[float]]:
    """Returns CPU and wall time of each turn [s]."""
    rng = np.random.default_rng(1)
    with psycopg.connect(url, autocommit=True) as conn:
        migrate(conn)
        partitions.keep_ahead(conn, every="month", ahead=1)
        conn.execute(INVENTORY)
        for number in range(10):
            fill(conn, rng, 110 - 10 * number, np.arange(SERVERS * VANTAGES))
        while turn(conn).more:
            pass
        cpu, wall = [], []
        for _ in range(TURNS):
            fill(conn, rng, EVERY_S, rng.integers(0, SERVERS * VANTAGES, PER_S * EVERY_S))
            begun, used = time.monotonic(), time.process_time()
            turn(conn)
            cpu.append(time.process_time() - used)
            wall.append(time.monotonic() - begun)
    return cpu, wall


def main() -> None:
    """Measures, and prints the row."""
    server = Server()
    try:
        server.start()
        cpu, wall = measure(server.create("health"))
    finally:
        server.stop()
    note = (
        f"{SERVERS} servers x {VANTAGES} vantages, {PER_S * EVERY_S} results a turn, every window full; "
        f"wall time {statistics.median(wall):.1f} s with PostgreSQL on the same cores"
    )
    row = {
        "value": round(statistics.median(cpu), 2),
        "unit": "s",
        "reference": None,
        "ratio": None,
        "samples": len(cpu),
        "spread": f"{min(cpu):.2f} to {max(cpu):.2f} s",
        "command": "make bench ONLY=health_turn_cpu_s",
        "note": note,
    }
    print(json.dumps({ROWS[0]: row}))


if __name__ == "__main__":
    main()
