"""Which partitions leave: by table, by the end of their range, and never before what is made from them."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.archive.expiry import Partition, expired, kept_s, tables
from sonde_collector.config import Retention
from sonde_collector.db.partitions import PARTITIONED, bounds
from sonde_proto.units import Duration

DAY = dt.timedelta(days=1)
NOW = dt.datetime(2026, 3, 15, 12, tzinfo=dt.UTC)


def partition(table: str, lo: dt.datetime, days: float, *, restored: bool = False) -> Partition:
    """One that holds so many days."""
    return Partition(table, f"{table}_{lo:%Y_%m_%d}", lo, lo + days * DAY, restored)


def test_every_partitioned_table_has_a_retention() -> None:
    """A table that is partitioned and kept for ever by oversight would fill the disk."""
    assert sorted(tables()) == sorted(each.table for each in PARTITIONED)


@pytest.mark.parametrize(("age_days", "leaves"), [(30, False), (31, False), (31.05, True), (40, True)])
def test_the_whole_range_must_be_past_the_retention(*, age_days: float, leaves: bool) -> None:
    """A day goes when its last moment, and an hour for writes that are under way, is past."""
    day = partition("public.performance_logs", NOW - age_days * DAY, 1)
    assert expired([day], Retention(), NOW) == ([day] if leaves else [])


def test_rows_of_a_month_stay_together_where_the_month_is_counted_from_them() -> None:
    """The first day of a month of endpoint checks goes when the last one does."""
    first = partition("sonde.endpoint_checks", dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 1)
    assert expired([first], Retention(), dt.datetime(2026, 3, 2, 23, tzinfo=dt.UTC)) == []
    assert expired([first], Retention(), dt.datetime(2026, 3, 3, 1, tzinfo=dt.UTC)) == [first]


def test_what_was_restored_stays_until_it_is_named() -> None:
    """An operator who brought a month back finds it there tomorrow."""
    back = partition("public.performance_logs", NOW - 90 * DAY, 1, restored=True)
    assert expired([back], Retention(), NOW) == []
    assert expired([back], Retention(), NOW, again=[back.name]) == [back]


@given(
    raw=st.integers(1, 800),
    minute=st.integers(1, 800),
    hourly=st.integers(1, 800),
    ages=st.lists(st.integers(0, 900), max_size=20),
)
def test_a_rollup_outlives_its_rows(raw: int, minute: int, hourly: int, ages: list[int]) -> None:
    """Whatever is set, no rollup leaves that raw rows may still change; the oldest leaves first."""
    kept = Retention(
        raw=Duration(raw * 86_400.0), minute=Duration(minute * 86_400.0), hourly=Duration(hourly * 86_400.0)
    )
    found = [partition(table, bounds("day", NOW - age * DAY)[0], 1) for age in ages for table in tables()]
    left = expired(found, kept, NOW)
    assert [each.hi for each in left] == sorted(each.hi for each in left)
    assert all(NOW - each.hi >= dt.timedelta(days=raw) for each in left)
    assert all(kept_s(table, kept) >= kept.raw for table in tables())
