"""What one vantage says: a run of the threshold's length decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.health.settings import Settings, settle
from sonde_collector.health.words import Check, Spoken, Word, speak, together, word_of

SETTINGS = Settings()


def checks(text: str) -> list[Check]:
    """Checks a minute apart: "o" well, "s" slow, "x" failing."""
    return [
        Check(60.0 * i, letter != "x", letter == "s", "timeout" if letter == "x" else "")
        for i, letter in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", None),
        ("oo", None),
        ("x", None),
        ("ooo", Word.WELL),
        ("xx", Word.FAILING),
        ("ooox", Word.WELL),
        ("oooxx", Word.FAILING),
        ("xxoo", Word.FAILING),
        ("xxooo", Word.WELL),
        ("oooxoxox", Word.WELL),
        ("xoxoxoxoxo", Word.UNSTEADY),
        ("xoxoxoxox", None),
        ("ooso", Word.WELL),
        ("ooss", Word.SLOW),
        ("ossoo", Word.SLOW),
        ("ssooo", Word.WELL),
        ("osxs", None),
    ],
)
def test_runs(text: str, word: Word | None) -> None:
    """Two failures in a row are failing, three successes well; one alone decides nothing."""
    assert word_of(checks(text), SETTINGS) is word


@given(st.text("ox", max_size=10))
def test_a_word_needs_its_run(text: str) -> None:
    """It is failing or well only if that many in a row say so, and no such run of the other came after."""
    word = word_of(checks(text), SETTINGS)
    fails, well = text.rfind("xx"), text.rfind("ooo")
    if word is Word.FAILING:
        assert fails > well
    elif word is Word.WELL:
        assert well > fails
    else:
        assert (fails, well) == (-1, -1)


def test_old_results_say_nothing() -> None:
    """A series speaks for thrice its usual interval, ten minutes at least, or as long as is set."""
    listed = checks("ooo")
    assert speak(listed, 120.0 + 600, SETTINGS) == Spoken(Word.WELL)
    assert speak(listed, 120.0 + 601, SETTINGS) is None
    slow = [Check(3600.0 * i, ok=True) for i in range(4)]
    assert speak(slow, 3 * 3600 + 3 * 3600, SETTINGS) is not None
    assert speak(slow, 3 * 3600 + 3 * 3600 + 1, SETTINGS) is None
    assert speak(listed, 151.0, settle({"stale_after": 30.0})) is None


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ((Word.WELL, Word.WELL), Word.WELL),
        ((Word.FAILING, Word.FAILING), Word.FAILING),
        ((Word.FAILING, Word.WELL), Word.PARTLY),
        ((Word.UNSTEADY, Word.WELL), Word.UNSTEADY),
        ((Word.SLOW, Word.WELL), Word.SLOW),
        ((Word.SLOW, Word.FAILING), Word.PARTLY),
    ],
)
def test_series_together(words: tuple[Word, ...], word: Word) -> None:
    """A vantage says that a thing fails only if it does by every protocol and address."""
    assert together({str(i): Spoken(one) for i, one in enumerate(words)}).word is word
