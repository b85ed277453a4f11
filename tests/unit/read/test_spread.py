"""Spread and deviations of some values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.read.spread import deviations, spread

values = st.lists(st.floats(0.001, 1e6))


def test_of_known_values() -> None:
    """Of 2, 4, 9: mean 5, standard deviation of a sample, and that over the mean."""
    assert spread([2.0, 4.0, 9.0]) == {
        "n": 3,
        "mean": 5,
        "stddev": pytest.approx(13**0.5),
        "cv": pytest.approx(13**0.5 / 5),
        "lowest": 2,
        "highest": 9,
    }
    assert deviations([2.0, None, 4.0, 9.0], relative=False) == [-2, None, 0, 5]
    assert deviations([2.0, None, 4.0, 9.0], relative=True) == [0.5, None, 1, 2.25]


@given(values)
def test_too_few_values_say_nothing(values: list[float]) -> None:
    """None stands where values are missing, and nowhere else; a constant does not vary."""
    figures = spread(values)
    assert figures["n"] == len(values)
    assert (figures["mean"] is None) == (not values)
    assert (figures["cv"] is None) == (figures["stddev"] is None) == (len(values) < 2)
    assert deviations([None] * len(values), relative=True) == [None] * len(values)
    assert spread([0.0, 0.0])["cv"] is None
