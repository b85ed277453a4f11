"""What the database answers about servers and targets: ranking, trends, what vantages and tunnels differ by.

Reads only, over a connection of the caller's. Rows are plain dicts; NULL is None and means not measured.
Means over vantages go by their weights (`[[vantage]] weight`), so one that measures often does not dominate.
"""

import base64
import binascii
import datetime as dt
import json
from collections.abc import Sequence

import psycopg

from sonde_collector.read import ranges
from sonde_collector.read.lookup import (
    METRICS,
    BadArgument,
    Row,
    UnknownName,
    find,
    one_metric,
    probes,
    rows,
    within,
)
from sonde_collector.read.ranges import KEPT, Kept
from sonde_collector.read.spread import Figures, deviations, spread
from sonde_collector.read.trends import Trend, endpoint_trend, trend

__all__ = [
    "METRICS",
    "BadArgument",
    "Trend",
    "UnknownName",
    "days_before",
    "direct_against_tunnel",
    "disagreement",
    "endpoint_trend",
    "matrix",
    "profile_24h",
    "ranking",
    "time_weighted",
    "trend",
    "vantage_weights",
    "volatility",
]
MOST_DAYS = 3660
MOST_ROWS = 1000
_CARRY = dt.timedelta(days=1)


def ranking(
    conn: psycopg.Connection,
    *,
    country: str | None = None,
    provider: str | None = None,
    protocol: str | None = None,
    vantages: Sequence[str] | None = None,
    days: int = 7,
    limit: int = 20,
    after: str | None = None,
) -> list[Row]:
    """Give active servers, the best first, by the last `days` whole days (UTC) and the begun one.

    They go by whole percents of the lower end of uptime's Wilson interval, then mean download, then ping.

    Args:
        conn: anywhere; reads one snapshot.
        country: ISO 3166-1, two letters.
        provider: its key.
        protocol: only servers that speak it; figures are over all they speak.
        vantages: codes; figures are of these alone. None = all.
        days: 1 to 3660.
        limit: rows of a page, 1 to 1000.
        after: `cursor` of the last row of the page before.

    Raises:
        UnknownName: a country, provider, protocol or vantage is not in the inventory.
        BadArgument: days, limit or after.
    """
    values = {
        "country": _some_id(conn, "country", country),
        "provider": _some_id(conn, "provider", provider),
        "protocol": _some_id(conn, "protocol", protocol),
        "vantages": probes(conn, vantages),
        "days": within("days", days, MOST_DAYS),
        "limit": within("limit", limit, MOST_ROWS),
        "after": None if after is None else _place(after),
    }
    found = rows(conn, "answers_ranking", values)
    for row in found:
        key = [row.pop("by_uptime"), row.pop("by_speed"), row.pop("by_ping"), row["server_id"]]
        row["cursor"] = base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")
    return found


def vantage_weights(conn: psycopg.Connection) -> dict[str, float]:
    """Give the weight of each active vantage by its code."""
    return {row["vantage"]: row["weight"] for row in rows(conn, "answers_vantage_weights", {})}


def matrix(conn: psycopg.Connection, *, metric: str, limit: int = 200, after: str | None = None) -> list[Row]:
    """Give the last known value of one metric, and its age, of each active server at each vantage.

    Args:
        conn: anywhere.
        metric: one of METRICS.
        limit: servers of a page, 1 to 1000.
        after: `server` of the last row of the page before.

    Raises:
        BadArgument: metric or limit.
    """
    values = {"metric": one_metric(metric), "limit": within("limit", limit, MOST_ROWS), "after": after}
    return rows(conn, "answers_matrix", values)


def profile_24h(conn: psycopg.Connection, server: str, *, days: int = 30) -> list[Row]:
    """Give a server's hours of the day (0 to 23, UTC) over the last `days`, those with results.

    Raises:
        UnknownName: of server.
        BadArgument: days.
    """
    values = {"server": find(conn, "server", server), "days": within("days", days, MOST_DAYS)}
    return rows(conn, "answers_profile", values)


def volatility(
    conn: psycopg.Connection, *, server: str, days: int = 30, step: str = "day", kept: Kept = KEPT
) -> dict[str, Figures]:
    """Give how a server's daily or hourly medians vary: by metric n, mean, stddev and cv (stddev / mean).

    Raises:
        UnknownName: of server.
        BadArgument, ranges.RangeError: days or step; ranges.Archived: see `ranges.choose`.
    """
    hi = dt.datetime.now(dt.UTC)
    buckets = trend(conn, server=server, lo=days_before(hi, days), hi=hi, step=step, kept=kept).buckets
    return {
        name: spread([bucket[column] for bucket in buckets if bucket[column] is not None])
        for name, column in (
            ("download_mbps", "median_download_mbps"),
            ("ping_ms", "p50_ping_ms"),
            ("p95_ping_ms", "p95_ping_ms"),
        )
    }


def disagreement(conn: psycopg.Connection, *, server: str, days: int = 7) -> Row:
    """Give how differently vantages see one server: each one's figures, and how they spread.

    Returns:
        `vantages`: rows with the figures of each, and under `NAME_vs_median` how far it is off the vantage in
        the middle (ping and uptime: the difference; speeds: the ratio). `spread`: of each metric, as in
        `volatility`.

    Raises:
        UnknownName: of server.
        BadArgument: days.
    """
    values = {"server": find(conn, "server", server), "days": within("days", days, MOST_DAYS)}
    seen = rows(conn, "answers_by_vantage", values)
    spreads: dict[str, Figures] = {}
    for name, relative in (
        ("download_mbps", True),
        ("upload_mbps", True),
        ("ping_ms", False),
        ("uptime_pct", False),
    ):
        column = [row[name] for row in seen]
        spreads[name] = spread([value for value in column if value is not None])
        for row, off in zip(seen, deviations(column, relative=relative), strict=True):
            row[f"{name}_vs_median"] = off
    return {"vantages": seen, "spread": spreads}


def direct_against_tunnel(
    conn: psycopg.Connection,
    *,
    server: str,
    days: int = 7,
    vantage: str | None = None,
    kept: Kept = KEPT,
) -> list[Row]:
    """Give what the tunnel costs, by vantage and protocol: medians through it, direct, and run by run.

    Raises:
        UnknownName: of server or vantage.
        BadArgument: days; ranges.Archived: raw rows of so long ago are no longer here.
    """
    now = dt.datetime.now(dt.UTC)
    since = days_before(now, days)
    ranges.need_raw(since, now=now, kept=kept)
    values = {
        "server": find(conn, "server", server),
        "vantages": probes(conn, None if vantage is None else [vantage]),
        "since": since,
    }
    return rows(conn, "answers_tunnel_cost", values)


def time_weighted(
    conn: psycopg.Connection,
    *,
    server: str,
    metric: str,
    lo: dt.datetime,
    hi: dt.datetime,
    vantage: str | None = None,
    carry: dt.timedelta = _CARRY,
    kept: Kept = KEPT,
) -> Row:
    """Give the mean of a metric over time: each value holds until its vantage's next one.

    The value from before `lo` is carried in unless it is older than `carry`; a vantage without one counts
    from its first value. Nothing holds beyond now.

    Returns:
        `value`: the vantages' means by weight, None without any; `vantages`: each one's value, covered_s and
        number of values.

    Raises:
        UnknownName: of server or vantage.
        BadArgument: metric; ranges.RangeError: the range; ranges.Archived: it is older than raw rows.
    """
    now = dt.datetime.now(dt.UTC)
    ranges.choose(lo, hi, now=now, step="month", kept=kept)
    ranges.need_raw(lo, now=now, kept=kept)
    values = {
        "server": find(conn, "server", server),
        "vantages": probes(conn, None if vantage is None else [vantage]),
        "metric": one_metric(metric),
        "lo": lo,
        "hi": min(hi, now),
        "carry_from": lo - carry,
    }
    held = rows(conn, "answers_time_weighted", values) if lo < now else []
    known = [row for row in held if row["value"] is not None]
    total = sum(row["weight"] for row in known)
    value = sum(row["weight"] * row["value"] for row in known) / total if known else None
    return {"metric": metric, "value": value, "vantages": held}


def days_before(at: dt.datetime, days: int) -> dt.datetime:
    """Give the time `days` before `at`.

    Raises:
        BadArgument: days are not 1 to 3660.
    """
    return at - dt.timedelta(days=within("days", days, MOST_DAYS))


def _place(cursor: str) -> list[float]:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        uptime, speed, ping, server = (float(part) for part in key)
    except (binascii.Error, ValueError, TypeError, OverflowError, RecursionError):
        raise BadArgument('after must be the "cursor" of a row of the page before') from None
    return [uptime, speed, ping, server]


def _some_id(conn: psycopg.Connection, kind: str, name: str | None) -> int | None:
    return None if name is None else find(conn, kind, name)
