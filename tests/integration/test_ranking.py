"""The ranking against brute force over raw rows: as days pass, vantages weigh, and rows come late."""

import datetime as dt
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest
from support.builders import inventory
from support.measured import day_begins, measure, roll

from sonde_collector.db import partitions
from sonde_collector.read import answers

pytestmark = pytest.mark.postgres
TODAY = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
Row = dict[str, Any]


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with five servers and three vantages."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=["a", "b", "c"], servers=[f"s{n}" for n in range(1, 6)])
        yield conn


def some_rows(rng: random.Random, count: int, days: float) -> list[Row]:
    """Results of the last days; vantage a (1) measures as often as the others together and sees less."""
    return [
        {
            "server_id": rng.randint(1, 5),
            "probe_id": (probe := rng.choice((1, 1, 2, 3))),
            "measured_at": TODAY - dt.timedelta(days=days) * rng.random(),
            "stream_id": 1,
            "seq": seq,
            "ping_ms": rng.choice((None, 10.0 * probe + rng.randint(0, 9))),
            "download_mbps": rng.choice((None, None, rng.randint(1, 90_000) / 100)),
            "upload_mbps": rng.choice((None, rng.randint(1, 9000) / 100)),
            "connection_success": rng.choice((None, True, True, True, False)),
        }
        for seq in range(count)
    ]


def figures(
    rows: Sequence[Row], today: dt.datetime, days: int, weights: Mapping[int, float]
) -> dict[int, Row]:
    """What the ranking says of each server, from raw rows alone."""
    found: dict[int, Row] = {}
    for server in {row["server_id"] for row in rows}:
        by_day: dict[dt.datetime, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            day = row["measured_at"].replace(hour=0, minute=0, second=0, microsecond=0)
            if row["server_id"] == server and day >= today - dt.timedelta(days=days):
                by_day[day][row["probe_id"]].append(row)
        if by_day:
            found[server] = _window([_day(cells, weights) for cells in by_day.values()])
    return found


def _known(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None]


def _weighted(pairs: Sequence[tuple[float, float]]) -> float | None:
    total = sum(weight for weight, _ in pairs)
    return sum(weight * value for weight, value in pairs) / total if pairs else None


def _day(cells: Mapping[int, list[Row]], weights: Mapping[int, float]) -> Row:
    day: Row = {"samples": sum(map(len, cells.values()))}
    for name in ("download_mbps", "upload_mbps", "ping_ms"):
        seen = {probe: _known(rows, name) for probe, rows in cells.items() if _known(rows, name)}
        middle = statistics.median if name == "ping_ms" else statistics.fmean
        day[name] = _weighted([(weights[probe], statistics.fmean(each)) for probe, each in seen.items()])
        day[name, "median"] = statistics.median([middle(each) for each in seen.values()]) if seen else None
        day[name, "count"] = sum(map(len, seen.values()))
    tried = {probe: each for probe, rows in cells.items() if (each := _known(rows, "connection_success"))}
    day["count"], day["ok"] = sum(map(len, tried.values())), sum(map(sum, tried.values()))
    day["uptime"] = _weighted([(weights[probe], statistics.fmean(each)) for probe, each in tried.items()])
    spread = sum(weights[probe] ** 2 / len(each) for probe, each in tried.items())
    day["worth"] = sum(weights[probe] for probe in tried) ** 2 / spread if tried else None
    return day


def _window(days: Sequence[Row]) -> Row:
    window: Row = {"sample_count": sum(day["samples"] for day in days)}
    for name, short in (("download_mbps", "download"), ("upload_mbps", "upload"), ("ping_ms", "ping")):
        known = [day for day in days if day[name] is not None]
        window[f"avg_{name}"] = _weighted([(day[name, "count"], day[name]) for day in known])
        window[f"median_{name}"] = (
            statistics.median([day[name, "median"] for day in known]) if known else None
        )
        window[f"{short}_count"] = sum(day[name, "count"] for day in days)
    tried = [day for day in days if day["count"]]
    window["connection_count"] = sum(day["count"] for day in days)
    window["connection_ok"] = sum(day["ok"] for day in days)
    share = _weighted([(day["count"], day["uptime"]) for day in tried])
    window["uptime_pct"] = window["uptime_low_pct"] = window["uptime_high_pct"] = None
    if share is not None:
        worth = window["connection_count"] ** 2 / sum(day["count"] ** 2 / day["worth"] for day in tried)
        z = 1.96
        middle = (share + z * z / 2 / worth) / (1 + z * z / worth)
        half = z * math.sqrt(share * (1 - share) / worth + z * z / 4 / worth**2) / (1 + z * z / worth)
        window["uptime_pct"] = 100 * share
        window["uptime_low_pct"] = 100 * max(middle - half, 0)
        window["uptime_high_pct"] = 100 * min(middle + half, 1)
    return window


def same(found: Sequence[Row], expected: Mapping[int, Row]) -> None:
    """Every figure is as expected, and the order is that of the figures."""
    assert {row["server_id"] for row in found} == expected.keys()
    for row in found:
        for name, value in expected[row["server_id"]].items():
            if value is None:
                assert row[name] is None, (row["server"], name)
            else:
                assert row[name] == pytest.approx(value, rel=1e-5, abs=0.011), (row["server"], name)

    def place(row: Row) -> tuple[float, float, float]:
        known = (row["uptime_low_pct"], row["avg_download_mbps"], row["avg_ping_ms"])
        uptime, speed, ping = (-math.inf if value is None else value for value in known)
        return (math.floor(uptime) if uptime >= 0 else uptime, speed, -ping if ping >= 0 else ping)

    assert [place(row) for row in found] == sorted(map(place, found), reverse=True)


@pytest.mark.parametrize("seed", range(4))
def test_the_ranking_equals_brute_force_as_days_pass(conn: psycopg.Connection, seed: int) -> None:
    """Figures are those of the raw rows on every day, late rows included; a day may begin with none."""
    rng = random.Random(seed)
    rows = some_rows(rng, 300, 12)
    weights = {1: 1.0, 2: 1.0, 3: 1.0}
    measure(conn, rows[:200])
    roll(conn)
    same(answers.ranking(conn), figures(rows[:200], TODAY, 7, weights))
    measure(conn, rows[200:])
    roll(conn)
    for passed in (0, 1, 3, 9):
        day_begins(conn, TODAY + dt.timedelta(days=passed))
        expected = figures(rows, TODAY + dt.timedelta(days=passed), 7, weights)
        same(answers.ranking(conn), expected)  # nobody has rolled up yet
        roll(conn)
        kept = conn.execute(
            "SELECT count(*), count(*) FILTER (WHERE today = sonde.today()) FROM sonde.server_week"
        )
        assert kept.fetchone() == (len(expected), len(expected))
        same(answers.ranking(conn), expected)
    day_begins(conn, TODAY)
    for days in (1, 3, 30):
        same(answers.ranking(conn, days=days), figures(rows, TODAY, days, weights))
    some = [row for row in rows if row["probe_id"] in (1, 3)]
    same(answers.ranking(conn, vantages=["a", "c"]), figures(some, TODAY, 7, weights))


def test_vantages_count_by_weight(conn: psycopg.Connection) -> None:
    """A weight that changes changes every day's means; how often a vantage measures changes none."""
    rows = some_rows(random.Random(9), 200, 12)
    measure(conn, rows)
    roll(conn)
    conn.execute("INSERT INTO sonde.vantages (probe_id) VALUES (1), (2)")
    assert conn.execute("SELECT count(*) FROM sonde.dirty_marks").fetchone() == (0,)
    conn.execute("INSERT INTO sonde.vantages (probe_id, weight) VALUES (3, 4)")
    conn.execute("UPDATE sonde.vantages SET weight = 0.5 WHERE probe_id = 1")
    roll(conn)
    weights = {1: 0.5, 2: 1.0, 3: 4.0}
    same(answers.ranking(conn), figures(rows, TODAY, 7, weights))
    same(answers.ranking(conn, days=30), figures(rows, TODAY, 30, weights))
    assert answers.vantage_weights(conn) == {"a": 0.5, "b": 1.0, "c": 4.0}


def test_a_chatty_vantage_does_not_dominate(conn: psycopg.Connection) -> None:
    """Of two vantages one measures a hundred times as often: the mean lies half way between them."""
    at = TODAY - dt.timedelta(days=1)
    rows: list[Row] = [
        {"server_id": 1, "probe_id": probe, "measured_at": at + dt.timedelta(minutes=seq), "stream_id": 1,
         "seq": seq, "download_mbps": speed, "connection_success": probe == 1}
        for probe, speed, seqs in ((1, 100.0, range(100)), (2, 300.0, range(100, 101)))
        for seq in seqs
    ]  # fmt: skip
    measure(conn, rows)
    roll(conn)
    (row,) = answers.ranking(conn)
    assert (row["avg_download_mbps"], row["uptime_pct"]) == (200, 50)
    assert row["uptime_samples"] == pytest.approx(4 / (1 / 100 + 1))


def test_few_samples_do_not_beat_many(conn: psycopg.Connection) -> None:
    """999 of 1000 stands above 2 of 2, and a server that nobody connected to stands last, however fast."""
    at = TODAY - dt.timedelta(hours=20)

    def runs(server: int, count: int, failed: int, first: int, speed: float) -> list[Row]:
        return [
            {"server_id": server, "probe_id": 1, "measured_at": at + dt.timedelta(minutes=n), "stream_id": 1,
             "seq": first + n, "download_mbps": speed, "connection_success": n >= failed}
            for n in range(count)
        ]  # fmt: skip

    measure(conn, [*runs(1, 2, 0, 0, 900.0), *runs(2, 1000, 1, 10, 50.0), *runs(3, 1000, 0, 2000, 40.0)])
    unknown = [{**row, "connection_success": None} for row in runs(4, 5, 0, 5000, 999.0)]
    measure(conn, unknown)
    roll(conn)
    # 999 and 1000 of 1000 promise the same whole percents: there the speed decides.
    assert [row["server"] for row in answers.ranking(conn)] == ["s2", "s3", "s1", "s4"]


def test_pages_and_filters(conn: psycopg.Connection) -> None:
    """Pages joined are the whole, filters leave what they name, and what is not in the inventory is told."""
    measure(conn, some_rows(random.Random(3), 200, 7))
    conn.execute("INSERT INTO server_protocols (server_id, protocol_id) VALUES (1, 1), (2, 1), (2, 2)")
    conn.execute("UPDATE servers SET is_active = false WHERE id = 5")
    roll(conn)
    whole = answers.ranking(conn)
    assert {row["server"] for row in whole} == {"s1", "s2", "s3", "s4"}
    for days in (7, 8):
        paged: list[Row] = []
        while page := answers.ranking(conn, days=days, limit=1, after=paged[-1]["cursor"] if paged else None):
            paged += page
        assert [row["server"] for row in paged] == [row["server"] for row in answers.ranking(conn, days=days)]
    speaking = {row["server"]: row["protocols"] for row in answers.ranking(conn, protocol="wireguard")}
    assert speaking == {"s1": ["WireGuard"], "s2": ["OpenVPN-UDP", "WireGuard"]}
    same_place = answers.ranking(conn, country="nl", provider="example")
    assert [row["cursor"] for row in same_place] == [row["cursor"] for row in whole]
    for named in ({"country": "XX"}, {"provider": "nobody"}, {"protocol": "x"}, {"vantages": ["z"]}):
        with pytest.raises(answers.UnknownName, match="there is no"):
            answers.ranking(conn, **named)  # type: ignore[arg-type]
    for bad in ({"days": 0}, {"limit": 0}, {"limit": 10**6}, {"after": "x"}, {"after": "W10"}):
        with pytest.raises(answers.BadArgument):
            answers.ranking(conn, **bad)  # type: ignore[arg-type]


def test_platforms_and_age(conn: psycopg.Connection) -> None:
    """A platform counts by its newest check, whoever made it; the age is that of the newest result."""
    now = dt.datetime.now(dt.UTC)
    measure(
        conn,
        [
            {
                "server_id": 1,
                "probe_id": 1,
                "measured_at": now - dt.timedelta(hours=2),
                "stream_id": 1,
                "seq": 1,
                "connection_success": None,
            }
        ],
    )
    roll(conn)
    conn.execute(
        "INSERT INTO streaming_platforms (slug, name) VALUES ('tv1', '1'), ('tv2', '2'), ('tv3', '3')"
    )
    partitions.ensure(conn, "streaming_checks", now - dt.timedelta(days=20), now)
    conn.execute(
        "INSERT INTO streaming_checks (server_id, platform_id, checked_at, is_unlocked) "
        "SELECT 1, p, now() - h * interval '1 hour', u FROM "
        "(VALUES (1, 3, true), (1, 2, false), (2, 3, false), (2, 2, true), (3, 400, true)) AS t(p, h, u)"
    )
    (row,) = answers.ranking(conn)
    assert row["platforms"] == ["tv2"]
    assert 7200 <= row["age_s"] < 9000
    assert (row["avg_download_mbps"], row["uptime_pct"], row["uptime_low_pct"]) == (None, None, None)
