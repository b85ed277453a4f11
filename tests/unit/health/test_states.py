"""The state machine: quorum, flapping, and what is told."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.health.settings import Settings, settle
from sonde_collector.health.states import (
    DEGRADED,
    HEALTHY,
    PAUSED,
    UNHEALTHY,
    UNKNOWN,
    Change,
    Seen,
    Standing,
    State,
    advance,
    as_json,
    from_json,
    judge,
)
from sonde_collector.health.words import Said, Word

SETTINGS = Settings()
STATES: tuple[State, ...] = (HEALTHY, DEGRADED, UNHEALTHY, UNKNOWN)


def say(*words: Word) -> dict[str, Said]:
    """What vantages v0, v1 … say."""
    return {f"v{i}": Said(word, {"": word}, "timeout") for i, word in enumerate(words)}


@pytest.mark.parametrize(
    ("failing", "of", "needed", "state"),
    [
        (0, 5, 0.6, HEALTHY),
        (1, 5, 0.6, DEGRADED),
        (2, 5, 0.6, DEGRADED),
        (3, 5, 0.6, UNHEALTHY),
        (1, 1, 0.6, UNHEALTHY),
        (1, 2, 0.6, DEGRADED),
        (2, 2, 0.6, UNHEALTHY),
        (1, 2, 0.5, UNHEALTHY),
        (4, 5, "all", DEGRADED),
        (5, 5, "all", UNHEALTHY),
        (2, 5, 2, UNHEALTHY),
        (1, 1, 2, DEGRADED),
    ],
)
def test_quorum(failing: int, of: int, needed: float | str, state: State) -> None:
    """So many of the vantages that judge make it UNHEALTHY, fewer DEGRADED; a number is never lowered."""
    words = [Word.FAILING] * failing + [Word.WELL] * (of - failing)
    assert judge(say(*words), {}, settle({"vantages_needed": needed})).state == state


def test_reasons() -> None:
    """The reason names the vantages and what fails, or why nobody judges."""
    assert judge(say(Word.FAILING, Word.FAILING, Word.WELL), {}, SETTINGS).reason == (
        "fails from 2 of 3 vantages (v0, v1): timeout"
    )
    assert judge(say(Word.FAILING, Word.WELL), {}, SETTINGS).reason == (
        "fails from 1 of 2 vantages (v0): timeout; 2 needed to call it down"
    )
    assert judge(say(Word.SLOW, Word.WELL), {}, SETTINGS) == Seen(DEGRADED, "slow from v0", ("v0",))
    assert judge({}, {"ams1": "is silent"}, SETTINGS) == Seen(
        UNKNOWN, "no vantage that is fit to judge has measured it lately (ams1 is silent)"
    )


def play(states: Sequence[State], settings: Settings = SETTINGS, step_s: float = 10.0) -> list[Change]:
    """The changes of a sequence of what is seen, one a step."""
    standing, changes = None, []
    for i, state in enumerate(states):
        standing, change = advance(standing, Seen(state, ""), 1000.0 + i * step_s, settings)
        changes += [change] if change else []
    return changes


def test_what_is_told() -> None:
    """Coming to be known as well tells nothing; each change does, once."""
    changes = play([UNKNOWN, HEALTHY, HEALTHY, UNHEALTHY, UNHEALTHY, UNKNOWN, UNHEALTHY, HEALTHY])
    assert [(change.before, change.after, change.tell) for change in changes] == [
        (UNKNOWN, HEALTHY, False),
        (HEALTHY, UNHEALTHY, True),
        (UNHEALTHY, UNKNOWN, True),
        (UNKNOWN, UNHEALTHY, True),
        (UNHEALTHY, HEALTHY, True),
    ]
    assert [change.tell for change in play([UNKNOWN, UNHEALTHY])] == [True]


def test_flapping_is_told_once_and_ends() -> None:
    """Too many changes are DEGRADED and told once; after its rest it is as it is seen."""
    settings = settle({"flap_changes": 4, "flap_window": 1000.0, "flap_rest": 50.0})
    seen: list[State] = [HEALTHY, UNHEALTHY, HEALTHY, UNHEALTHY, HEALTHY, UNHEALTHY, HEALTHY, UNHEALTHY]
    changes = play([*seen, *[HEALTHY] * 8], settings)
    told = [(change.after, change.flapping) for change in changes if change.tell]
    assert told == [
        (UNHEALTHY, False),
        (HEALTHY, False),
        (UNHEALTHY, False),
        (DEGRADED, True),
        (HEALTHY, False),
    ]


_SEEN = st.lists(st.tuples(st.sampled_from(STATES), st.floats(0, 2000)), max_size=40)


@given(_SEEN)
def test_the_same_again_changes_nothing(steps: list[tuple[State, float]]) -> None:
    """Judging twice at one moment is judging once, and what is kept as JSON comes back as it was."""
    standing, now = None, 0.0
    for state, wait in steps:
        now += wait
        standing, _ = advance(standing, Seen(state, "why"), now, SETTINGS)
        again, change = advance(standing, Seen(state, "why"), now, SETTINGS)
        assert (again, change) == (standing, None)
        bare = Standing(standing.state, standing.since, standing.reason, standing.flapping)
        assert from_json(bare, as_json(standing)) == standing


@given(_SEEN)
def test_a_state_is_what_is_seen_or_flapping(steps: list[tuple[State, float]]) -> None:
    """It is as it is seen, or DEGRADED while it flaps; changes chain, and UNKNOWN is never hidden."""
    standing, now, last = None, 0.0, UNKNOWN
    for state, wait in steps:
        now += wait
        standing, change = advance(standing, Seen(state, ""), now, SETTINGS)
        assert standing.state == (DEGRADED if standing.flapping else state)
        assert not (standing.flapping and state == UNKNOWN)
        if change:
            assert (change.before, change.after) == (last, standing.state)
        assert standing.state == last or change
        last = standing.state


def test_what_a_pause_leaves_unknown_is_not_told() -> None:
    """It comes to be UNKNOWN, and back as it was, without a word; worse than before is told."""
    well = advance(None, judge(say(Word.WELL), {}, SETTINGS), 0, SETTINGS)[0]
    seen = judge({}, {"ams1": PAUSED}, SETTINGS)
    assert "ams1 is paused" in seen.reason
    unknown, change = advance(well, seen, 10, SETTINGS)
    assert unknown.state == UNKNOWN
    assert change is not None
    assert not change.tell
    _, back = advance(unknown, judge(say(Word.WELL), {}, SETTINGS), 20, SETTINGS)
    assert back is not None
    assert not back.tell
    _, worse = advance(unknown, judge(say(Word.FAILING), {}, SETTINGS), 20, SETTINGS)
    assert worse is not None
    assert worse.tell
