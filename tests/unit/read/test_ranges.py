"""Which tier answers, for any range."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.read.ranges import (
    ENDPOINT,
    MOST_BUCKETS,
    PERFORMANCE,
    STEPS,
    Archived,
    Kept,
    RangeError,
    choose,
    floor,
    need_raw,
)

NOW = dt.datetime(2026, 3, 15, 12, 34, 56, tzinfo=dt.UTC)
WIDTHS = {"minute": 60, "hour": 3600, "day": 86_400, "month": 28 * 86_400}
KEPT = Kept(raw=dt.timedelta(days=30), hourly=dt.timedelta(days=365))
ages = st.timedeltas(dt.timedelta(seconds=1), dt.timedelta(days=5000))


def ago(**values: float) -> dt.datetime:
    """A time before NOW."""
    return NOW - dt.timedelta(**values)


@pytest.mark.parametrize(
    ("lo", "tier", "step"),
    [
        (ago(hours=1), "raw", "minute"),
        (ago(days=2), "hourly", "hour"),
        (ago(days=30), "daily", "day"),
        (ago(days=730), "daily", "day"),
        (ago(days=4000), "daily", "month"),
    ],
)
def test_the_length_decides_where_nothing_is_asked(lo: dt.datetime, tier: str, step: str) -> None:
    """An hour is shown by the minute from raw rows, a day or two by the hour, months and years by the day."""
    choice = choose(lo, NOW, now=NOW)
    assert (choice.tier, choice.step) == (tier, step)


def test_age_makes_it_coarser() -> None:
    """What is no longer kept so finely comes from the next tier; asked for by name, it is archived."""
    lo, hi = ago(days=40), ago(days=40) + dt.timedelta(hours=1)
    assert choose(lo, hi, now=NOW, kept=KEPT).tier == "hourly"
    assert choose(lo, hi, now=NOW, kept=KEPT, tiers=ENDPOINT).tier == "minute"
    early = lo - dt.timedelta(days=60), hi - dt.timedelta(days=60)
    assert choose(*early, now=NOW, kept=KEPT, tiers=ENDPOINT).tier == "hour"
    with pytest.raises(Archived, match=r"no longer holds every minute: the archive does, .* and by the hour"):
        choose(lo, hi, now=NOW, step="minute", kept=KEPT)
    lo, hi = ago(days=400), ago(days=400) + dt.timedelta(hours=1)
    assert choose(lo, hi, now=NOW, kept=KEPT).tier == "daily"
    with pytest.raises(Archived, match="by the day"):
        choose(lo, hi, now=NOW, step="hour", kept=KEPT)


def test_who_can_read_the_archive_is_sent_there() -> None:
    """The same tier, over files and table together; what is here is not said to be elsewhere."""
    lo, hi = ago(days=400), ago(days=400) + dt.timedelta(hours=1)
    choice = choose(lo, hi, now=NOW, step="hour", kept=KEPT, archive=True)
    assert (choice.tier, choice.archived) == ("hourly", True)
    assert not choose(ago(days=2), NOW, now=NOW, step="hour", kept=KEPT, archive=True).archived


@given(ages, ages, st.sampled_from([None, *STEPS]), st.sampled_from([PERFORMANCE, ENDPOINT]))
def test_any_range_has_one_honest_answer(
    age: dt.timedelta, length: dt.timedelta, step: str | None, tiers: dict[str, str]
) -> None:
    """A tier that is chosen holds all of the range, in few enough buckets; the first holds its start."""
    lo, hi = NOW - age, NOW - age + length
    try:
        choice = choose(lo, hi, now=NOW, step=step, kept=KEPT, tiers=tiers)  # type: ignore[arg-type]
    except Archived:
        assert step in ("minute", "hour")
        return
    except RangeError:
        assert step is not None
        assert length.total_seconds() / WIDTHS[step] > MOST_BUCKETS
        return
    assert step in (None, choice.step)
    assert choice.tier == tiers[choice.step]
    assert length.total_seconds() / WIDTHS[choice.step] <= MOST_BUCKETS
    assert choice.lo <= lo < choice.lo + dt.timedelta(seconds=WIDTHS[choice.step] * 32 / 28)
    assert choice.lo == floor(choice.lo, choice.step)
    if choice.step == "minute":
        assert age <= KEPT.raw
    if choice.step == "hour":
        assert age <= KEPT.hourly


@pytest.mark.parametrize(
    ("lo", "hi", "step", "why"),
    [
        (NOW, NOW, None, "the range is empty"),
        (NOW, ago(days=1), None, "the range is empty"),
        (NOW.replace(tzinfo=None), NOW, None, "need a time zone"),
        (dt.datetime.min.replace(tzinfo=dt.UTC), NOW, None, "must lie between 2000 and 2200"),
        (ago(days=1), dt.datetime.max.replace(tzinfo=dt.UTC), None, "must lie between"),
        (ago(days=1), NOW, "week", 'step must be one of minute, hour, day, month, not "week"'),
        (ago(days=20), NOW, "minute", "more than 5000 buckets"),
    ],
)
def test_what_cannot_be_answered(lo: dt.datetime, hi: dt.datetime, step: str | None, why: str) -> None:
    """A range that makes no sense is refused with words that say why."""
    with pytest.raises(RangeError, match=why):
        choose(lo, hi, now=NOW, step=step)


def test_raw_rows_end() -> None:
    """What only raw rows tell is refused beyond their retention."""
    need_raw(ago(days=29), now=NOW, kept=KEPT)
    with pytest.raises(Archived, match="of before 2026-02-13"):
        need_raw(ago(days=31), now=NOW, kept=KEPT)
