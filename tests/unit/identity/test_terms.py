"""When a certificate is renewed, and how long one waits after a failure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.identity.terms import clock_trouble, due_us, pause_s

DAY_US = 86_400_000_000


@given(st.integers(0, 2**50), st.integers(1, 400 * DAY_US))
def test_it_is_due_at_two_thirds(begins: int, life: int) -> None:
    """Never before its beginning, always before its end, with a third of it left."""
    due = due_us(begins, begins + life)
    assert begins <= due <= begins + life
    assert (begins + life - due) * 3 == pytest.approx(life, abs=3, rel=1e-6)


@given(st.integers(1, 10_000), st.floats(10, 400 * 86_400))
def test_pauses_grow_and_leave_time(failures: int, life_s: float) -> None:
    """They never shrink, end at an hour, and let a short life be tried often before it ends."""
    now, then = pause_s(failures, life_s), pause_s(failures + 1, life_s)
    assert 0 < now <= then <= min(3600, life_s / 20)


def test_a_month_is_tried_again_after_a_minute() -> None:
    """The first pause is a minute, later ones an hour."""
    assert pause_s(1, 30 * 86_400) == 60
    assert pause_s(50, 30 * 86_400) == 3600


@pytest.mark.parametrize(("now", "said"), [(0, ""), (-1, "set the clock"), (DAY_US, "set the clock")])
def test_a_clock_outside_a_certificates_life_is_told(now: int, said: str) -> None:
    """With both times, and what to do on either side."""
    base = 20_000 * DAY_US
    told = clock_trouble(base, base + DAY_US, base + now)
    assert said in told
    assert bool(said) == bool(told)
    if told:
        assert "2024-10-04" in told
        assert "pki renew" in told
