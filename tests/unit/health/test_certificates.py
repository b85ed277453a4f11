"""Certificates that end soon are told of at each threshold, once."""

from sonde_collector.health.certificates import DAY_S, Certificate, look

DAYS = (30, 14, 7, 1)
NOW = 1_000_000.0


def ending(*days: float) -> list[Certificate]:
    """Certificates of addresses a0, a1 … with so many days left."""
    return [Certificate(f"a{i}", NOW + left * DAY_S) for i, left in enumerate(days)]


def test_each_threshold_once() -> None:
    """From 30 days on each threshold is told once, the last ones as critical, and the renewal ends it."""
    told, notices = None, []
    for left in (40, 29, 28, 13.5, 6, 6, 0.5, -1):
        now = NOW + (40 - left) * DAY_S
        told, notice = look(ending(40), told, DAYS, now)
        notices += [(notice.days, notice.severity)] if notice else []
    assert notices == [(30, "warning"), (14, "warning"), (7, "critical"), (1, "critical")]
    told, notice = look(ending(90), told, DAYS, NOW)
    assert told is None
    assert notice is not None
    assert (notice.days, notice.severity) == (None, "info")
    assert look(ending(90), None, DAYS, NOW) == (None, None)


def test_the_first_to_end_counts() -> None:
    """Of several addresses the one that ends first is named; no sight of any changes nothing."""
    told, notice = look(ending(90, 10), None, DAYS, NOW)
    assert notice is not None
    assert (notice.days, notice.addresses) == (14, ("a1",))
    assert look([], told, DAYS, NOW) == (told, None)
    _, again = look(ending(90, 12), told, DAYS, NOW)
    assert again is not None  # another certificate, that ends soon as well
