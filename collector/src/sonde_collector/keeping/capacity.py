"""From bytes and rows that were measured to sizes that will be, and to the day when the disk ends. **Pure.**

A row takes what the table's rows take today, indexes and TOAST included, less what the empty table takes. A
tier that ends grows until its oldest partition goes: at most its retention and one partition more.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import attrs

from sonde_collector.keeping.tiers import Growing

YEAR_DAYS = 365.0
FAR_DAYS = 36_500.0
"""A day farther off than a century is none."""
ROUGH_ROWS = 10_000
"""Below so many rows pages that are not full yet weigh on the bytes of a row: a rough figure."""
_LEAST_ROWS = 50  # below, one page decides all


@attrs.frozen
class Measured:
    """A table as it is now.

    Attributes:
        rows: in all its partitions.
        bytes: of them, with indexes and TOAST.
        empty_bytes: what they take without rows.
        per_day: rows a day, by the last days; None = none came.
        age_days: of its oldest row; 0 = it has none.
    """

    table: Growing
    rows: int
    bytes: int
    empty_bytes: int
    per_day: float | None
    age_days: float


@attrs.frozen
class Flow:
    """What a table takes and will take.

    Attributes:
        row_bytes: of one row with its share of indexes; None = too few rows to say.
        planned: rows a day that the plans bring; None = plans don't say.
        kept_days: how long a row stays at least; None = for ever.
        span_days: how long one stays at most: a partition more; None = for ever.
    """

    measured: Measured
    row_bytes: float | None
    planned: float | None
    kept_days: float | None
    span_days: float | None

    def bytes_per_day(self, *, planned: bool) -> float | None:
        """New bytes a day by plans, or as measured; None = not known, 0 = none."""
        rows = self.rows_per_day(planned=planned)
        if not rows:
            return rows
        return None if self.row_bytes is None else rows * self.row_bytes

    def rows_per_day(self, *, planned: bool) -> float | None:
        """New rows a day by plans, or as measured; what plans don't say is taken as measured."""
        if planned and self.planned is not None:
            return self.planned
        return self.measured.per_day

    def growing_days(self) -> float:
        """How long it grows from now on, until what comes and what goes are the same."""
        return math.inf if self.span_days is None else max(0.0, self.span_days - self.measured.age_days)

    def steady_bytes(self, *, planned: bool) -> float | None:
        """What it takes in the end; None = it has no end, or is not known."""
        daily = self.bytes_per_day(planned=planned)
        if daily is None or self.span_days is None:
            return None
        return self.measured.empty_bytes + daily * self.span_days


def flows(
    tables: Iterable[Measured],
    planned: Mapping[str, float],
    kept_days: Mapping[str, float],
    partition_days: float,
) -> list[Flow]:
    """What each table will take.

    Args:
        tables: as they are.
        planned: rows a day by table, as the plans say; one that is missing has no plan.
        kept_days: by tier; one that is missing is kept for ever.
        partition_days: length of the partitions of results; rollups are cut by month.
    """
    found = []
    for each in tables:
        kept = kept_days.get(each.table.tier)
        piece = 31.0 if each.table.width is not None else partition_days
        span = None if kept is None else kept + (piece if each.table.whole else 0.0)
        found.append(Flow(each, row_bytes(each), planned.get(each.table.name), kept, span))
    return found


def row_bytes(measured: Measured) -> float | None:
    """Bytes of one row with its share of indexes and TOAST; None = too few rows to say."""
    if measured.rows < _LEAST_ROWS:
        return None
    return max(0.0, (measured.bytes - measured.empty_bytes) / measured.rows)


def size_after(found: Sequence[Flow], days: float, *, planned: bool) -> float:
    """Bytes that all of them together take in so many days."""
    return sum(flow.measured.bytes + _grown(flow, days, planned=planned) for flow in found)


def days_left(found: Sequence[Flow], free_bytes: float, *, planned: bool) -> float:
    """Days until what is free is full; infinity = it never is."""
    rates = [(flow.growing_days(), flow.bytes_per_day(planned=planned) or 0.0) for flow in found]
    ends = sorted({until for until, rate in rates if rate > 0})
    begun, left = 0.0, free_bytes
    for end in ends:
        rate = sum(each for until, each in rates if until >= end)
        if rate * (end - begun) >= left:
            return begun + left / rate
        left -= rate * (end - begun)
        begun = end
    return math.inf


def unknown(found: Sequence[Flow], *, planned: bool) -> list[str]:
    """Tables that rows come to and whose bytes a row are not known yet: they are not in the reckoning."""
    return [
        flow.measured.table.name
        for flow in found
        if flow.rows_per_day(planned=planned) and flow.row_bytes is None
    ]


def _grown(flow: Flow, days: float, *, planned: bool) -> float:
    return (flow.bytes_per_day(planned=planned) or 0.0) * min(days, flow.growing_days())
