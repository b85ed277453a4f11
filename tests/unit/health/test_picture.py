"""Whether a thing works at all, by the newest results of all vantages."""

from math import inf

import numpy as np
import pytest

from sonde_collector.health.entries import VERDICT, fold
from sonde_collector.health.picture import Outage, outages, picture
from sonde_collector.health.settings import Settings

NOW = 1_800_000_000.0
WORKS = Outage(works=True, since=None)
TOO_FEW = Outage(works=False, since=None)


def outage(*vantages: str) -> Outage:
    """What vantages 1, 2 … tell: one letter every ten seconds, "o" well, "x" failing, " " not measured."""
    rows = [
        (1, probe, 8, round((NOW - 100 + 10 * i) * 1e6), letter == "o", 0, 0, 1.0)
        for probe, text in enumerate(vantages, 1)
        for i, letter in enumerate(text)
        if letter != " "
    ]
    made = fold(np.zeros(0, VERDICT), np.array(rows, VERDICT), lambda _: 10)
    seen = picture(made, {1: Settings()}, NOW)
    ((_, found),) = outages(seen, np.arange(1, 10))
    return found


@pytest.mark.parametrize(
    ("vantages", "found"),
    [
        (("oo", "oo", "oo"), WORKS),
        (("oox", "oox", "oox"), Outage(works=False, since=NOW - 80)),
        (("oox", "oo x", "oo"), Outage(works=False, since=NOW - 80)),
        (("oox", "oo", "oo"), TOO_FEW),
        (("oox", "oox", "oo o"), WORKS),
        (("xxx", "xxx", "xxx"), Outage(works=False, since=-inf)),
        (("xxx", "oxx", "oxx"), Outage(works=False, since=NOW - 90)),
        (("x", "o", "o"), WORKS),
    ],
)
def test_who_has_looked_since(vantages: tuple[str, ...], found: Outage) -> None:
    """It is away once enough vantages failed it and none has seen it work since the first failure."""
    assert outage(*vantages) == found
