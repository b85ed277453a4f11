"""Which tier answers for a time range: the finest that is worth its rows and still there. **Pure.**

A bucket is exact in its own tier: minutes come from raw rows, hours and days from rollups that were made of
raw rows. So the step decides, and the age only whether the step is still kept.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Literal, Self

from attrs import frozen

from sonde_collector.config import Retention

Step = Literal["minute", "hour", "day", "month"]
Tier = Literal["raw", "hourly", "daily", "minute", "hour", "day", "month"]
STEPS: tuple[Step, ...] = ("minute", "hour", "day", "month")

PERFORMANCE: Mapping[Step, Tier] = {"minute": "raw", "hour": "hourly", "day": "daily", "month": "daily"}
"""Where the buckets of servers come from: performance_logs, its hours, sonde.server_days."""

ENDPOINT: Mapping[Step, Tier] = {"minute": "minute", "hour": "hour", "day": "day", "month": "month"}
"""Where the buckets of targets come from: sonde.endpoint_minute and so on."""

MOST_BUCKETS = 5000
_EARLIEST, _LATEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC), dt.datetime(2200, 1, 1, tzinfo=dt.UTC)
_LONGEST: Mapping[Step, dt.timedelta] = {
    # What a chart can show, and what is read in a moment: of 50 vantages, an hour is 50 rows.
    "minute": dt.timedelta(hours=3),
    "hour": dt.timedelta(days=3),
    "day": dt.timedelta(days=1100),
    "month": dt.timedelta.max,
}
_WIDTH: Mapping[Step, dt.timedelta] = {
    "minute": dt.timedelta(minutes=1),
    "hour": dt.timedelta(hours=1),
    "day": dt.timedelta(days=1),
    "month": dt.timedelta(days=28),
}


class RangeError(ValueError):
    """No tier here answers such a range; the text says why and what would."""


class Archived(RangeError):
    """What was asked for has left PostgreSQL for the archive."""


@frozen
class Kept:
    """How long the tiers stay in PostgreSQL; days and months stay for ever.

    Attributes:
        raw: single results.
        hourly: hours.
        minute: minutes of targets.
    """

    raw: dt.timedelta = dt.timedelta(days=30)
    hourly: dt.timedelta = dt.timedelta(days=365)
    minute: dt.timedelta = dt.timedelta(days=90)

    @classmethod
    def by(cls, retention: Retention) -> Self:
        """Give what these settings keep; a rollup never goes before what it is made from."""
        return cls(
            raw=dt.timedelta(seconds=retention.raw),
            hourly=dt.timedelta(seconds=max(retention.hourly, retention.raw)),
            minute=dt.timedelta(seconds=max(retention.minute, retention.raw)),
        )


KEPT = Kept()
"""As the settings have it where they say nothing."""


@frozen
class Choice:
    """What answers.

    Attributes:
        tier: the table.
        step: width of a bucket.
        lo: when the first bucket begins; the end stays as it was asked.
        archived: some of it has left the database: files and table answer together.
    """

    tier: Tier
    step: Step
    lo: dt.datetime
    archived: bool = False


def choose(
    lo: dt.datetime,
    hi: dt.datetime,
    *,
    now: dt.datetime,
    step: str | None = None,
    kept: Kept = KEPT,
    tiers: Mapping[Step, Tier] = PERFORMANCE,
    archive: bool = False,
) -> Choice:
    """Give the tier for `lo <= t < hi`. **Pure.**

    Args:
        lo: with a time zone, as all times.
        hi: later than lo.
        now: this moment.
        step: a bucket's width; None = what suits the length of the range and is kept.
        kept: of the settings.
        tiers: PERFORMANCE or ENDPOINT.
        archive: whether the caller can read the archive too.

    Raises:
        Archived: the step was asked for, is no longer kept for times as old as `lo`, and `archive` is not.
        RangeError: the range is empty, has too many buckets, or the step is none of STEPS.
    """
    if lo.tzinfo is None or hi.tzinfo is None:
        raise RangeError("times need a time zone, such as 2026-01-31T00:00:00Z")
    if not _EARLIEST <= lo < _LATEST or hi > _LATEST:
        raise RangeError(f"times must lie between {_EARLIEST:%Y} and {_LATEST:%Y}")
    if lo >= hi:
        raise RangeError(f"the range is empty: {lo.isoformat()} is not before {hi.isoformat()}")
    if step is None:
        fits = (each for each in STEPS if hi - lo <= _LONGEST[each] and _is_kept(tiers[each], now - lo, kept))
        last: Step = "month"
        found = next(fits, last)
        return Choice(tiers[found], found, floor(lo, found))
    chosen = _step(step)
    if (hi - lo) / _WIDTH[chosen] > MOST_BUCKETS:
        raise RangeError(
            f"that is more than {MOST_BUCKETS} buckets: ask for a longer step or a shorter range"
        )
    here = _is_kept(tiers[chosen], now - lo, kept)
    if not (here or archive):
        coarser = next(each for each in STEPS if _is_kept(tiers[each], now - lo, kept))
        raise Archived(
            f"of {lo:%Y-%m-%d} the database no longer holds every {chosen}: the archive does, which "
            f"`sonde-collector trend` reads, and by the {coarser} it can be had here"
        )
    return Choice(tiers[chosen], chosen, floor(lo, chosen), archived=not here)


def floor(at: dt.datetime, step: Step) -> dt.datetime:
    """Give the beginning of the bucket that holds `at`, in UTC. **Pure.**"""
    at = at.astimezone(dt.UTC).replace(second=0, microsecond=0)
    if step != "minute":
        at = at.replace(minute=0)
    if step in ("day", "month"):
        at = at.replace(hour=0)
    return at.replace(day=1) if step == "month" else at


def need_raw(lo: dt.datetime, *, now: dt.datetime, kept: Kept) -> None:
    """Refuse what only raw rows answer when they are no longer here. **Pure.**

    Raises:
        Archived: `lo` is older than raw rows are kept.
    """
    if now - lo > kept.raw:
        raise Archived(
            f"single results of before {now - kept.raw:%Y-%m-%d} are no longer in the database: the archive "
            "has them"
        )


def _step(name: str) -> Step:
    for step in STEPS:
        if step == name:
            return step
    raise RangeError(f'step must be one of {", ".join(STEPS)}, not "{name}"')


def _is_kept(tier: Tier, age: dt.timedelta, kept: Kept) -> bool:
    limits: Mapping[Tier, dt.timedelta] = {
        "raw": kept.raw,
        "minute": kept.minute,
        "hourly": kept.hourly,
        "hour": kept.hourly,
    }
    return tier not in limits or age <= limits[tier]
