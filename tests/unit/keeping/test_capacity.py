"""Sizes to come and the day the disk ends, by arithmetic on what was measured."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.config import Retention
from sonde_collector.db.partitions import PARTITIONED
from sonde_collector.keeping import capacity
from sonde_collector.keeping.capacity import Flow, Measured
from sonde_collector.keeping.tiers import GROWING, Growing, kept_days
from sonde_proto.units import Duration

_RAW, _DAILY = (next(table for table in GROWING if table.tier == tier) for tier in ("raw", "daily"))


def _measured(
    table: Growing = _RAW, *, rows: int = 1_000_000, per_day: float | None = 100_000, age_days: float = 10
) -> Measured:
    return Measured(table, rows, 200 * rows + 8192, 8192, per_day, age_days)


def _one(measured: Measured, *, planned: float | None = None, kept: float | None = 30) -> Flow:
    plans = {} if planned is None else {measured.table.name: planned}
    (flow,) = capacity.flows([measured], plans, {} if kept is None else {measured.table.tier: kept}, 31)
    return flow


def test_a_row_takes_what_rows_take_without_the_empty_table() -> None:
    """Bytes of a row leave out what the table takes without rows, and few rows say nothing."""
    assert capacity.row_bytes(_measured()) == 200
    assert capacity.row_bytes(_measured(rows=10)) is None


def test_a_tier_that_ends_grows_until_its_oldest_partition_goes() -> None:
    """30 days kept in months: 61 days at most, of which 10 are there; then what comes and goes is equal."""
    flow = _one(_measured())
    assert flow.bytes_per_day(planned=False) == 20_000_000
    assert flow.steady_bytes(planned=False) == 61 * 20_000_000 + 8192
    now = flow.measured.bytes
    assert capacity.size_after([flow], 1, planned=False) == now + 20_000_000
    assert capacity.size_after([flow], 51, planned=False) == capacity.size_after([flow], 9999, planned=False)


def test_what_is_kept_for_ever_has_no_end() -> None:
    """A table without a retention grows linearly, and has no steady size."""
    flow = _one(_measured(_DAILY), kept=None)
    assert flow.steady_bytes(planned=False) is None
    assert capacity.days_left([flow], 200_000_000, planned=False) == 10


def test_plans_replace_what_was_measured_where_they_say_something() -> None:
    """By plans the rate is theirs; a table that plans know nothing of keeps the measured one."""
    assert _one(_measured(), planned=50_000).bytes_per_day(planned=True) == 10_000_000
    assert _one(_measured(), planned=50_000).bytes_per_day(planned=False) == 20_000_000
    assert _one(_measured()).bytes_per_day(planned=True) == 20_000_000
    assert _one(_measured(per_day=None)).bytes_per_day(planned=False) is None


def test_what_is_not_known_is_named() -> None:
    """Rows that come to a table too small to tell what one takes are not reckoned, and it is named."""
    flow = _one(_measured(rows=3), planned=5)
    assert capacity.unknown([flow], planned=True) == [_RAW.name]
    assert capacity.days_left([flow], 1, planned=True) == math.inf


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**7), st.floats(0, 10**6), st.floats(0, 400), st.none() | st.floats(1, 400)
        ),
        max_size=6,
    ),
    st.floats(1, 10**13),
)
def test_on_the_day_the_disk_ends_it_is_full(
    tables: list[tuple[int, float, float, float | None]], free: float
) -> None:
    """What was added by then is what was free; a disk that never ends holds all there will ever be."""
    flows = [
        _one(_measured(rows=rows, per_day=per_day, age_days=age), kept=kept)
        for rows, per_day, age, kept in tables
    ]
    now = sum(flow.measured.bytes for flow in flows)
    days = capacity.days_left(flows, free, planned=False)
    if math.isinf(days):
        assert capacity.size_after(flows, 10**6, planned=False) - now < free * (1 + 1e-6)
    else:
        added = capacity.size_after(flows, days, planned=False) - now
        assert added == pytest.approx(free, rel=1e-6, abs=now * 1e-9)


def test_every_partitioned_table_is_reckoned_with() -> None:
    """The list of growing tables holds each table that is partitioned, by the same column."""
    columns = {table.name: table.column for table in GROWING}
    assert {table.table: table.column for table in PARTITIONED}.items() <= columns.items()


def test_tiers_are_named_as_their_settings() -> None:
    """A tier that [retention] has a setting for is kept as long as that says."""
    assert kept_days(Retention(raw=Duration(86_400.0 * 45)))["raw"] == 45
