"""What one vantage says of one object, from its newest results. **Pure.**

A run of the threshold's length decides, the newest run first. Results that have no such run among the
remembered ones are unsteady: a verdict of its own, so nothing older than these results is needed to judge.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from statistics import median

from attrs import frozen

from sonde_collector.health.settings import Settings

LEAST_STALE_S = 600.0
_MOST_STALE_S = 2 * 86_400.0
_INTERVALS = 3


class Word(StrEnum):
    """What a vantage says."""

    WELL = "well"
    SLOW = "slow"
    UNSTEADY = "unsteady"
    PARTLY = "partly failing"
    FAILING = "failing"


@frozen
class Check:
    """One result. `at` in seconds since 1970."""

    at: float
    ok: bool
    slow: bool = False
    failure: str = ""


@frozen
class Spoken:
    """What one series says.

    Attributes:
        failure: of its newest failing result, in a word; "" where there is none.
    """

    word: Word
    failure: str = ""


WELL = Spoken(Word.WELL)


@frozen
class Said:
    """What one vantage says of an object.

    Attributes:
        word: of all its series together.
        series: word of each protocol or address.
        failure: of a failing result, in a word; "" where there is none.
    """

    word: Word
    series: Mapping[str, Word]
    failure: str = ""


def word_of(checks: Sequence[Check], settings: Settings) -> Word | None:
    """Give what a series says; None = not enough results yet.

    Args:
        checks: oldest first, at most `settings.window`.
        settings: the thresholds.
    """
    failing = _decide([not check.ok for check in checks], settings)
    if failing is None:
        return Word.UNSTEADY if len(checks) >= settings.window else None
    if failing:
        return Word.FAILING
    slow = _decide([check.slow for check in checks if check.ok], settings)
    return Word.SLOW if slow else Word.WELL


def _decide(bad: Sequence[bool], settings: Settings) -> bool | None:
    """Give whether the newest decisive run is of bad results; None = there is none."""
    at = len(bad) - 1
    while at >= 0:
        kind, run = bad[at], 0
        needed = settings.unhealthy_threshold if kind else settings.healthy_threshold
        while at >= 0 and bad[at] == kind:
            run += 1
            if run >= needed:
                return kind
            at -= 1
    return None


def stale_after(checks: Sequence[Check], settings: Settings) -> float:
    """Give after how many seconds without a result a series says nothing any more."""
    if settings.stale_after is not None:
        return settings.stale_after
    if len(checks) < 2:  # noqa: PLR2004 -- no interval
        return LEAST_STALE_S
    usual = median(later.at - sooner.at for sooner, later in pairwise(checks))
    return min(max(LEAST_STALE_S, _INTERVALS * usual), _MOST_STALE_S)


def speak(checks: Sequence[Check], now: float, settings: Settings) -> Spoken | None:
    """Give what a series says; None = nothing that counts now: too few results, or too old ones.

    Args:
        checks: oldest first.
        now: [s since 1970].
        settings: the thresholds.
    """
    if not checks or now - checks[-1].at > stale_after(checks, settings):
        return None
    word = word_of(checks[-settings.window :], settings)
    if word is None:
        return None
    if word is Word.WELL:
        return WELL
    failure = next((check.failure for check in reversed(checks) if not check.ok), "")
    return Spoken(word, failure)


def together(series: Mapping[str, Spoken]) -> Said:
    """Give what a vantage says of all its series, at least one."""
    words = {name: one.word for name, one in sorted(series.items())}
    failure = next((one.failure for _, one in sorted(series.items()) if one.failure), "")
    return Said(_joined(words.values()), words, failure)


def _joined(words: Iterable[Word]) -> Word:
    distinct = set(words)
    if len(distinct) == 1:
        return distinct.pop()
    if Word.FAILING in distinct:
        return Word.PARTLY
    return Word.UNSTEADY if Word.UNSTEADY in distinct else Word.SLOW
