"""Ranges of partitions leave no gap, never overlap, and know no daylight saving."""

import datetime as dt
import itertools
import typing
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.db import partitions
from sonde_collector.db.partitions import Coverage, Every, bounds, name, uncovered, windows

RHYTHMS = typing.get_args(Every)
zones = st.sampled_from([dt.UTC, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe")])
FIRST, LAST = map(dt.datetime.fromisoformat, ("1990-01-01", "2199-12-31"))
moments = st.datetimes(FIRST, LAST, timezones=zones)
rhythms = st.sampled_from(RHYTHMS)


@given(rhythms, moments)
def test_a_range_holds_its_moment(every: Every, at: dt.datetime) -> None:
    """The range of a moment holds it, and begins and ends at midnight UTC."""
    lo, hi = bounds(every, at)
    assert lo <= at < hi
    assert all(end.tzinfo is dt.UTC and end.time() == dt.time() for end in (lo, hi))


@given(rhythms, moments)
def test_ranges_touch(every: Every, at: dt.datetime) -> None:
    """Where one range ends the next begins, and every moment of a range gives the same range."""
    lo, hi = bounds(every, at)
    assert bounds(every, hi)[0] == hi
    assert bounds(every, lo) == bounds(every, hi - dt.timedelta(microseconds=1)) == (lo, hi)


@given(rhythms, moments, st.timedeltas(dt.timedelta(0), dt.timedelta(days=400)))
def test_windows_cover_the_span(every: Every, lo: dt.datetime, span: dt.timedelta) -> None:
    """The windows of a span hold both ends and follow one another without a gap, under names of their own."""
    found = windows(every, lo, lo + span)
    assert found[0][0] <= lo
    assert found[-1][0] <= lo + span < found[-1][1]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
    assert len({name("t", every, *window) for window in found}) == len(found)


@pytest.mark.parametrize(
    ("every", "at", "expected"),
    [
        ("month", "2026-01-15T12:00:00+00:00", "performance_logs_2026_01"),
        ("month", "2025-12-31T23:59:59.999999+00:00", "performance_logs_2025_12"),
        ("month", "2026-01-01T00:30:00+01:00", "performance_logs_2025_12"),
        ("week", "2025-12-31T00:00:00+00:00", "performance_logs_2026_w01"),
        ("week", "2027-01-03T00:00:00+00:00", "performance_logs_2026_w53"),
        ("day", "2024-02-29T10:00:00+00:00", "performance_logs_2024_02_29"),
    ],
)
def test_names(every: Every, at: str, expected: str) -> None:
    """Months are called as in the seed, weeks by ISO year and week, days by date."""
    lo, hi = bounds(every, dt.datetime.fromisoformat(at))
    assert name("public.performance_logs", every, lo, hi) == expected


@given(st.lists(st.integers(0, 60), unique=True, max_size=12), st.integers(-5, 60), st.integers(1, 60))
def test_uncovered_is_the_complement(edges: list[int], lo: int, size: int) -> None:
    """What lacks is exactly what no range covers."""
    edges = sorted(edges)[: len(edges) // 2 * 2]
    ranges = list(zip(edges[::2], edges[1::2], strict=True))
    found = uncovered(lo, lo + size, ranges)
    asked = {t for t in range(lo, lo + size) if not any(start <= t < end for start, end in ranges)}
    assert asked == {t for start, end in found for t in range(start, end)}
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))


@given(st.lists(st.integers(0, 40), max_size=50))
def test_missing_is_what_no_range_holds(days: list[int]) -> None:
    """Each uncovered day is named once, by an instant of it that was asked for."""
    day = 86_400_000_000
    ranges = [(3, 7), (7, 9), (20, 30)]
    coverage = Coverage(
        {
            "public.performance_logs": (
                np.array([lo * day for lo, _ in ranges], dtype=np.int64),
                np.array([hi * day for _, hi in ranges], dtype=np.int64),
            )
        }
    )
    times = np.array([at * day + 5 for at in days], dtype=np.int64)
    found = [round(at.timestamp() * 1e6) for at in coverage.missing("performance_logs", times)]
    bare = {at for at in days if not any(lo <= at < hi for lo, hi in ranges)}
    assert sorted(found) == sorted(at * day + 5 for at in bare)


def test_a_table_without_partitions_misses_everything() -> None:
    """Before the first partition every row's day lacks."""
    nothing = np.array([], dtype=np.int64)
    coverage = Coverage({partitions.PARTITIONED[0].table: (nothing, nothing)})
    assert len(coverage.missing("performance_logs", np.array([0, 1, 86_400_000_000], dtype=np.int64))) == 2
    assert coverage.missing("performance_logs", nothing) == []
