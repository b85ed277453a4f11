"""How far values lie apart. **Pure.**"""

import statistics
from collections.abc import Sequence
from typing import TypedDict


class Figures(TypedDict):
    """Of some values; None where there are too few (stddev and cv need two).

    Attributes:
        stddev: of a sample (n - 1).
        cv: coefficient of variation, stddev / mean; None where the mean is 0.
    """

    n: int
    mean: float | None
    stddev: float | None
    cv: float | None
    lowest: float | None
    highest: float | None


def spread(values: Sequence[float]) -> Figures:
    """Give mean and spread of some values. **Pure.**"""
    mean = statistics.fmean(values) if values else None
    stddev = statistics.stdev(values) if len(values) > 1 else None
    return {
        "n": len(values),
        "mean": mean,
        "stddev": stddev,
        "cv": stddev / mean if stddev is not None and mean else None,
        "lowest": min(values, default=None),
        "highest": max(values, default=None),
    }


def deviations(values: Sequence[float | None], *, relative: bool) -> list[float | None]:
    """Give how far each is off the median of the known ones: the ratio, or the difference. **Pure.**"""
    known = [value for value in values if value is not None]
    if not known:
        return [None] * len(values)
    middle = statistics.median(known)
    if relative:
        return [value / middle if value is not None and middle else None for value in values]
    return [None if value is None else value - middle for value in values]
