"""A vantage's own line: what fails while nothing succeeds."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sonde_collector.health.entries import VERDICT, Verdicts
from sonde_collector.health.lines import Gap, Line, judge, notice

S = 1_000_000


def rows(*results: tuple[int, int, int, int]) -> tuple[Verdicts, NDArray[np.int64]]:
    """Results (second, thing, owner, ok) of one vantage."""
    made = np.array([(thing, 1, 0, at * S, ok, 0, 0, 1.0) for at, thing, _, ok in results], VERDICT)
    return made, np.array([thing << 32 | owner for _, thing, owner, _ in results], np.int64)


def outage(*owners: int) -> list[tuple[int, int, int, int]]:
    """Things of these owners that were well at second 10 and fail at 20."""
    well = [(10, thing, owner, 1) for thing, owner in enumerate(owners, 1)]
    return well + [(20, thing, owner, 0) for thing, owner in enumerate(owners, 1)]


def down(
    seen: dict[int, tuple[Verdicts, NDArray[np.int64]]], lines: dict[int, Line] | None = None
) -> dict[int, list[int]]:
    """The beginnings [s] of each vantage's stretches."""
    lines = lines or {probe: Line(10 * S) for probe in seen}
    return {
        probe: [gap.start // S for gap in gaps] for probe, (_, gaps) in judge(lines, seen).items() if gaps
    }


def test_all_at_once_is_the_line() -> None:
    """What was well at three things of two owners fails, and nothing succeeds: the line."""
    assert down({1: rows(*outage(1, 1, 2))}) == {1: [10]}
    assert down({1: rows(*outage(1, 2))}) == {1: [10]}


def test_one_owner_is_not_the_line() -> None:
    """Things of one owner may fail together, and what was dead before proves nothing."""
    assert down({1: rows(*outage(1, 1, 1))}) == {}
    dead = [(at, thing, thing, 0) for at in (5, 15) for thing in (5, 6, 7)]
    assert down({1: rows(*dead, (10, 1, 1, 1), (10, 2, 2, 1), (20, 1, 1, 0))}) == {}


def test_what_most_vantages_see_is_no_line() -> None:
    """If others see the same it is the world that fails."""
    one = rows(*outage(1, 2, 3))
    fine = rows((10, 1, 1, 1), (20, 2, 2, 1))
    assert down({1: one, 2: fine, 3: fine}, {1: Line(10 * S), 2: Line(20 * S), 3: Line(20 * S)}) == {1: [10]}
    assert down({1: one, 2: one, 3: fine}, {1: Line(10 * S), 2: Line(10 * S), 3: Line(20 * S)}) == {}


def test_a_closed_stretch_stays() -> None:
    """Once the line is back the stretch is remembered, also when few of its results are."""
    line = notice(Line(10 * S), [30 * S])
    results = [*outage(1, 2, 3), (30, 1, 1, 1)]
    (kept, gaps), *_ = judge({1: line}, {1: rows(*results)}).values()
    assert kept == Line(30 * S, (Gap(10 * S, 30 * S, ours=True),))
    assert list(gaps) == [Gap(10 * S, 30 * S, ours=True)]
    (again, gaps), *_ = judge({1: kept}, {1: rows((20, 3, 3, 0), (30, 1, 1, 1))}).values()
    assert again == kept
    assert len(gaps) == 1


@given(st.sets(st.integers(0, 200), min_size=1), st.data())
def test_gaps_do_not_depend_on_the_order(seconds: set[int], data: st.DataObject) -> None:
    """The stretches without a success are those between the successes, in whatever order these come."""
    shuffled = data.draw(st.permutations(sorted(seconds)))
    line = notice(Line(), [min(seconds) * S])
    for at in shuffled:
        line = notice(line, [at * S])
    ordered = sorted(seconds)
    assert line.last_ok == ordered[-1] * S
    assert [(gap.start // S, gap.end // S) for gap in line.gaps] == list(pairwise(ordered))
