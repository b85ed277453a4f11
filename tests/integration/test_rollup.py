"""Rollups and latest values against brute force over the raw rows, with writers beside."""

import datetime as dt
import random
import statistics
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest
from psycopg.types.numeric import FloatLoader

from sonde_collector.db import partitions
from sonde_collector.db.pool import open_database
from sonde_collector.maintain import rollup

pytestmark = pytest.mark.postgres

NOW = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
DAYS = 20

INVENTORY = """
INSERT INTO countries (id, iso_code, name) VALUES (1, 'DE', 'Germany');
INSERT INTO cities (id, country_id, name) VALUES (1, 1, 'Berlin');
INSERT INTO probe_locations (id, code) VALUES (1, 'a'), (2, 'b');
INSERT INTO providers (id, name, slug) VALUES (1, 'P', 'p');
INSERT INTO servers (id, provider_id, city_id, hostname)
VALUES (1, 1, 1, 'h1'), (2, 1, 1, 'h2'), (3, 1, 1, 'h3');
INSERT INTO sonde.targets (id, key, spec) VALUES (1, 't1', '{}'), (2, 't2', '{}');
"""
Row = dict[str, Any]


@pytest.fixture
def url(database_url: str) -> str:
    """A migrated database with inventory and partitions."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(INVENTORY)
        for table in ("performance_logs", "sonde.endpoint_checks"):
            partitions.ensure(conn, table, NOW - dt.timedelta(days=DAYS + 1), NOW + dt.timedelta(days=1))
        conn.execute("DELETE FROM sonde.dirty_marks")
    return database_url


def _performance(rng: random.Random, count: int) -> list[Row]:
    def some(value: float) -> float | None:
        return None if rng.random() < 0.3 else value

    return [
        {
            "server_id": rng.randint(1, 3),
            "probe_id": rng.randint(1, 2),
            "measured_at": NOW - dt.timedelta(seconds=rng.choice((1, 60, 3600)) * rng.randint(0, DAYS * 20)),
            "stream_id": 1,
            "seq": seq,
            "ping_ms": some(rng.choice((0.5, 12.25, 250.0, 3e37))),
            "jitter_ms": some(rng.random() * 5),
            "packet_loss_pct": some(rng.choice((0, 10, 100))),
            "download_mbps": some(round(rng.random() * 900, 2)),
            "upload_mbps": some(round(rng.random() * 90, 2)),
            "connection_success": rng.choice((True, True, False, None)),
            "connection_time_ms": some(rng.random() * 100),
            "protocol_id": rng.choice((None, 1, 2)),
            "family": rng.choice((4, 6, None)),
            "failure": rng.choice((None, "timeout")),
        }
        for seq in range(count)
    ]


def _endpoint(rng: random.Random, count: int) -> list[Row]:
    return [
        {
            "target_id": rng.randint(1, 2),
            "probe_id": rng.randint(1, 2),
            "measured_at": NOW - dt.timedelta(seconds=rng.choice((1, 60, 3600)) * rng.randint(0, DAYS * 20)),
            "stream_id": 1,
            "seq": seq,
            "kind": "http",
            "ok": rng.random() < 0.7,
            "status": rng.choice((None, 200, 204, 301, 404, 503)),
            "total_ms": rng.random() * 300,
            "first_byte_ms": rng.random() * 100,
            "cache_status": rng.choice((None, "hit", "miss", "stale")),
            "failure": rng.choice((None, "timeout", "dns", "tls", "refused")),
        }
        for seq in range(count)
    ]


def _write(url: str, table: str, series: str, batches: Sequence[Sequence[Row]], rng: random.Random) -> None:
    """Write batches as ingest does: rows and their marks in one transaction."""
    with psycopg.connect(url, autocommit=True) as conn:
        for batch in batches:
            with conn.transaction(), conn.cursor() as cursor:
                names = list(batch[0])
                places = ", ".join(f"%({name})s" for name in names)
                cursor.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", batch)
                marks = {
                    (series, row["measured_at"].replace(minute=0, second=0), row["probe_id"]) for row in batch
                }
                if rng.random() < 0.5:
                    cursor.execute("SELECT pg_sleep(%s)", (rng.random() / 100,))
                cursor.executemany("INSERT INTO sonde.dirty_marks VALUES (%s, %s, %s)", list(marks))


def _rolled_up(url: str, table: str, series: str, rows: list[Row], rng: random.Random) -> None:
    """Write `rows` from three connections while two rollups run, then finish."""
    rng.shuffle(rows)
    batches = [rows[i : i + 25] for i in range(0, len(rows), 25)]
    writers = [
        threading.Thread(target=_write, args=(url, table, series, batches[i::3], random.Random(i)))
        for i in range(3)
    ]
    done = threading.Event()

    def roll() -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            last = False
            while not last:
                last = done.is_set()  # marks of what was committed before are seen in this turn
                for step in (*rollup.SOON, *rollup.PATIENT):
                    while conn.execute(f"SELECT sonde.rollup_{step.name}()").fetchone() != (0,):
                        continue

    rollers = [threading.Thread(target=roll) for _ in range(2)]
    for thread in (*writers, *rollers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in rollers:
        thread.join()


def _percentile(values: Sequence[float], share: float) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _near(value: object) -> object:
    return None if value is None else pytest.approx(float(value), rel=1e-5, abs=0.006)  # type: ignore[arg-type]


def _groups(rows: Sequence[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def _hour(row: Row) -> dt.datetime:
    return row["measured_at"].replace(minute=0, second=0)


def _day(row: Row) -> dt.datetime:
    return row["measured_at"].replace(hour=0, minute=0, second=0)


def _known(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None]


@pytest.mark.parametrize("seed", range(6))
def test_performance_rollups_equal_brute_force(url: str, seed: int) -> None:
    """Hours, days and latest values equal what the raw rows say, whatever the order of writes and rollups."""
    rng = random.Random(seed)
    rows = _performance(rng, 400)
    _rolled_up(url, "performance_logs", "performance", rows, rng)
    with psycopg.connect(url) as conn:
        conn.adapters.register_loader("numeric", FloatLoader)
        assert conn.execute("SELECT count(*) FROM sonde.dirty_marks").fetchone() == (0,)
        for table, column, middle, bucket in (
            ("performance_logs_hourly", "hour", "p50_ping", _hour),
            ("sonde.performance_daily", "day", "median_ping", _day),
        ):
            found = {
                tuple(row[:3]): row[3:]
                for row in conn.execute(
                    f"SELECT server_id, probe_id, {column}, sample_count, avg_ping, {middle}, p95_ping, "
                    f"avg_download, connection_count, connection_ok, uptime_pct FROM {table}"
                )
            }
            groups = _groups(
                rows, lambda row, bucket=bucket: (row["server_id"], row["probe_id"], bucket(row))
            )
            assert found.keys() == groups.keys()
            for key, group in groups.items():
                pings, tried = _known(group, "ping_ms"), _known(group, "connection_success")
                expected = (
                    len(group),
                    _near(min(statistics.fmean(pings), 999_999.99) if pings else None),
                    _near(_percentile(pings, 0.5)),
                    _near(_percentile(pings, 0.95)),
                    _near(
                        statistics.fmean(_known(group, "download_mbps"))
                        if _known(group, "download_mbps")
                        else None
                    ),
                    len(tried),
                    sum(tried),
                    _near(100 * sum(tried) / len(tried) if tried else None),
                )
                assert found[key] == expected, key
        _check_latest(conn, rows)
        _check_server_days(conn)


# Against what the same days give now: a mark that was lost while others wrote would show.
_SERVER_DAYS = """
SELECT kept.server_id, kept.day FROM sonde.server_days kept
FULL JOIN sonde.server_day_figures('-infinity', 'infinity', NULL, NULL) made USING (server_id, day)
WHERE (kept.sample_count, kept.connection_count, kept.download_total, kept.ping_total)
      IS DISTINCT FROM (made.sample_count, made.connection_count, made.download_total, made.ping_total)
UNION ALL
SELECT kept.server_id, kept.today FROM sonde.server_week kept
FULL JOIN sonde.server_windows(7, NULL) made USING (server_id)
WHERE (kept.sample_count, kept.connection_ok, kept.median_ping)
      IS DISTINCT FROM (made.sample_count, made.connection_ok, made.median_ping)
"""


def _check_server_days(conn: psycopg.Connection) -> None:
    """Days and weeks of servers are those of their vantages' days."""
    assert conn.execute("SELECT count(*) > 0 FROM sonde.server_week").fetchone() == (True,)
    assert conn.execute(_SERVER_DAYS).fetchall() == []


def _check_latest(conn: psycopg.Connection, rows: Sequence[Row]) -> None:
    metrics = ("ping_ms", "download_mbps", "connection_success", "connection_time_ms")
    found = {
        tuple(row[:4]): row[4:]
        for row in conn.execute(
            f"SELECT server_id, probe_id, protocol_id, family, measured_at, {', '.join(metrics)}, failure "
            "FROM sonde.latest"
        )
    }
    groups = _groups(
        rows, lambda row: (row["server_id"], row["probe_id"], row["protocol_id"] or 0, row["family"] or 0)
    )
    assert found.keys() == groups.keys()
    best: dict[tuple[int, int], list[tuple[Any, ...]]] = defaultdict(list)
    for key, group in groups.items():
        ordered = sorted(group, key=lambda row: (row["measured_at"], row["seq"]), reverse=True)
        last = {name: next((row[name] for row in ordered if row[name] is not None), None) for name in metrics}
        newest = ordered[0]["measured_at"]
        assert found[key][0] == newest
        for value, name in zip(found[key][1:], metrics, strict=False):
            assert value == _near(last[name]), (key, name)
        assert found[key][-1] == ordered[0]["failure"]
        speed_at = next((row["measured_at"] for row in ordered if row["download_mbps"] is not None), None)
        best[key[:2]].append((newest, last["download_mbps"], speed_at, *key[2:]))
    limit = dt.datetime.now(dt.UTC) - dt.timedelta(days=8)
    for (server, probe), candidates in best.items():
        chosen = max(
            candidates,
            key=lambda one: (one[1] if one[2] and one[2] >= limit else -1.0, one[0], one[3], one[4]),
        )
        row = conn.execute(
            "SELECT protocol_id, family FROM sonde.server_latest WHERE server_id = %s AND probe_id = %s",
            (server, probe),
        ).fetchone()
        assert row == chosen[3:]
    shown = conn.execute(
        "SELECT count(*) FROM mv_server_latest_performance WHERE download_mbps IS NULL"
    ).fetchone()
    assert shown == (0,)


@pytest.mark.parametrize("seed", range(4))
def test_endpoint_rollups_equal_brute_force(url: str, seed: int) -> None:
    """Minutes, hours, days and months of endpoint checks equal what the raw rows say."""
    rng = random.Random(seed)
    rows = _endpoint(rng, 300)
    _rolled_up(url, "sonde.endpoint_checks", "endpoint", rows, rng)
    buckets: dict[str, Callable[[Row], dt.datetime]] = {
        "minute": lambda row: row["measured_at"].replace(second=0),
        "hour": _hour,
        "day": _day,
        "month": lambda row: _day(row).replace(day=1),
    }
    with psycopg.connect(url) as conn:
        for name, bucket in buckets.items():
            found = {
                tuple(row[:3]): row[3:]
                for row in conn.execute(
                    "SELECT target_id, probe_id, bucket, checks, ok, status_2xx, status_5xx, cache_hits, "
                    "cache_known, timeouts, origin_errors, p50_total_ms, p99_total_ms "
                    f"FROM sonde.endpoint_{name}"
                )
            }
            groups = _groups(
                rows, lambda row, bucket=bucket: (row["target_id"], row["probe_id"], bucket(row))
            )
            assert found.keys() == groups.keys()
            for key, group in groups.items():
                well = [row["total_ms"] for row in group if row["ok"]]
                assert found[key] == (
                    len(group),
                    len(well),
                    sum(200 <= (row["status"] or 0) <= 299 for row in group),
                    sum(500 <= (row["status"] or 0) <= 599 for row in group),
                    sum(row["cache_status"] in ("hit", "stale") for row in group),
                    sum(row["cache_status"] is not None for row in group),
                    sum(row["failure"] == "timeout" for row in group),
                    sum(row["failure"] == "refused" or (row["status"] or 0) >= 500 for row in group),
                    _near(_percentile(well, 0.5)),
                    _near(_percentile(well, 0.99)),
                ), key


def test_the_collectors_loop_rolls_up_by_itself(url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A turn honours what is dirty, then rests; what became dirty since waits for its next turn."""
    rows = _performance(random.Random(1), 50)
    _write(url, "performance_logs", "performance", [rows], random.Random(1))
    with open_database(url, tmp_path_factory.mktemp("state")) as database:
        complete: list[str] = []
        steps = (*rollup.SOON, *rollup.PATIENT)
        turns = rollup.Rollup(database, steps, complete.append)
        try:
            turns.turn()
            assert complete == [step.name for step in steps]
            assert 0 < turns.next_s() <= 2.0
        finally:
            turns.close()
    with psycopg.connect(url) as conn:
        total = conn.execute("SELECT sum(sample_count) FROM mv_server_daily_stats").fetchone()
        assert total == (len(rows),)
