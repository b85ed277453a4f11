"""The active member of an origin group."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.health.groups import Member, choose, state_of
from sonde_collector.health.states import DEGRADED, HEALTHY, UNHEALTHY, UNKNOWN, State

STATES: dict[str, State] = {"H": HEALTHY, "D": DEGRADED, "X": UNHEALTHY, "?": UNKNOWN}


def members(text: str, since: float = 0.0) -> list[Member]:
    """Members m0, m1 … by the first letters of their states."""
    return [Member(f"m{i}", STATES[letter], since) for i, letter in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "active", "chosen"),
    [
        ("HH", None, "m0"),
        ("XH", "m0", "m1"),
        ("XDH", "m0", "m2"),
        ("XD", "m0", "m1"),
        ("X?D", "m0", "m2"),
        ("X?", "m0", "m1"),
        ("DH", "m0", "m0"),
        ("?H", "m0", "m0"),
        ("HH", "m1", "m0"),
        ("DH", "m1", "m1"),
        ("XX", "m0", None),
        ("XX", None, None),
        ("XH", "gone", "m1"),
    ],
)
def test_choice(text: str, active: str | None, chosen: str | None) -> None:
    """The active one stays until it is down; then the first healthy follows, else one that is not down."""
    assert choose(members(text), active, 1000.0, 60.0) == chosen


def test_the_return() -> None:
    """The preferred one is active again once it has been healthy for a while."""
    assert choose(members("HH", since=950.0), "m1", 1000.0, 60.0) == "m1"
    assert choose(members("HH", since=940.0), "m1", 1000.0, 60.0) == "m0"


@given(st.text("HDX?", min_size=1, max_size=5), st.integers(0, 6))
def test_never_none_while_one_could_serve(text: str, active: int) -> None:
    """Nobody is active only where every member is down, and the choice stays as it is."""
    listed = members(text)
    chosen = choose(listed, f"m{active}", 1000.0, 60.0)
    assert (chosen is None) == (set(text) == {"X"})
    assert choose(listed, chosen, 1000.0, 60.0) == chosen
    assert (state_of(listed, chosen) == UNHEALTHY) == (chosen is None)
