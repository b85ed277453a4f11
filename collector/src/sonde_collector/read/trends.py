"""Trends: one server's or target's buckets over time, from the tier that `ranges` chooses.

Reads only, over a connection of the caller's. Rows are plain dicts; NULL is None and means not measured.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from attrs import frozen

from sonde_collector.read import ranges
from sonde_collector.read.lookup import Row, find, probes, rows
from sonde_collector.read.ranges import KEPT, Kept

Archive = Callable[[str, Mapping[str, Any]], list[Row]]
"""Gives a tier's buckets from files and table together; the values are those of the tier's query."""


@frozen
class Trend:
    """Buckets in order of time.

    Attributes:
        tier: which table answered, see `ranges`.
        step: width of a bucket: minute, hour, day or month.
        buckets: each with `at`, when it begins; one without any result is not there.
    """

    tier: str
    step: str
    buckets: list[Row]


def trend(
    conn: psycopg.Connection,
    *,
    server: str,
    lo: dt.datetime,
    hi: dt.datetime,
    step: str | None = None,
    vantage: str | None = None,
    kept: Kept = KEPT,
    archive: Archive | None = None,
) -> Trend:
    """Give a server's buckets for `lo <= t < hi`, the first one whole.

    Per bucket: means by the vantages' weights; `median_download_mbps`, `p50_ping_ms` and `p95_ping_ms` are
    those of the vantage in the middle (by the hour and day: the middle of the vantages' mean downloads).

    Args:
        conn: anywhere.
        server: as the inventory calls it.
        lo: of the range.
        hi: of the range.
        vantage: code; None = all.
        step: see `ranges.choose`.
        kept: of the settings.
        archive: reads what has left the database; None = nothing does.

    Raises:
        UnknownName: of server or vantage.
        ranges.RangeError, ranges.Archived: see `ranges.choose`.
    """
    now, may = dt.datetime.now(dt.UTC), archive is not None
    choice = ranges.choose(lo, hi, now=now, step=step, kept=kept, archive=may)
    values = {
        "server": find(conn, "server", server),
        "vantages": probes(conn, None if vantage is None else [vantage]),
        "lo": choice.lo,
        "hi": hi,
        "step": choice.step,
        "tier": choice.tier,
    }
    name = "answers_trend_days" if choice.tier == "daily" else "answers_trend_cells"
    if choice.archived and archive is not None:
        return Trend(choice.tier, choice.step, archive(choice.tier, values))
    return Trend(choice.tier, choice.step, rows(conn, name, values))


def endpoint_trend(
    conn: psycopg.Connection,
    *,
    target: str,
    lo: dt.datetime,
    hi: dt.datetime,
    step: str | None = None,
    vantage: str | None = None,
    kept: Kept = KEPT,
) -> Trend:
    """Give a target's buckets for `lo <= t < hi`: counts added over vantages, times of the one in the middle.

    Raises:
        UnknownName: of target or vantage.
        ranges.RangeError, ranges.Archived: see `ranges.choose`.
    """
    choice = ranges.choose(lo, hi, now=dt.datetime.now(dt.UTC), step=step, kept=kept, tiers=ranges.ENDPOINT)
    values = {
        "target": find(conn, "target", target),
        "vantages": probes(conn, None if vantage is None else [vantage]),
        "lo": choice.lo,
        "hi": hi,
        "tier": choice.tier,
    }
    return Trend(choice.tier, choice.step, rows(conn, "answers_endpoint_trend", values))
