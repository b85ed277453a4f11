"""Whole turns without a database: who counts, and that nothing depends on how results came."""

from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sonde_collector.health.decide import Decided, Remembered, decide
from sonde_collector.health.entries import VERDICT, Verdicts, fold
from sonde_collector.health.kept import Kept, Key
from sonde_collector.health.settings import Settings
from sonde_collector.health.watched import Thing, Vantage, Watched

NOW = 1_800_000_000.0
SETTINGS = Settings()
Result = tuple[int, int, int, bool]
"""Server, vantage, seconds before NOW, whether it was well."""


def watched(unfit: Sequence[str] = ("", "", ""), servers: int = 4) -> Watched:
    """Vantages 1 … of which some are unfit, and servers 1 …, each of another provider."""
    return Watched(
        {i: Thing("server", i, f"s{i}", SETTINGS, i, i) for i in range(1, servers + 1)},
        {},
        {i: Vantage(i, f"v{i}", why) for i, why in enumerate(unfit, 1)},
        {i: f"p{i}" for i in range(1, servers + 1)},
        dict.fromkeys(range(1, servers + 1), SETTINGS),
        {1: "WireGuard"},
        (),
        (),
        {},
    )


def verdicts(results: Iterable[Result]) -> Verdicts:
    """The results as ingestion tells them."""
    made = [(one, probe, 8, round((NOW - age) * 1e6), ok, 1 - ok, 0, 1.0) for one, probe, age, ok in results]
    return np.array(made, VERDICT)


def turn(
    world: Watched, known: Verdicts, new: Verdicts, states: dict[Key, Kept], now: float = NOW
) -> tuple[Verdicts, Decided]:
    """One turn; `states` is brought up to date."""
    folded = fold(known, new, lambda _: SETTINGS.window)
    none = verdicts([])
    memory = Remembered({"server": folded, "target": none}, {"server": new, "target": none}, states, None)
    decided = decide(world, memory, now)
    states.update(decided.states)
    return folded, decided


_RESULTS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 900), st.booleans()),
    max_size=60,
    unique_by=lambda one: one[:3],
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_RESULTS, max_size=4), st.sampled_from(["is silent", "is not ready: clock", "is not ready"]))
def test_unfit_vantages_judge_nothing(pieces: list[list[Result]], why: str) -> None:
    """Whatever unfit vantages measured, nothing is ever anything but UNKNOWN, and nothing is told."""
    world, known, states = watched((why, why, why)), verdicts([]), dict[Key, Kept]()
    for piece in pieces:
        known, decided = turn(world, known, verdicts(piece), states)
        assert {kept.standing.state for kept in states.values()} == {"UNKNOWN"}
        assert (decided.events, decided.begins, decided.held) == ([], [], [])


@settings(max_examples=60, deadline=None)
@given(_RESULTS, st.data())
def test_how_results_come_does_not_matter(results: list[Result], data: st.DataObject) -> None:
    """Late, doubled and in any order: the windows are those of all at once, and so is what vantages say."""
    whole, decided = turn(watched(), verdicts([]), verdicts(results), {})
    shuffled = data.draw(st.permutations(results))
    known = verdicts([])
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        piece = verdicts([*shuffled[:size], *shuffled[: size // 2]])
        known = fold(known, piece, lambda _: SETTINGS.window)
        shuffled = shuffled[size:]
    assert known.tolist() == whole.tolist()
    _, again = turn(watched(), known, verdicts(results), {})
    assert again.states == decided.states


@settings(max_examples=60, deadline=None)
@given(_RESULTS, st.floats(3 * 86_400.0, 1e6))
def test_old_results_are_unknown(results: list[Result], later: float) -> None:
    """Without new results every state becomes UNKNOWN, never UNHEALTHY; a second look changes nothing."""
    states: dict[Key, Kept] = {}
    known, _ = turn(watched(), verdicts([]), verdicts(results), states)
    known, _ = turn(watched(), known, verdicts([]), states, NOW + later)
    assert {kept.standing.state for kept in states.values()} == {"UNKNOWN"}
    _, again = turn(watched(), known, verdicts([]), states, NOW + later)
    assert (again.states, again.changes, again.events) == ({}, [], [])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 8), st.integers(0, 3))
def test_a_lost_line_is_no_fault_of_servers(rounds: int, single: int) -> None:
    """A vantage at which everything fails at once is left out; alone it leaves all UNKNOWN."""
    world = watched(("",) * (1 if single == 0 else 3))
    well = [
        (one, probe, 200 - 10 * i, True) for i in range(4) for one in range(1, 5) for probe in world.vantages
    ]
    lost = [(one, 1, 150 - 10 * i, False) for i in range(rounds) for one in range(1, 5)]
    others = [
        (one, probe, 150 - 10 * i, True)
        for i in range(rounds) for one in range(1, 5) for probe in world.vantages if probe != 1
    ]  # fmt: skip
    states: dict[Key, Kept] = {}
    known, _ = turn(world, verdicts([]), verdicts(well), states)
    assert {kept.standing.state for kept in states.values()} == {"HEALTHY"}
    turn(world, known, verdicts([*lost, *others]), states)
    wanted = "UNKNOWN" if single == 0 else "HEALTHY"
    assert {kept.standing.state for kept in states.values()} == {wanted}
