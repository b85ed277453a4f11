"""Rows of many days in every partitioned table of results, and what the database says of all of them."""

import datetime as dt
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from pyarrow import fs
from support.builders import inventory

from sonde_collector.archive import engine, steps, tiers
from sonde_collector.archive.storage import Storage
from sonde_collector.config import Archive, Retention
from sonde_collector.db import partitions
from sonde_collector.db.pool import Database
from sonde_collector.maintain.rollup import PATIENT, SOON
from sonde_proto.units import Duration

DAY_S = 86_400.0
NOW = dt.datetime.now(dt.UTC).replace(hour=12, minute=0, second=0, microsecond=0)
FAILURES = (None, None, None, "timeout", "refused")
TEXTS = ("", "a,b", 'say "x"', "two\nlines", "\\N", "é€")
PERFORMANCE = (
    "server_id", "probe_id", "measured_at", "stream_id", "seq", "ping_ms", "download_mbps", "packet_loss_pct",
    "connection_success", "failure", "protocol_id",
)  # fmt: skip
ENDPOINT = (
    "target_id", "probe_id", "measured_at", "stream_id", "seq", "kind", "ok", "total_ms", "first_byte_ms",
    "status", "answers", "mismatch", "cert_not_after", "body_bytes",
)  # fmt: skip
RAW = {
    "performance_logs": "measured_at",
    "sonde.performance_held": "measured_at",
    "streaming_checks": "checked_at",
    "sonde.endpoint_checks": "measured_at",
    "sonde.vantage_health": "measured_at",
    "sonde.missed_runs": "measured_at",
}


def days_ago(days: float) -> dt.datetime:
    """That long before noon of today."""
    return NOW - dt.timedelta(days=days)


def keep(raw_days: float, **days: float) -> Retention:
    """A retention."""
    others = {name: Duration(value * DAY_S) for name, value in days.items()}
    return Retention(raw=Duration(raw_days * DAY_S), **others)


def furnish(conn: psycopg.Connection) -> None:
    """Two vantages, three servers, two targets, a platform."""
    inventory(conn, vantages=("ams1", "nyc1"), servers=("s1", "s2", "s3"), targets=("t1", "t2"))
    conn.execute("INSERT INTO streaming_platforms (slug, name) VALUES ('tube', 'Tube')")


def fill(conn: psycopg.Connection, day: dt.datetime, rows: int, chance: random.Random) -> None:
    """Writes so many rows of one day to performance_logs and endpoint_checks, fewer to others, with marks."""
    lo, _ = partitions.bounds("day", day)
    for table in (*RAW, "sonde.batches"):
        partitions.ensure(conn, table, lo, lo, "day")
    seq = int(lo.timestamp())

    def at() -> dt.datetime:
        return lo + dt.timedelta(microseconds=chance.randrange(86_400_000_000))

    def maybe(value: Any) -> Any:
        return value if chance.random() < 0.8 else None

    def who(most: int) -> tuple[Any, ...]:
        return chance.randint(1, most), chance.randint(1, 2), at(), 0

    with conn.transaction(), conn.cursor() as cursor:
        for table in ("performance_logs", "sonde.performance_held"):
            held = table.endswith("held")
            names = (*PERFORMANCE, *(("held_because",) * held))
            with cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
                for n in range(rows // (5 if held else 1)):
                    figures = (
                        maybe(chance.uniform(0, 300)), maybe(round(chance.uniform(0, 999), 2)),
                        maybe(round(chance.uniform(0, 100), 2)), maybe(chance.random() < 0.9),
                    )  # fmt: skip
                    words = (chance.choice(FAILURES), maybe(chance.randint(1, 4)), *(("not ready",) * held))
                    copy.write_row((*who(3), seq + n, *figures, *words))
        with cursor.copy(f"COPY sonde.endpoint_checks ({', '.join(ENDPOINT)}) FROM STDIN") as copy:
            for n in range(rows):
                figures = (
                    "http", chance.random() < 0.9,
                    maybe(chance.uniform(0, 900)), maybe(chance.uniform(0, 90)),
                    maybe(chance.choice((200, 301, 503))), maybe(chance.choice(TEXTS)), maybe("x" * 20),
                    maybe(at()), maybe(chance.getrandbits(60)),
                )  # fmt: skip
                copy.write_row((*who(2), seq + n, *figures))
    conn.execute(
        "INSERT INTO streaming_checks "
        "(server_id, platform_id, checked_at, is_unlocked, seq, probe_id, evidence) "
        "SELECT 1 + n %% 3, p.id, %s + n * interval '1 minute', n %% 2 = 0, "
        "%s + n, 1, jsonb_build_object('n', n, 'text', 'a\"b', 'none', null) "
        "FROM generate_series(1, 20) AS n, streaming_platforms AS p",
        (lo, seq),
    )
    conn.execute(
        "INSERT INTO sonde.vantage_health (probe_id, measured_at, stream_id, seq, ready, cpu_pct) "
        "SELECT 1, %s + n * interval '1 minute', 0, %s + n, true, n / 7.0 FROM generate_series(1, 20) AS n",
        (lo, seq),
    )
    conn.execute(
        "INSERT INTO sonde.missed_runs "
        "(probe_id, measured_at, stream_id, seq, task, reason, slots, until_at) "
        "SELECT 1, %(at)s, 0, %(seq)s, 'p', 'late', 2, %(at)s",
        {"at": lo + dt.timedelta(hours=1), "seq": seq},
    )
    conn.execute(
        "INSERT INTO sonde.batches SELECT 0, %(seq)s, %(seq)s + 9, %(at)s, 10, 0, 0, 1.5, '0.1.0', NULL, 1, "
        "gen_random_uuid()",
        {"at": lo + dt.timedelta(hours=1), "seq": seq},
    )
    for series, table in (("performance", "performance_logs"), ("endpoint", "sonde.endpoint_checks")):
        conn.execute(
            "INSERT INTO sonde.dirty_marks SELECT DISTINCT %s, date_trunc('hour', measured_at), probe_id "
            f"FROM {table} WHERE measured_at >= %s AND measured_at < %s",
            (series, lo, lo + dt.timedelta(days=1)),
        )


def roll_up(conn: psycopg.Connection) -> None:
    """Rolls up until nothing is dirty."""
    for step in (*SOON, *PATIENT):
        while conn.execute(f"SELECT sonde.rollup_{step.name}()").fetchone() != (0,):
            continue


def folder(path: Path) -> Storage:
    """An archive in a folder."""
    return Storage(str(path), fs.LocalFileSystem(), str(path), path)


def archive(conn: psycopg.Connection, storage: Storage, retention: Retention, **options: Any) -> steps.Turn:
    """One turn at noon of today."""
    return steps.turn(conn, lambda: storage, retention, Archive(), **({"now": NOW} | options))


def rows_of(conn: psycopg.Connection, table: str) -> list[Any]:
    """All rows of a table as PostgreSQL writes them, bit for bit, in one order."""
    return conn.execute(f"SELECT t::text FROM {table} AS t ORDER BY 1").fetchall()


def states(conn: psycopg.Connection) -> dict[str, str]:
    """The state of each partition that left."""
    return dict(conn.execute("SELECT name, state FROM sonde.archives").fetchall())


@contextmanager
def asking(url: str, storage: Storage | None) -> Iterator[Any]:
    """A function that runs one query over hot and cold, and gives its rows."""
    database = Database(url)
    with tiers.snapshot(database, storage, 60) as found:
        yield lambda statement: [
            tuple(row) for row in list(engine.run(found, statement, memory="512MB", timeout_s=60))[1:]
        ]
    database.close()
