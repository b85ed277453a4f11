"""Which partitions are past their retention. **Pure.**"""

import datetime as dt
from collections.abc import Iterable

from attrs import frozen

from sonde_collector.config import Retention

# A result is judged by its arrival and may wait for its writer: where it may go does not leave under it.
_MARGIN = dt.timedelta(hours=1)

_RAW = (
    "public.performance_logs",
    "sonde.performance_held",
    "public.streaming_checks",
    "sonde.canary_checks",
    "sonde.endpoint_checks",
    "sonde.vantage_health",
    "sonde.missed_runs",
    "sonde.batches",
)
# Percentiles of a month can't be had from its days: all of its rows stay as long as one of them.
_BY_MONTH = ("sonde.endpoint_checks",)
_MINUTE = ("sonde.endpoint_minute",)
_HOURLY = ("public.performance_logs_hourly", "sonde.endpoint_hour")


@frozen
class Partition:
    """One attached partition that holds lo <= t < hi.

    Attributes:
        parent: with its schema.
        name: without it.
        restored: it came back from the archive, and stays until it is told to go.
    """

    parent: str
    name: str
    lo: dt.datetime
    hi: dt.datetime
    restored: bool = False


def tables() -> tuple[str, ...]:
    """Every table whose partitions leave."""
    return (*_RAW, *_MINUTE, *_HOURLY)


def kept_s(table: str, retention: Retention) -> float:
    """How long rows of that table stay; a rollup never goes before what it is made from. [s]"""
    if table in _MINUTE:
        return float(max(retention.minute, retention.raw))
    if table in _HOURLY:
        return float(max(retention.hourly, retention.raw))
    return float(retention.raw)


def expired(
    partitions: Iterable[Partition], retention: Retention, now: dt.datetime, again: Iterable[str] = ()
) -> list[Partition]:
    """The partitions whose whole range is past the retention, oldest first.

    Args:
        partitions: of any table.
        retention: as set.
        now: the database's time.
        again: names of restored ones that may go.
    """
    told = set(again)
    found = [
        each
        for each in partitions
        if each.parent in tables()
        and _end(each) <= now - dt.timedelta(seconds=kept_s(each.parent, retention)) - _MARGIN
        and (not each.restored or each.name in told)
    ]
    return sorted(found, key=lambda each: (each.hi, each.parent))


def _end(partition: Partition) -> dt.datetime:
    """Until when rows may still be counted together with those of a partition."""
    if partition.parent not in _BY_MONTH:
        return partition.hi
    last = (partition.hi - dt.timedelta(microseconds=1)).astimezone(dt.UTC)
    first = last.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + dt.timedelta(days=32)).replace(day=1)
