"""A fleet's month of results and two years of its days, made inside PostgreSQL, for benchmarks/answers.py."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from sonde_collector.db import partitions
from sonde_collector.db.queries import parse

SERVERS, VANTAGES, COUNTRIES, RAW_DAYS = 2000, 50, 40, 30
HERE = Path(__file__).resolve().parent
STATEMENTS = parse((HERE / "answers_data.sql").read_text())
SEED = parse((HERE.parent / "tests" / "golden" / "seed_queries.sql").read_text())
INVENTORY = ("countries", "cities", "providers", "vantages", "servers", "keys", "protocols", "platforms")


def fill(url: str, rows: int) -> None:
    """Fills a migrated, empty database with about `rows` raw rows and all that follows from them."""
    with psycopg.connect(url, autocommit=True) as conn:
        for name in INVENTORY:
            run(conn, name)
        now = dt.datetime.now(dt.UTC)
        for table in ("performance_logs", "performance_logs_hourly", "streaming_checks"):
            partitions.ensure(conn, table, now - dt.timedelta(days=RAW_DAYS + 1), now)
        indexes = conn.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid = 'performance_logs'::regclass AND NOT indisprimary"
        ).fetchall()
        for name, _ in indexes:
            conn.execute(f"DROP INDEX {name}".encode())
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        days = [today - dt.timedelta(days=n) for n in range(RAW_DAYS + 1)]
        share = max(rows // RAW_DAYS, 1)
        each(url, "raw", [{"day": day, "rows": share, "first": n * share} for n, day in enumerate(days)])
        for _, definition in indexes:
            conn.execute(definition.replace(" ON ONLY ", " ON ").encode())
        run(conn, "streaming")
        conn.execute("VACUUM (ANALYZE) performance_logs")
        each(url, "day", [{"day": day} for day in days])
        for name in ("old_days", "marks", "rollup", "old_server_days"):
            run(conn, name)
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")


def run(conn: psycopg.Connection, name: str, values: dict[str, object] | None = None) -> None:
    """Runs a statement of answers_data.sql."""
    conn.execute(STATEMENTS[name].encode(), values)


def each(url: str, name: str, values: list[dict[str, object]]) -> None:
    """Runs a statement with each of these, two at a time: the machine has two cores."""

    def one(value: dict[str, object]) -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            if name == "raw":  # keys are right by making; of the days a trigger is needed
                conn.execute("SET session_replication_role = replica")
            conn.execute("SET max_parallel_workers_per_gather = 0")
            run(conn, name, value)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, values))
