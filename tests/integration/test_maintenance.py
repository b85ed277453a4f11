"""Maintenance windows: what lies in them leaves uptime, exactly, whenever they come and go."""

import datetime as dt
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import psycopg
import pytest

from sonde_collector.db import partitions
from sonde_collector.maintain import rollup

pytestmark = pytest.mark.postgres

NOW = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
DAYS = 20
SERVERS = {1: "acme-nl-1", 2: "acme-de-1", 3: "other_1"}
TARGETS = {1: "site", 2: "site-api"}
VANTAGES = {1: "ams1", 2: "lon1"}
INVENTORY = """
INSERT INTO countries (id, iso_code, name) VALUES (1, 'DE', 'Germany');
INSERT INTO cities (id, country_id, name) VALUES (1, 1, 'Berlin');
INSERT INTO probe_locations (id, code) VALUES (1, 'ams1'), (2, 'lon1');
INSERT INTO providers (id, name, slug) VALUES (1, 'P', 'p');
INSERT INTO servers (id, provider_id, city_id, hostname)
VALUES (1, 1, 1, 'h1'), (2, 1, 1, 'h2'), (3, 1, 1, 'h3');
INSERT INTO sonde.server_keys (key, server_id) VALUES ('acme-nl-1', 1), ('acme-de-1', 2), ('other_1', 3);
INSERT INTO sonde.targets (id, key, spec) VALUES (1, 'site', '{}'), (2, 'site-api', '{}');
"""
Row = dict[str, Any]
Window = dict[str, Any]


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with inventory, partitions and nothing to roll up."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(INVENTORY)
        for table in ("performance_logs", "sonde.endpoint_checks"):
            partitions.ensure(conn, table, NOW - dt.timedelta(days=DAYS + 1), NOW + dt.timedelta(days=1))
        conn.execute("DELETE FROM sonde.dirty_marks")
        yield conn


def _roll(conn: psycopg.Connection) -> None:
    for step in (*rollup.SOON, *rollup.PATIENT):
        while conn.execute(f"SELECT sonde.rollup_{step.name}()").fetchone() != (0,):
            continue


def _write(conn: psycopg.Connection, table: str, series: str, rows: Sequence[Row]) -> None:
    names = list(rows[0])
    places = ", ".join(f"%({name})s" for name in names)
    with conn.transaction(), conn.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)
        marks = {(series, row["measured_at"].replace(minute=0, second=0), row["probe_id"]) for row in rows}
        cursor.executemany("INSERT INTO sonde.dirty_marks VALUES (%s, %s, %s)", list(marks))


def _moment(rng: random.Random) -> dt.datetime:
    return NOW - dt.timedelta(seconds=rng.choice((60, 3600)) * rng.randint(0, DAYS * 20))


def _performance(rng: random.Random, count: int) -> list[Row]:
    return [
        {
            "server_id": rng.randint(1, 3),
            "probe_id": rng.randint(1, 2),
            "measured_at": _moment(rng),
            "stream_id": 1,
            "seq": seq,
            "ping_ms": rng.random() * 100,
            "connection_success": rng.choice((True, True, False, None)),
        }
        for seq in range(count)
    ]


def _endpoint(rng: random.Random, count: int) -> list[Row]:
    return [
        {
            "target_id": rng.randint(1, 2),
            "probe_id": rng.randint(1, 2),
            "measured_at": _moment(rng),
            "stream_id": 1,
            "seq": seq,
            "kind": "http",
            "ok": rng.random() < 0.7,
            "status": rng.choice((None, 200, 503)),
            "total_ms": rng.random() * 300,
            "failure": rng.choice((None, "timeout", "refused")),
        }
        for seq in range(count)
    ]


def _window(rng: random.Random) -> Window:
    begins = NOW - dt.timedelta(minutes=rng.randint(-600, DAYS * 1440))
    return {
        "servers": rng.choice((None, ["acme-*"], ["*"], ["other_?"], ["other%1"], ["acme-nl-1", "other_1"])),
        "targets": rng.choice((None, ["site"], ["site*"])),
        "vantages": rng.choice((None, None, ["ams1"], ["*1"])),
        "from_at": begins,
        "until_at": begins + dt.timedelta(minutes=rng.choice((1, 45, 300, 2000))),
        "weekly": rng.random() < 0.4,
        "ended_at": rng.choice((None, None, begins + dt.timedelta(minutes=rng.randint(-10, 12_000)))),
        "reason": "r",
    }


def _planned(windows: Sequence[Window], row: Row, what: str, key: str) -> bool:
    """Whether any window holds the row, said plainly."""
    for window in windows:
        chosen = window[what]
        if chosen is None and (window["servers"] or window["targets"]):
            continue
        if chosen is not None and not any(fnmatchcase(key, glob) for glob in chosen):
            continue
        code = VANTAGES[row["probe_id"]]
        if window["vantages"] and not any(fnmatchcase(code, glob) for glob in window["vantages"]):
            continue
        at, begins, ends = row["measured_at"], window["from_at"], window["until_at"]
        if window["ended_at"] is not None and at >= window["ended_at"]:
            continue
        for turn in range(60 if window["weekly"] else 1):
            late = dt.timedelta(days=7 * turn)
            if begins + late <= at < ends + late:
                return True
    return False


def _check_performance(conn: psycopg.Connection, rows: Sequence[Row], windows: Sequence[Window]) -> None:
    for table, column, whole in (
        ("performance_logs_hourly", "hour", {"minute": 0, "second": 0}),
        ("sonde.performance_daily", "day", {"hour": 0, "minute": 0, "second": 0}),
    ):
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in rows:
            groups[row["server_id"], row["probe_id"], row["measured_at"].replace(**whole)].append(row)
        found = {
            tuple(row[:3]): row[3:]
            for row in conn.execute(
                f"SELECT server_id, probe_id, {column}, sample_count, ping_count, connection_count, "
                f"connection_ok, uptime_pct::float8 FROM {table}"
            )
        }
        assert found.keys() == groups.keys()
        for key, group in groups.items():
            tried = [
                row["connection_success"]
                for row in group
                if row["connection_success"] is not None
                and not _planned(windows, row, "servers", SERVERS[row["server_id"]])
            ]
            uptime = pytest.approx(100 * sum(tried) / len(tried), abs=0.006) if tried else None
            assert found[key] == (len(group), len(group), len(tried), sum(tried), uptime), key


def _check_endpoint(conn: psycopg.Connection, rows: Sequence[Row], windows: Sequence[Window]) -> None:
    widths: dict[str, dict[str, int]] = {
        "minute": {"second": 0},
        "hour": {"minute": 0, "second": 0},
        "day": {"hour": 0, "minute": 0, "second": 0},
        "month": {"day": 1, "hour": 0, "minute": 0, "second": 0},
    }
    for width, whole in widths.items():
        groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in rows:
            groups[row["target_id"], row["probe_id"], row["measured_at"].replace(**whole)].append(row)
        found = {
            tuple(row[:3]): row[3:]
            for row in conn.execute(
                "SELECT target_id, probe_id, bucket, checks, ok, status_2xx, status_5xx, timeouts, "
                f"origin_errors, p95_total_ms IS NULL FROM sonde.endpoint_{width}"
            )
        }
        assert found.keys() == groups.keys()
        for key, group in groups.items():
            left = [row for row in group if not _planned(windows, row, "targets", TARGETS[row["target_id"]])]
            assert found[key] == (
                len(left),
                sum(row["ok"] for row in left),
                sum(row["status"] == 200 for row in left),
                sum(row["status"] == 503 for row in left),
                sum(row["failure"] == "timeout" for row in left),
                sum(row["failure"] == "refused" or row["status"] == 503 for row in left),
                not any(row["ok"] for row in group),
            ), (width, key)


@pytest.mark.parametrize("seed", range(4))
def test_uptime_without_windows_equals_brute_force(conn: psycopg.Connection, seed: int) -> None:
    """Windows that come before and after the rows, change, end and go: all rollups are as counted."""
    rng = random.Random(seed)
    performance, endpoint = _performance(rng, 300), _endpoint(rng, 300)
    windows: dict[int, Window] = {}

    def add() -> None:
        window = _window(rng)
        names = list(window)
        row = conn.execute(
            f"INSERT INTO sonde.maintenance_windows ({', '.join(names)}) "
            f"SELECT {', '.join(f'%({name})s' for name in names)} "
            "WHERE num_nonnulls(%(servers)s::text[], %(targets)s::text[], %(vantages)s::text[]) > 0 "
            "RETURNING id",
            window,
        ).fetchone()
        if row is not None:
            windows[row[0]] = window

    for _ in range(3):
        add()
    for part in range(2):
        _write(conn, "performance_logs", "performance", performance[part::2])
        _write(conn, "sonde.endpoint_checks", "endpoint", endpoint[part::2])
        _roll(conn)
        for _ in range(2):
            add()
    _roll(conn)
    _check_performance(conn, performance, list(windows.values()))
    _check_endpoint(conn, endpoint, list(windows.values()))
    for number in list(windows)[::2]:
        if rng.random() < 0.5:
            conn.execute("DELETE FROM sonde.maintenance_windows WHERE id = %s", (number,))
            del windows[number]
        else:
            moved = windows[number]["from_at"] - dt.timedelta(minutes=30)
            conn.execute(
                "UPDATE sonde.maintenance_windows SET from_at = %s, weekly = false WHERE id = %s",
                (moved, number),
            )
            windows[number] |= {"from_at": moved, "weekly": False}
    _roll(conn)
    _check_performance(conn, performance, list(windows.values()))
    _check_endpoint(conn, endpoint, list(windows.values()))


def test_a_window_marks_its_own_hours_only(conn: psycopg.Connection) -> None:
    """What is marked is the hours of the window that have passed, of the vantages that it names."""
    conn.execute(
        "INSERT INTO sonde.maintenance_windows (servers, vantages, from_at, until_at, reason)"
        " VALUES ('{*}', '{ams1}', %s, %s, 'r')",
        (NOW - dt.timedelta(hours=5), NOW - dt.timedelta(hours=3, minutes=30)),
    )
    marks = conn.execute("SELECT series, hour, probe_id FROM sonde.dirty_marks ORDER BY 1, 2").fetchall()
    hours = [NOW - dt.timedelta(hours=5), NOW - dt.timedelta(hours=4)]
    assert marks == [(series, hour, 1) for series in ("endpoint", "performance") for hour in hours]
    conn.execute("DELETE FROM sonde.dirty_marks")
    conn.execute(
        "INSERT INTO sonde.maintenance_windows (servers, from_at, until_at, reason)"
        " VALUES ('{*}', %s, %s, 'r')",
        (NOW + dt.timedelta(days=2), NOW + dt.timedelta(days=3)),
    )
    assert conn.execute("SELECT count(*) FROM sonde.dirty_marks").fetchone() == (0,)
