"""The first seed's queries, as it writes them (golden/seed_queries.sql), say what brute force says."""

import datetime as dt
import random
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.numeric import FloatLoader
from support.measured import day_begins, measure, roll

from sonde_collector.db import partitions
from sonde_collector.db.queries import parse

pytestmark = pytest.mark.postgres
SEED = parse((Path(__file__).parents[1] / "golden" / "seed_queries.sql").read_text())
NOW = dt.datetime.now(dt.UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
INVENTORY = """
INSERT INTO countries (iso_code, name) VALUES ('DE', 'Germany'), ('NL', 'Netherlands');
INSERT INTO cities (country_id, name) VALUES (1, 'Berlin'), (2, 'Amsterdam');
INSERT INTO providers (name, slug) VALUES ('P', 'p'), ('Q', 'q');
INSERT INTO servers (provider_id, city_id, hostname)
SELECT 1 + n % 2, 1 + n / 10, 'h' || n FROM generate_series(1, 14) n;
UPDATE servers SET is_active = false WHERE id = 5;
INSERT INTO probe_locations (code) VALUES ('a'), ('b'), ('c');
INSERT INTO server_protocols VALUES (1, 2, NULL), (1, 1, 51820), (2, 1, 51820);
INSERT INTO streaming_platforms (slug, name) VALUES ('tv1', 'TV 1'), ('tv2', 'TV 2');
"""
Row = dict[str, Any]


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with fourteen servers in two countries."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.adapters.register_loader("numeric", FloatLoader)
        conn.execute(INVENTORY)
        yield conn


def run(conn: psycopg.Connection, name: str) -> list[tuple[Any, ...]]:
    """What the seed's query of that name answers."""
    return conn.execute(SEED[name].encode()).fetchall()


def results(rng: random.Random, count: int, days: float) -> list[Row]:
    """Results of the last days, many of them without a speed or a connection."""
    return [
        {
            "server_id": rng.randint(1, 13),
            "probe_id": rng.randint(1, 3),
            "measured_at": NOW - dt.timedelta(days=days) * rng.random(),
            "stream_id": 1,
            "seq": seq,
            "ping_ms": rng.choice((None, float(rng.randint(5, 90)))),
            "download_mbps": rng.choice((None, None, rng.randint(100, 90_000) / 100)),
            "connection_success": rng.choice((None, True, True, False)),
            "protocol_id": rng.randint(1, 2),
        }
        for seq in range(count)
    ]


def known(rows: Sequence[Row], name: str) -> list[float]:
    """What was measured of one metric."""
    return [row[name] for row in rows if row[name] is not None]


def mean(values: Sequence[float]) -> Any:
    """About the mean, or None."""
    return pytest.approx(statistics.fmean(values), abs=0.06) if values else None


@pytest.mark.parametrize("seed", range(3))
def test_top_10_is_the_newest_speed_of_each(conn: psycopg.Connection, seed: int) -> None:
    """The fastest by the best of their protocols' newest speeds; unknown and stale ones are not in it."""
    rows = results(random.Random(seed), 400, 12)
    measure(conn, rows)
    roll(conn)
    newest: dict[tuple[int, int, int], Row] = {}
    for row in sorted(rows, key=lambda row: row["measured_at"]):
        if row["download_mbps"] is not None:
            newest[row["server_id"], row["probe_id"], row["protocol_id"]] = row
    best: dict[tuple[int, int], float] = {}
    for (server, probe, _), row in newest.items():
        if row["measured_at"] >= NOW - dt.timedelta(days=8) and server != 5:
            best[server, probe] = max(best.get((server, probe), 0.0), row["download_mbps"])
    found = run(conn, "top_10")
    assert [float(row[4]) for row in found] == sorted(best.values(), reverse=True)[:10]
    by_server = {(server, speed) for (server, _), speed in best.items()}
    assert {(row[0], float(row[4])) for row in found} <= by_server


@pytest.mark.parametrize("seed", range(3))
def test_country_ranking_is_what_the_days_say(conn: psycopg.Connection, seed: int) -> None:
    """A country's servers by mean uptime, speed and ping of their days and vantages, late rows included."""
    rows = results(random.Random(seed), 400, 12)
    measure(conn, rows[:300])
    roll(conn)
    measure(conn, rows[300:])
    roll(conn)
    for passed in (0, 4):
        today = TODAY + dt.timedelta(days=passed)
        day_begins(conn, today)
        cells: dict[int, dict[Any, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            if (
                row["server_id"] < 10
                and row["server_id"] != 5
                and row["measured_at"] >= today - dt.timedelta(7)
            ):
                cells[row["server_id"]][row["measured_at"].date(), row["probe_id"]].append(row)
        found = run(conn, "country_ranking")
        assert {row[0] for row in found} == cells.keys()
        for row in found:
            each = cells[row[0]].values()
            for name, value in (("download_mbps", row[4]), ("ping_ms", row[5])):
                assert value == mean([statistics.fmean(known(c, name)) for c in each if known(c, name)])
            tried = [known(cell, "connection_success") for cell in each]
            assert row[6] == mean([100 * statistics.fmean(cell) for cell in tried if cell])
        uptimes = [-1 if row[6] is None else row[6] for row in found]
        assert uptimes == sorted(uptimes, reverse=True)


def test_country_ranking_names_what_the_newest_check_unlocks(conn: psycopg.Connection) -> None:
    """A platform that failed since is not shown although it was unlocked that day, nor one of before."""
    measure(conn, results(random.Random(1), 100, 3))
    roll(conn)
    partitions.ensure(conn, "streaming_checks", NOW - dt.timedelta(days=9), NOW)
    conn.execute(
        "INSERT INTO streaming_checks (server_id, platform_id, checked_at, is_unlocked) "
        "SELECT s, p, now() - h * interval '1 hour', u FROM (VALUES (1, 1, 2, true), (1, 1, 1, false), "
        "(1, 2, 2, false), (1, 2, 1, true), (2, 1, 30, true)) AS t(s, p, h, u)"
    )
    shown = {row[0]: row[7:] for row in run(conn, "country_ranking")}
    assert shown[1] == (["OpenVPN-UDP", "WireGuard"], ["tv2"])
    assert shown[2] == (["WireGuard"], [])


@pytest.mark.parametrize("seed", range(3))
def test_trend_over_30_days_is_what_raw_rows_say(conn: psycopg.Connection, seed: int) -> None:
    """The trend's days have the means and medians of the raw rows; held results are not among them."""
    rows = [row for row in results(random.Random(seed), 400, 33) if row["server_id"] in (1, 2)]
    measure(conn, rows)
    partitions.ensure(conn, "sonde.performance_held", NOW, NOW)
    conn.execute(
        "INSERT INTO sonde.performance_held (server_id, probe_id, measured_at, download_mbps, held_because) "
        "VALUES (1, 1, now(), 9999, 'not_ready')"
    )
    conn.execute(b"PREPARE trend AS " + SEED["trend_30_days"].encode())
    found = conn.execute("EXECUTE trend (1)").fetchall()
    days: dict[dt.date, list[Row]] = defaultdict(list)
    for row in rows:
        if row["server_id"] == 1 and row["measured_at"] >= NOW - dt.timedelta(days=30):
            days[row["measured_at"].date()].append(row)
    assert [row[0].date() for row in found] == sorted(days)
    for day, download, median, ping, uptime in found:
        each = days[day.date()]
        speeds = known(each, "download_mbps")
        assert download == mean(speeds)
        assert median == (pytest.approx(statistics.median(speeds)) if speeds else None)
        assert ping == mean(known(each, "ping_ms"))
        assert uptime == pytest.approx(100 * sum(known(each, "connection_success")) / len(each))


def test_rollup_and_partition_by_the_seeds_names(conn: psycopg.Connection) -> None:
    """rollup_performance_logs() alone brings rows into every answer; the next partition is made once."""
    rows = results(random.Random(5), 200, 6)
    measure(conn, rows)
    conn.execute(SEED["rollup"].encode())
    (total,) = conn.execute("SELECT sum(sample_count) FROM performance_logs_hourly").fetchall()
    assert total == (len(rows),)
    assert conn.execute("SELECT sum(sample_count) FROM mv_server_daily_stats").fetchone() == (len(rows),)
    assert conn.execute("SELECT sum(sample_count) FROM sonde.server_week").fetchone() == (len(rows),)
    assert len(run(conn, "top_10")) == 10
    assert run(conn, "country_ranking")
    following = (TODAY.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    count = (
        "SELECT count(*) FROM sonde.partition_ranges WHERE parent = 'performance_logs'::regclass AND lo = %s"
    )
    for _ in range(2):
        conn.execute(SEED["next_partition"].encode())
        assert conn.execute(count, (following,)).fetchone() == (1,)
