"""Rules tried on their cassettes: what each makes of the answers, and of those with a marker gone."""

from collections.abc import Sequence

import attrs

from sonde_collector.rules import mutate, play
from sonde_collector.rules.walk import said
from sonde_unlock.cassette import Cassette, Unmatched
from sonde_unlock.model import Rule
from sonde_unlock.verdict import Judgement, Verdict


@attrs.frozen
class Played:
    """One cassette against its rule.

    Attributes:
        label: of the cassette.
        said: what the rule made of it.
        decided: number of the entry that decided; 0 = the engine.
        wrong: what is not as the cassette expects; () = all is.
    """

    label: str
    said: str
    decided: int
    wrong: tuple[str, ...]


@attrs.frozen
class Mutated:
    """One cassette without one marker of the entry that decided.

    Attributes:
        label: of the cassette.
        marker: that was taken out.
        said: what the rule made of the rest.
        good: it claimed nothing else.
    """

    label: str
    marker: str
    said: str
    good: bool


@attrs.frozen
class Trial:
    """What a rule does on all its cassettes.

    Attributes:
        unreached: numbers of the entries that no cassette reaches.
        mutated: () = it was not asked for.
    """

    played: tuple[Played, ...]
    unreached: tuple[int, ...]
    mutated: tuple[Mutated, ...]

    @property
    def good(self) -> bool:
        """Whether everything is as it must be."""
        return (
            bool(self.played)
            and not self.unreached
            and not any(each.wrong for each in self.played)
            and all(each.good for each in self.mutated)
        )


def attempt(rule: Rule, cassettes: Sequence[Cassette], *, mutations: bool) -> Trial:
    """Play every cassette of a rule; with `mutations`, again without each marker that decided."""
    played, mutated, reached = [], [], set[int]()
    for cassette in cassettes:
        judgement, one = _play(rule, cassette)
        played.append(one)
        reached.add(one.decided)
        if mutations and not one.wrong and judgement:
            mutated += _without_each(rule, cassette, judgement)
    unreached = tuple(number for number in range(1, len(rule.verdicts) + 1) if number not in reached)
    return Trial(tuple(played), unreached, tuple(mutated))


def _play(rule: Rule, cassette: Cassette) -> tuple[Judgement | None, Played]:
    """Play a cassette in each family that it is for; None = the rule asks what it does not answer."""
    label, wrong, judgement = play.label(cassette), list[str](), None
    for family in play.families(cassette):
        try:
            judgement = play.judge(rule, cassette, family=family)
        except Unmatched as error:
            return None, Played(label, "no verdict", 0, (f"it has no answer to {error}",))
        wrong += _wrong(cassette, judgement)
    assert judgement is not None
    return judgement, Played(label, said(judgement), judgement.decided.by, tuple(dict.fromkeys(wrong)))


def _wrong(cassette: Cassette, judgement: Judgement) -> list[str]:
    """Compare a judgement with what the cassette expects."""
    wrong = []
    for name, wanted, got in play.compared(cassette, judgement):
        if wanted != got:
            wrong.append(f'{name} is "{got}", expected "{wanted}"')
    if wrong and judgement.detail:
        wrong.append(judgement.detail)
    return wrong


def _without_each(rule: Rule, cassette: Cassette, whole: Judgement) -> list[Mutated]:
    tried = []
    entry = rule.verdicts[whole.decided.by - 1] if whole.decided.by else None
    for marker in mutate.markers(rule, entry) if entry else ():
        if not any(marker.without(exchange) is not exchange for exchange in whole.trace):
            continue  # this cassette does not have it: another of several that would do decided
        less = play.judge(rule, cassette, marker.without)
        # Another marker may show the same: then the verdict rests on two, and one may go.
        same = (less.verdict, less.scope) == (whole.verdict, whole.scope)
        good = same or less.verdict is Verdict.INCONCLUSIVE
        tried.append(Mutated(play.label(cassette), marker.words, said(less), good))
    if cassette.tls == "browser":
        less = play.judge(rule, cassette, plain_tls=True)
        good = less.verdict is Verdict.INCONCLUSIVE
        tried.append(Mutated(play.label(cassette), "a browser's TLS", said(less), good))
    return tried
