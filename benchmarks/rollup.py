#!/usr/bin/env python3
"""How long one dirty hour takes: 7000 rows of one vantage over 2000 servers, counted anew and written.

A real PostgreSQL in this process's company alone. The figure is a whole turn of the rollup; the note has its
parts by the CPU time of PostgreSQL's process: exact figures, and the latest values.

usage: python benchmarks/rollup.py [--only dirty_hour_ms]
"""

import datetime as dt
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.postgres import Server  # noqa: E402

from sonde_collector.db import partitions  # noqa: E402
from sonde_collector.db.migrate import migrate  # noqa: E402

ROWS = ("dirty_hour_ms",)
SERVERS, RESULTS, TURNS = 2000, 7000, 50
INVENTORY = f"""
INSERT INTO countries (iso_code, name) VALUES ('NL', 'Netherlands');
INSERT INTO cities (country_id, name) VALUES (1, 'Amsterdam');
INSERT INTO providers (name, slug) VALUES ('p', 'p');
INSERT INTO probe_locations (code, city_id) VALUES ('v', 1);
INSERT INTO servers (provider_id, city_id, hostname)
SELECT 1, 1, 's' || i FROM generate_series(1, {SERVERS}) i;
"""
FILL = f"""
INSERT INTO performance_logs (server_id, probe_id, measured_at, ping_ms, jitter_ms, packet_loss_pct,
  download_mbps, upload_mbps, connection_success, stream_id, seq)
SELECT 1 + n % {SERVERS}, 1, %s + n * interval '0.5 s', 10 + random() * 50, random(), random(),
  100 * random(), 10 * random(), true, 1, n
FROM generate_series(1, {RESULTS}) n
"""
MARK = "INSERT INTO sonde.dirty_marks (series, hour, probe_id) VALUES ('performance', %s, 1)"
FIGURES = "SELECT count(*), sum(p99_ping) FROM sonde.performance_figures(%s, %s, ARRAY[1]::smallint[])"
LATEST = "SELECT sonde.note_latest(%s, ARRAY[1]::smallint[])"


def measure(url: str) -> tuple[list[float], float, float, float]:
    """Returns wall times of turns, and CPU of a turn, of its figures and of the latest values [ms]."""
    hour = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=2)
    until = hour + dt.timedelta(hours=1)
    with psycopg.connect(url, autocommit=True) as conn:
        migrate(conn)
        partitions.keep_ahead(conn, every="month", ahead=1)
        partitions.ensure(conn, "performance_logs", hour, hour)
        conn.execute(INVENTORY)
        conn.execute(FILL.replace(" % ", " %% "), (hour,))
        conn.execute("VACUUM ANALYZE")
        stat = Path(f"/proc/{conn.info.backend_pid}/schedstat")

        def cpu_ms(act: Callable[[], object]) -> float:
            before = int(stat.read_text().split()[0])
            act()
            return (int(stat.read_text().split()[0]) - before) / 1e6

        def turn() -> None:
            begun = time.perf_counter()
            (done,) = conn.execute("SELECT sonde.rollup_performance_hours()").fetchone() or (0,)
            wall.append((time.perf_counter() - begun) * 1000)
            assert done == 1, "one hour was dirty"

        wall: list[float] = []
        turns, figures, latest = [], [], []
        for _ in range(TURNS):
            conn.execute(MARK, (hour,))
            turns.append(cpu_ms(turn))
            figures.append(cpu_ms(lambda: conn.execute(FIGURES, (hour, until)).fetchone()))
            latest.append(cpu_ms(lambda: conn.execute(LATEST, (hour,)).fetchone()))
    return wall, *(statistics.median(each) for each in (turns, figures, latest))


def main() -> None:
    """Measures, and prints the row."""
    server = Server()
    try:
        server.start()
        wall, turn, figures, latest = measure(server.create("rollup"))
    finally:
        server.stop()
    note = (
        f"{RESULTS} rows of one vantage over {SERVERS} servers, the whole turn. Of PostgreSQL's CPU it takes "
        f"{turn:.1f} ms: exact figures {figures:.1f}, latest values {latest:.1f}, the rest writes the hours"
    )
    row = {
        "value": round(statistics.median(wall), 1),
        "unit": "ms",
        "reference": None,
        "ratio": None,
        "samples": len(wall),
        "spread": f"{min(wall):.1f} to {max(wall):.1f} ms",
        "command": "make bench ONLY=dirty_hour_ms",
        "note": note,
    }
    print(json.dumps({ROWS[0]: row}))


if __name__ == "__main__":
    main()
