"""A rule whose markers have changed says that it does not know; it never says something else."""

import pytest
from support.unlock_marks import Alteration, Mark, marks
from support.unlock_rules import every_cassette, name_of, play, rule

from sonde_unlock.cassette import Cassette
from sonde_unlock.verdict import Judgement, Verdict

TELLING = (Verdict.AVAILABLE, Verdict.PARTIAL, Verdict.NOT_IN_REGION, Verdict.PROXY_DETECTED, Verdict.BLOCKED)
CASES = [one for one in every_cassette() if one.expect.verdict in TELLING and play(one).decided.by]


def _mutants(cassette: Cassette) -> list[tuple[tuple[Mark, ...], str]]:
    entry = rule(cassette.slug).verdicts[play(cassette).decided.by - 1]
    return [(group, how) for group in marks(rule(cassette.slug), entry) for how in ("drop", "change")]


def _played(cassette: Cassette, alteration: Alteration) -> Judgement:
    return play(cassette, alteration)


def _said(change: Alteration, judgement: Judgement) -> str:
    return f"{change.how} {change.marks} only={change.only}: {judgement.verdict}: {judgement.detail}"


@pytest.mark.parametrize("cassette", CASES, ids=name_of)
def test_without_a_marker_nothing_else_is_concluded(cassette: Cassette) -> None:
    """Each marker of what decided, dropped and changed everywhere: the engine's word, or inconclusive."""
    decided, seen = play(cassette).decided.by, 0
    for group, how in _mutants(cassette):
        change = Alteration(group, how)
        judgement = _played(cassette, change)
        seen += change.altered
        if change.altered:
            assert judgement.decided.by != decided, _said(change, judgement)
            assert judgement.decided.by == 0 or judgement.verdict is cassette.expect.verdict, _said(
                change, judgement
            )
    assert seen, "no mutation changed anything"


@pytest.mark.parametrize("cassette", CASES, ids=name_of)
def test_one_answer_that_differs_never_turns_a_verdict(cassette: Cassette) -> None:
    """Each marker in one answer alone: the same verdict by what is left, or none."""
    for group, how in _mutants(cassette):
        for number in range(1, 8):
            change = Alteration(group, how, only=number)
            judgement = _played(cassette, change)
            if change.altered < number:
                break
            assert judgement.decided.by == 0 or judgement.verdict is cassette.expect.verdict, _said(
                change, judgement
            )


@pytest.mark.parametrize("cassette", CASES, ids=name_of)
def test_a_verdict_of_the_list_needs_every_marker_it_names(cassette: Cassette) -> None:
    """Every group of marks of the deciding entry is found in the cassette, so that no mutation is idle."""
    idle = []
    for group, how in _mutants(cassette):
        play(cassette, alteration := Alteration(group, how))
        if how == "change" and not alteration.altered:
            idle.append(group)
    assert idle == []
