"""A provider is held where all of its servers fail at once while the rest is fine."""

from math import inf

import pytest

from sonde_collector.health.holds import Begins, Fresh, Hold, begins, ends
from sonde_collector.health.settings import Settings

SETTINGS = Settings()
FINE = [Fresh("o1", 2, True, None), Fresh("site", None, True, None)]


def servers(*since: float | None) -> list[Fresh]:
    """Servers s0, s1 … of provider 1, and since when each fails."""
    return [Fresh(f"s{i}", 1, at is None, at) for i, at in enumerate(since)]


def test_all_at_once() -> None:
    """All within minutes: the stretch begins just before the first failure."""
    assert begins(1, servers(100.0, 160.0, 130.0), FINE, SETTINGS) == Begins(1, 99.999, ("s0", "s1", "s2"))


@pytest.mark.parametrize(
    ("since", "others"),
    [
        ((100.0, 110.0), FINE),
        ((100.0, 110.0, None), FINE),
        ((100.0, 800.0, 1500.0), FINE),
        ((100.0, 110.0, 120.0), [Fresh("o1", 2, False, 105.0), Fresh("o2", 2, True, None)]),
        ((-inf, -inf, -inf), FINE),
        ((None, None, None), FINE),
        ((), FINE),
    ],
)
def test_what_is_no_hold(since: tuple[float | None, ...], others: list[Fresh]) -> None:
    """Too few, some that work, one after another, others that fail too, or long dead: judged one by one."""
    assert begins(1, servers(*since), others, SETTINGS) is None


def test_a_tenth_may_work() -> None:
    """One in ten may work, what has been dead for long does not count, and there need be no others."""
    assert begins(1, servers(*[100.0] * 9, None), FINE, SETTINGS) is not None
    assert begins(1, servers(*[100.0] * 8, None, None), FINE, SETTINGS) is None
    assert begins(1, servers(100.0, 100.0, 100.0, -inf, -inf), [], SETTINGS) is not None


def test_not_looked_at_yet() -> None:
    """A server that neither works nor was seen to fail by enough vantages leaves it open."""
    undecided = Fresh("s9", 1, works=False, failing_since=None)
    assert begins(1, [*servers(*[100.0] * 3), undecided], FINE, SETTINGS) is None
    assert begins(1, [*servers(*[100.0] * 9), undecided], FINE, SETTINGS) is not None


def test_its_end() -> None:
    """It ends once half of its servers answer; nobody measuring them is no answer."""
    hold = Hold(1, 1, 100.0, None, None, ["s0", "s1", "s2", "s3"])
    assert not ends(hold, [])
    assert not ends(hold, servers(100.0, 100.0, 100.0, None))
    assert ends(hold, servers(100.0, 100.0, None, None))


@pytest.mark.parametrize(
    ("ended", "verdict", "keeps", "excludes"),
    [
        (None, None, True, True),
        (None, "ours", True, True),
        (None, "down", False, False),
        (200.0, None, False, True),
        (200.0, "ours", False, True),
        (200.0, "down", False, False),
    ],
)
def test_what_it_does(ended: float | None, verdict: str | None, keeps: object, excludes: object) -> None:
    """States are kept while it goes on, failures left out for ever, unless the provider was down."""
    hold = Hold(1, 1, 100.0, ended, verdict, [])  # type: ignore[arg-type]
    assert (hold.keeps, hold.excludes) == (keeps, excludes)
