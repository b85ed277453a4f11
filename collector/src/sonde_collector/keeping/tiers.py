"""Which tables grow, by what time, and which setting of [retention] ends them. **Pure.**"""

from collections.abc import Mapping
from typing import Literal

import attrs

from sonde_collector.config import Retention

Tier = Literal["raw", "minute", "hourly", "daily"]
Width = Literal["minute", "hour", "day", "month"]

DAY_S = 86_400.0
PER_DAY: Mapping[Width, float] = {"minute": 1440.0, "hour": 24.0, "day": 1.0, "month": 12 / 365.25}
"""Buckets of a width in a day."""


@attrs.frozen
class Growing:
    """A table that time fills.

    Attributes:
        name: with its schema.
        column: when a row is of.
        tier: named as the setting of [retention] that says how long it stays.
        width: of a rollup's buckets; None where each row is a result.
        whole: it goes by whole partitions, and is cut as `partitions.every` says ("month" for rollups).
    """

    name: str
    column: str
    tier: Tier
    width: Width | None = None
    whole: bool = True


GROWING = (
    Growing("public.performance_logs", "measured_at", "raw"),
    Growing("sonde.performance_held", "measured_at", "raw"),
    Growing("sonde.endpoint_checks", "measured_at", "raw"),
    Growing("public.streaming_checks", "checked_at", "raw"),
    Growing("sonde.canary_checks", "checked_at", "raw"),
    Growing("sonde.vantage_health", "measured_at", "raw"),
    Growing("sonde.missed_runs", "measured_at", "raw"),
    Growing("sonde.batches", "received_at", "raw"),
    Growing("sonde.endpoint_minute", "bucket", "minute", "minute"),
    Growing("public.performance_logs_hourly", "hour", "hourly", "hour"),
    Growing("sonde.endpoint_hour", "bucket", "hourly", "hour"),
    Growing("sonde.performance_daily", "day", "daily", "day", whole=False),
    Growing("sonde.endpoint_day", "bucket", "daily", "day", whole=False),
    Growing("sonde.endpoint_month", "bucket", "daily", "month", whole=False),
)
"""Every table that grows with time, raw ones first."""


def kept_days(retention: Retention) -> dict[str, float]:
    """How many days each tier with a setting is kept; a tier that has none is kept for ever."""
    return {
        name: value / DAY_S for name, value in attrs.asdict(retention).items() if isinstance(value, float)
    }
