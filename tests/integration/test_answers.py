"""Trends and the rest of what is asked about one server or target, against what was measured."""

import datetime as dt
import random
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from support.builders import inventory
from support.measured import measure, roll

from sonde_collector.read import answers
from sonde_collector.read.ranges import Archived, Kept, RangeError

pytestmark = pytest.mark.postgres
HOUR = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
Row = dict[str, Any]


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with two servers, three vantages and a target."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=["a", "b", "c"], servers=["s1", "s2"])
        yield conn


def runs(rng: random.Random, count: int, hours: float) -> list[Row]:
    """Results of the last hours."""
    return [
        {
            "server_id": rng.choice((1, 1, 2)),
            "probe_id": rng.randint(1, 3),
            "measured_at": HOUR - dt.timedelta(hours=hours) * rng.random(),
            "stream_id": 1,
            "seq": seq,
            "ping_ms": rng.choice((None, float(rng.randint(5, 90)))),
            "download_mbps": rng.choice((None, float(rng.randint(1, 900)))),
            "connection_success": rng.choice((None, True, True, False)),
        }
        for seq in range(count)
    ]


def known(rows: Sequence[Row], name: str) -> list[float]:
    """What was measured of one metric."""
    return [row[name] for row in rows if row[name] is not None]


@pytest.mark.parametrize(
    ("step", "hours", "tier"),
    [("minute", 2, "raw"), ("hour", 60, "hourly"), ("day", 600, "daily"), ("month", 600, "daily")],
)
@pytest.mark.parametrize("vantage", [None, "b"])
def test_trends_equal_brute_force(
    conn: psycopg.Connection, step: str, hours: int, tier: str, vantage: str | None
) -> None:
    """Every tier gives what the raw rows of its buckets say, over all vantages and of one."""
    rows = runs(random.Random(hours), 300, hours)
    measure(conn, rows)
    roll(conn)
    lo = HOUR - dt.timedelta(hours=hours)
    found = answers.trend(conn, server="s1", lo=lo, hi=HOUR, step=step, vantage=vantage)
    assert (found.tier, found.step) == (tier, step)
    cut = {"minute": 16, "hour": 13, "day": 10, "month": 7}[step]
    buckets: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["server_id"] == 1 and vantage in (None, "abc"[row["probe_id"] - 1]):
            buckets[row["measured_at"].isoformat()[:cut]][row["probe_id"]].append(row)
    assert [bucket["at"].isoformat()[:cut] for bucket in found.buckets] == sorted(buckets)
    for bucket in found.buckets:
        cells = buckets[bucket["at"].isoformat()[:cut]]
        every = [row for cell in cells.values() for row in cell]
        assert bucket["sample_count"] == len(every)
        tried = known(every, "connection_success")
        assert (bucket["connection_count"], bucket["connection_ok"]) == (len(tried), sum(tried))
        if step == "month":
            continue
        for name, column in (("download_mbps", "avg_download_mbps"), ("ping_ms", "avg_ping_ms")):
            means = [statistics.fmean(known(cell, name)) for cell in cells.values() if known(cell, name)]
            assert bucket[column] == (pytest.approx(statistics.fmean(means), abs=0.01) if means else None)
        medians = [
            statistics.median(known(cell, "ping_ms")) for cell in cells.values() if known(cell, "ping_ms")
        ]
        assert bucket["p50_ping_ms"] == (pytest.approx(statistics.median(medians)) if medians else None)


def test_a_trend_of_what_is_gone_or_unknown(conn: psycopg.Connection) -> None:
    """Steps that retention has taken are refused, unknown names too; without results there are no buckets."""
    lo, kept = HOUR - dt.timedelta(days=20), Kept(raw=dt.timedelta(days=10), hourly=dt.timedelta(days=15))
    for step in ("minute", "hour"):
        with pytest.raises(Archived):
            answers.trend(conn, server="s1", lo=lo, hi=lo + dt.timedelta(hours=1), step=step, kept=kept)
    with pytest.raises(Archived):
        answers.time_weighted(conn, server="s1", metric="ping_ms", lo=lo, hi=HOUR, kept=kept)
    with pytest.raises(Archived):
        answers.direct_against_tunnel(conn, server="s1", days=20, kept=kept)
    with pytest.raises(answers.UnknownName, match='there is no server "nobody"'):
        answers.trend(conn, server="nobody", lo=lo, hi=HOUR)
    with pytest.raises(answers.UnknownName, match="there is no vantage"):
        answers.trend(conn, server="s1", lo=lo, hi=HOUR, vantage="z\0")
    with pytest.raises(RangeError):
        answers.trend(conn, server="s1", lo=HOUR, hi=lo)
    assert answers.trend(conn, server="s1", lo=lo, hi=HOUR).buckets == []


@pytest.mark.parametrize("seed", range(3))
def test_time_weighted_means_equal_brute_force(conn: psycopg.Connection, seed: int) -> None:
    """Each value holds until the vantage's next; the window starts with the one before, unless too old."""
    rng = random.Random(seed)
    rows = runs(rng, 60, 40)
    measure(conn, rows)
    lo, hi = HOUR - dt.timedelta(hours=rng.uniform(5, 15)), HOUR - dt.timedelta(hours=rng.uniform(0, 4))
    carry = dt.timedelta(hours=rng.uniform(1, 10))
    found = answers.time_weighted(conn, server="s1", metric="download_mbps", lo=lo, hi=hi, carry=carry)
    expected = {}
    for probe in (1, 2, 3):
        points = sorted(
            (row["measured_at"], row["download_mbps"])
            for row in rows
            if (row["server_id"], row["probe_id"]) == (1, probe)
            and row["download_mbps"] is not None
            and lo - carry <= row["measured_at"] < hi
        )
        before = [value for at, value in points if at < lo]
        steps = [(lo, before[-1])] if before else []
        steps += [(at, value) for at, value in points if at >= lo]
        held = [
            (value, (until - at).total_seconds()) for (at, value), (until, _) in pairwise([*steps, (hi, 0.0)])
        ]
        if held:
            seconds = sum(length for _, length in held)
            expected["abc"[probe - 1]] = (sum(value * length for value, length in held) / seconds, seconds)
    assert {row["vantage"]: (row["value"], row["covered_s"]) for row in found["vantages"]} == {
        vantage: pytest.approx(pair) for vantage, pair in expected.items()
    }
    assert found["value"] == pytest.approx(statistics.fmean(value for value, _ in expected.values()))


def test_a_value_of_before_the_window_counts_in_it(conn: psycopg.Connection) -> None:
    """A window without any value of its own has the one that held when it began; nothing holds beyond now."""
    rows: list[Row] = [
        {"server_id": 1, "probe_id": 1, "measured_at": HOUR - dt.timedelta(hours=hours), "stream_id": 1,
         "seq": hours, "ping_ms": ping}
        for hours, ping in ((3, 10.0), (1, 40.0))
    ]  # fmt: skip
    measure(conn, rows)

    def mean(lo: float, hi: float) -> Row:
        return answers.time_weighted(
            conn,
            server="s1",
            metric="ping_ms",
            lo=HOUR - dt.timedelta(hours=lo),
            hi=HOUR - dt.timedelta(hours=hi),
        )

    assert mean(2.5, 1.5)["value"] == 10
    assert mean(2, 0.5)["value"] == pytest.approx((10 * 1 + 40 * 0.5) / 1.5)
    assert mean(30, 29) == {"metric": "ping_ms", "value": None, "vantages": []}
    (ahead,) = mean(0.5, -50)["vantages"]
    assert ahead["covered_s"] < 2 * 3600 + 60
    assert mean(-48, -49)["value"] is None


def test_what_a_tunnel_costs(conn: psycopg.Connection) -> None:
    """Costs are taken run by run, by vantage and protocol; runs without a baseline say nothing."""
    rows: list[Row] = [
        {"server_id": 1, "probe_id": 1, "measured_at": HOUR - dt.timedelta(hours=n), "stream_id": 1, "seq": n,
         "protocol_id": 1, "ping_ms": ping, "direct_ping_ms": direct, "download_mbps": speed,
         "direct_download_mbps": plain}
        for n, (ping, direct, speed, plain) in enumerate(
            [(30.0, 20.0, 80.0, 100.0), (35.0, 20.0, 45.0, 90.0), (99.0, None, 9.0, None),
             (None, 20.0, None, 50.0)], 1
        )
    ]  # fmt: skip
    measure(conn, rows)
    (found,) = answers.direct_against_tunnel(conn, server="s1", vantage="a")
    assert (found["vantage"], found["protocol"], found["runs"]) == ("a", "WireGuard", 3)
    assert (found["ping_cost_ms"], found["ping_runs"], found["direct_ping_ms"]) == (12.5, 2, 20)
    assert (found["download_share"], found["download_runs"]) == (pytest.approx(0.65), 2)
    assert found["upload_share"] is None
    assert answers.direct_against_tunnel(conn, server="s1", vantage="b") == []


def test_vantages_that_disagree_and_days_that_vary(conn: psycopg.Connection) -> None:
    """A vantage that sees half the speed and thrice the ping stands out; what is alike does not vary."""
    rows: list[Row] = [
        {"server_id": 1, "probe_id": probe, "measured_at": HOUR - dt.timedelta(days=day, hours=2),
         "stream_id": 1, "seq": 10 * day + probe, "ping_ms": ping, "download_mbps": speed,
         "connection_success": probe != 3}
        for day in range(4)
        for probe, ping, speed in ((1, 10.0, 100.0), (2, 10.0, 100.0), (3, 30.0, 50.0))
    ]  # fmt: skip
    measure(conn, rows)
    roll(conn)
    found = answers.disagreement(conn, server="s1")
    seen = {row["vantage"]: row for row in found["vantages"]}
    assert [seen[code]["download_mbps_vs_median"] for code in "abc"] == [1, 1, 0.5]
    assert [seen[code]["ping_ms_vs_median"] for code in "abc"] == [0, 0, 20]
    assert [seen[code]["uptime_pct_vs_median"] for code in "abc"] == [0, 0, -100]
    assert found["spread"]["ping_ms"]["highest"] == 30
    for step in ("day", "hour"):
        figures = answers.volatility(conn, server="s1", step=step)["download_mbps"]
        assert (figures["n"], figures["mean"], figures["cv"]) == (4, 100, 0)
    (hour,) = answers.profile_24h(conn, "s1")
    assert hour["hour"] == (HOUR - dt.timedelta(hours=2)).hour
    assert (hour["sample_count"], hour["p50_ping_ms"]) == (12, 10)
    assert hour["avg_download_mbps"] == pytest.approx(250 / 3)


def test_the_matrix_has_each_metrics_own_age(conn: psycopg.Connection) -> None:
    """Each cell is the last known value with the time of that value; servers come in pages."""
    rows: list[Row] = [
        {"server_id": server, "probe_id": 1, "measured_at": HOUR - dt.timedelta(hours=hours), "stream_id": 1,
         "seq": 10 * server + hours, "ping_ms": ping, "jitter_ms": jitter}
        for server in (1, 2)
        for hours, ping, jitter in ((5, 50.0, 5.0), (2, 20.0, None))
    ]  # fmt: skip
    measure(conn, rows)
    roll(conn)
    for metric, value, hours in (("ping_ms", 20, 2), ("jitter_ms", 5, 5)):
        cells = answers.matrix(conn, metric=metric)
        assert [(cell["server"], cell["vantage"], cell["value"]) for cell in cells] == [
            ("s1", "a", value),
            ("s2", "a", value),
        ]
        assert {cell["at"] for cell in cells} == {HOUR - dt.timedelta(hours=hours)}
    assert answers.matrix(conn, metric="download_mbps") == []
    assert [cell["server"] for cell in answers.matrix(conn, metric="ping_ms", limit=1)] == ["s1"]
    assert [cell["server"] for cell in answers.matrix(conn, metric="ping_ms", after="s1")] == ["s2"]
    with pytest.raises(answers.BadArgument, match="metric must be one of"):
        answers.matrix(conn, metric="pings")


@pytest.mark.parametrize("step", ["minute", "hour", "day", "month"])
def test_endpoint_trends_add_up(conn: psycopg.Connection, step: str) -> None:
    """Counts of a target's buckets add up to its checks in every tier, over all vantages and of one."""
    rng = random.Random(4)
    rows: list[Row] = [
        {"target_id": 1, "probe_id": rng.randint(1, 3), "measured_at": HOUR - dt.timedelta(minutes=seq),
         "stream_id": 1, "seq": seq, "kind": "http", "ok": rng.random() < 0.8,
         "status": rng.choice((200, 404, 503)), "total_ms": float(rng.randint(10, 90)),
         "cache_status": rng.choice((None, "hit", "miss")),
         "failure": rng.choice((None, "timeout", "tls"))}
        for seq in range(1, 200)
    ]  # fmt: skip
    measure(conn, rows, "sonde.endpoint_checks")
    roll(conn)
    lo = HOUR - dt.timedelta(hours=4)
    found = answers.endpoint_trend(conn, target="t1", lo=lo, hi=HOUR, step=step)
    assert (found.tier, found.step) == (step, step)
    for name, counted in (
        ("checks", len(rows)),
        ("ok", sum(row["ok"] for row in rows)),
        ("status_5xx", sum(row["status"] == 503 for row in rows)),
        ("cache_hits", sum(row["cache_status"] == "hit" for row in rows)),
        ("cache_known", sum(row["cache_status"] is not None for row in rows)),
        ("timeouts", sum(row["failure"] == "timeout" for row in rows)),
        ("tls_errors", sum(row["failure"] == "tls" for row in rows)),
    ):
        assert sum(bucket[name] for bucket in found.buckets) == counted, name
    assert all(
        bucket["p50_total_ms"] is None or 10 <= bucket["p50_total_ms"] <= 90 for bucket in found.buckets
    )
    mine = answers.endpoint_trend(conn, target="t1", lo=lo, hi=HOUR, step=step, vantage="b")
    assert sum(bucket["checks"] for bucket in mine.buckets) == sum(row["probe_id"] == 2 for row in rows)
