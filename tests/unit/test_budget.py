"""The bytes of a day and a month, kept over restarts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.budget import Book, Budget, room


def us(text: str) -> int:
    """A UTC time in µs."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1e6)


NOON = us("2026-03-30T12:00")
APRIL = us("2026-04-01T00:00")


def opened(folder: Path, per_day: int | None = None, per_month: int = 1000) -> Budget:
    """A budget as an agent opens it at its start."""
    budget = Budget(folder / "budget.json", per_day)
    budget.per_month = per_month
    return budget


def test_nothing_without_an_assignment(tmp_path: Path) -> None:
    """Until an assignment gives bytes to the month, no run may start."""
    assert not Budget(tmp_path / "budget.json").book(1, NOON)


def test_day_and_month_bound(tmp_path: Path) -> None:
    """A run starts only where both the day and the month have room for all it may cost."""
    budget = opened(tmp_path, per_day=400)
    assert budget.book(400, NOON)
    assert not budget.book(1, NOON)
    tomorrow = us("2026-03-31T00:00")
    assert budget.room(tomorrow) == 400
    assert budget.book(400, tomorrow)
    assert opened(tmp_path).room(tomorrow) == 200
    assert budget.room(APRIL) == 400


def test_booked_before_the_run(tmp_path: Path) -> None:
    """An agent killed in a run has booked its bytes; one that ended pays what it used."""
    budget = opened(tmp_path)
    assert budget.book(600, NOON)
    assert opened(tmp_path).room(NOON) == 400
    budget.settle(600, 100, NOON)
    assert opened(tmp_path).room(NOON) == 900


def test_midnight_within_a_run(tmp_path: Path) -> None:
    """A run over the month's end counts for the new one with what it used."""
    budget = opened(tmp_path)
    assert budget.book(600, us("2026-03-31T23:59"))
    budget.settle(600, 250, APRIL)
    assert budget.room(APRIL) == 750


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"day": 1}', "\0\0\0"])
def test_damaged_file(tmp_path: Path, text: str) -> None:
    """A file that is none of ours is told and counted from nothing; the next run replaces it."""
    (tmp_path / "budget.json").write_text(text)
    assert opened(tmp_path).book(1, NOON)
    assert opened(tmp_path).room(NOON) == 999


def test_unwritable_folder(tmp_path: Path) -> None:
    """A disk that takes nothing ends no run: the bytes are counted in memory."""
    budget = Budget(tmp_path / "missing" / "budget.json")
    budget.per_month = 10
    assert budget.book(10, NOON)
    assert budget.room(NOON) == 0


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(0, 500)), max_size=40),
    st.integers(0, 1000) | st.none(),
    st.integers(0, 5000),
)
def test_against_brute_force(runs: list[tuple[int, int]], per_day: int | None, per_month: int) -> None:
    """Over any days in order, the room is what a list of all runs says."""
    book, done, first = Book(), list[tuple[str, int]](), us("2026-01-15T08:00")
    for day, size in sorted(runs):
        now = first + day * 86_400_000_000
        date = datetime.fromtimestamp(now / 1e6, UTC).date().isoformat()
        left = per_month - sum(used for then, used in done if then[:7] == date[:7])
        if per_day is not None:
            left = min(left, per_day - sum(used for then, used in done if then == date))
        assert room(book, now, per_day, per_month) == max(left, 0)
        if size <= left:
            book, done = book.at(now).plus(size), [*done, (date, size)]
