"""How answers are read: no partition outside their range, and no partition as a whole.

Asked of PostgreSQL's own counts of scans within the transaction, which know what functions read too.
"""

import datetime as dt
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.builders import inventory
from support.measured import roll

from sonde_collector.db import partitions
from sonde_collector.db.queries import parse, query
from sonde_collector.read import unlock

pytestmark = pytest.mark.postgres
SEED = parse((Path(__file__).parents[1] / "golden" / "seed_queries.sql").read_text())
NOW = dt.datetime.now(dt.UTC)
DAYS, SERVERS = 12, 40
PARTITION = re.compile(r"_(\d{4}_\d{2}_\d{2})$")  # those of rollups hold a month


@pytest.fixture(scope="module")
def url(postgres_server: Any) -> Iterator[str]:
    """A database with partitions by day, forty servers and twelve days of results, analysed."""
    url = postgres_server.create("test_answer_plans", "sonde_template")
    with psycopg.connect(url, autocommit=True) as conn:
        inventory(conn, vantages=["a", "b"], servers=[f"s{n}" for n in range(SERVERS)])
        lo = NOW - dt.timedelta(days=DAYS)
        for table in ("performance_logs", "streaming_checks", "sonde.endpoint_checks", "sonde.canary_checks"):
            partitions.ensure(conn, table, lo, NOW, every="day")
        conn.execute(
            "INSERT INTO performance_logs (server_id, probe_id, measured_at, ping_ms, download_mbps, "
            "protocol_id, direct_ping_ms, stream_id, seq) "
            "SELECT 1 + n %% %s, 1 + n %% 2, now() - n * interval '25 seconds', 10, 100, 1, 5, 1, n "
            "FROM generate_series(0, 40000) n",
            (SERVERS,),
        )
        conn.execute("INSERT INTO streaming_platforms (slug, name) VALUES ('tv', 'TV')")
        conn.execute(
            "INSERT INTO streaming_checks (server_id, platform_id, checked_at, is_unlocked) "
            "SELECT 1 + n %% %s, 1, now() - n * interval '50 seconds', true FROM generate_series(0, 20000) n",
            (SERVERS,),
        )
        conn.execute(
            "INSERT INTO sonde.canary_checks (platform_id, probe_id, checked_at, stream_id, seq, verdict, "
            "rule_version) SELECT 1, 1 + n % 2, now() - n * interval '1 hour', 1, n, 'blocked', '1' "
            "FROM generate_series(0, 280) n"
        )
        conn.execute(
            "INSERT INTO sonde.dirty_marks SELECT DISTINCT 'performance', "
            "date_trunc('hour', measured_at, 'UTC'), probe_id FROM performance_logs"
        )
        conn.execute(
            "INSERT INTO sonde.endpoint_checks (target_id, probe_id, measured_at, stream_id, seq, kind, ok) "
            "SELECT 1, 1 + n % 2, now() - n * interval '5 minutes', 1, n, 'http', true "
            "FROM generate_series(0, 3000) n"
        )
        conn.execute(
            "INSERT INTO sonde.dirty_marks SELECT DISTINCT 'endpoint', "
            "date_trunc('hour', measured_at, 'UTC'), probe_id FROM sonde.endpoint_checks"
        )
        roll(conn)
        conn.execute("VACUUM (ANALYZE)")
    yield url
    postgres_server.drop("test_answer_plans")


def scans(conn: psycopg.Connection, statement: str, values: Any = None) -> list[tuple[str, bool]]:
    """Every relation that a query reads, functions' own queries included, and whether from end to end.

    Asked the eighth time: then PostgreSQL may keep a plan that knows no values, and planning, which looks at
    the ends of indexes, is over.
    """
    counts = "SELECT relname::text, seq_scan, coalesce(idx_scan, 0) FROM pg_stat_xact_user_tables"
    for _ in range(7):
        conn.execute(statement.encode(), values, prepare=True).fetchall()
    with conn.transaction():
        before = {row[0]: row[1:] for row in conn.execute(counts)}
        conn.execute(statement.encode(), values, prepare=True).fetchall()
        after = {row[0]: row[1:] for row in conn.execute(counts)}
    more = {
        table: [a - b for a, b in zip(now, before.get(table, (0, 0)), strict=True)]
        for table, now in after.items()
    }
    return [(table, whole > 0) for table, (whole, by_index) in more.items() if whole or by_index]


ARGUMENTS: dict[str, Any] = {
    "server": 3,
    "target": 1,
    "vantages": None,
    "step": "day",
    "metric": "ping_ms",
    "limit": 20,
    "after": None,
    "country": None,
    "provider": None,
    "protocol": None,
    "days": 2,
    "since": NOW - dt.timedelta(days=2),
    "lo": NOW - dt.timedelta(hours=30),
    "hi": NOW,
    "carry_from": NOW - dt.timedelta(hours=40),
    "kind": "server",
    "name": "s3",
}
TIERS = {"answers_trend_cells": ("raw", "hourly"), "answers_endpoint_trend": ("minute", "hour", "day")}
CASES = [
    (name, tier, vantages)
    for name in parse((resources.files("sonde_collector") / "sql/queries/answers.sql").read_text("utf-8"))
    for tier in TIERS.get(name, ("",))
    for vantages in ((None, [1]) if "trend" in name or "ranking" in name else (None,))
]


@pytest.mark.parametrize(("name", "tier", "vantages"), CASES)
def test_every_answer_prunes(url: str, name: str, tier: str, vantages: list[int] | None) -> None:
    """No query of answers.sql touches a partition outside its range, nor any from end to end."""
    with psycopg.connect(url, autocommit=True) as conn:
        read = scans(conn, query(name), {**ARGUMENTS, "tier": tier, "vantages": vantages})
        pruned(read, NOW - dt.timedelta(days=3))


@pytest.mark.parametrize("server", [None, "s3"])
def test_the_unlock_matrix_prunes(url: str, server: str | None) -> None:
    """The matrix reads checks of its range by index; of canaries, which are few, those of fifteen days."""
    values = {**unlock.ALL, "server": server, "max_age_s": 2 * 86_400, "limit": 50}
    with psycopg.connect(url, autocommit=True) as conn:
        read = scans(conn, query("unlock_matrix"), values)
        checks = [one for one in read if not one[0].startswith("canary_checks")]
        pruned(checks, NOW - dt.timedelta(days=3))
        assert any(table.startswith("streaming_checks") for table, _ in checks)


def test_the_seeds_queries_prune(url: str) -> None:
    """Neither do the first seed's queries, as it writes them."""
    recent = SEED["trend_30_days"].replace("$1", "3").replace("30 days", "2 days")
    with psycopg.connect(url, autocommit=True) as conn:
        pruned(scans(conn, recent), NOW - dt.timedelta(days=3))
        for name in ("top_10", "country_ranking"):
            read = scans(conn, SEED[name].replace("'DE'", "'NL'"))
            pruned(read, NOW - dt.timedelta(days=2))
            assert not any(table.startswith("performance_logs") for table, _ in read)


def pruned(read: list[tuple[str, bool]], since: dt.datetime) -> None:
    """Nothing older than that is read, and no partition as a whole."""
    assert read
    for table, whole in read:
        if dated := PARTITION.search(table):
            assert dated[1] >= since.strftime("%Y_%m_%d"), table
            assert not whole, table
