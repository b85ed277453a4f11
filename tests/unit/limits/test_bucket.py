"""A bucket never gives more than its rate and what it held, and never takes longer than that either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.limits.bucket import Bucket

steps = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 10_000)), min_size=1, max_size=60)


@given(st.integers(1, 1000), st.integers(1, 100_000), steps)
def test_who_waits_as_told_spends_at_the_rate(rate: int, ahead: int, steps: list[tuple[float, int]]) -> None:
    """Spent until any moment: at most what it held, what came since, and the one that overdrew it."""
    bucket, now, spent = Bucket.full(rate, ahead, 0.0), 0.0, 0
    for pause, amount in steps:
        now += pause
        now += bucket.wait_s(now)
        assert bucket.wait_s(now) == pytest.approx(0.0, abs=1e-6)
        assert spent <= ahead + rate * now + 1e-3
        bucket.spend(amount, now)
        spent += amount
        assert spent <= ahead + rate * now + amount + 1e-3


@given(st.integers(1, 1000), st.integers(10_000, 100_000), st.floats(0.01, 0.99))
def test_who_stays_below_the_rate_never_waits(rate: int, ahead: int, share: float) -> None:
    """Batches of a second's worth or less, one a second, for ever."""
    bucket = Bucket.full(rate, ahead, 0.0)
    for second in range(1, 200):
        assert bucket.wait_s(second) == 0
        bucket.spend(rate * share, second)
    assert bucket.level > ahead - rate


@given(st.integers(1, 1000), st.integers(1, 1000), steps)
def test_taking_is_all_or_nothing(rate: int, ahead: int, steps: list[tuple[float, int]]) -> None:
    """What is refused takes nothing, and the level is never below zero."""
    bucket, now = Bucket.full(rate, ahead, 0.0), 0.0
    for pause, amount in steps:
        now += pause
        bucket.wait_s(now)
        before = bucket.level
        taken = bucket.take(amount, now)
        assert taken == (before >= amount)
        assert bucket.level == pytest.approx(before - amount if taken else before)
        assert bucket.level >= 0


def test_a_clock_that_stands_still_gives_nothing() -> None:
    """Time that goes back is no time; a full bucket holds no more than it can."""
    bucket = Bucket.full(10, 100, 50.0)
    bucket.spend(120, 50.0)
    assert bucket.wait_s(40.0) == 2.0
    assert bucket.wait_s(51.0) == 1.0
    assert bucket.wait_s(1e6) == 0.0
    assert bucket.level == 100
