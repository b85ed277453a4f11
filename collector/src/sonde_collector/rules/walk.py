"""One cassette walked through: what was asked and answered, which entry decided, why those before did not."""

from collections.abc import Iterator

import attrs

from sonde_collector.rules import play, words
from sonde_unlock.cassette import Cassette, Unmatched
from sonde_unlock.exchange import Exchange
from sonde_unlock.model import Condition, Entry, Group, Quantifier, Rule
from sonde_unlock.verdict import Judgement, Verdict


def lines(rule: Rule, cassette: Cassette) -> Iterator[str]:
    """Give the walk line by line."""
    yield f"{play.label(cassette)}:"
    try:
        judgement = play.judge(rule, cassette)
    except Unmatched as error:
        yield f"  the cassette has no answer to {error}"
        return
    step = ""
    for exchange in judgement.trace:
        if exchange.request.step != step:
            step = exchange.request.step
            yield f"  step {step}"
        yield f"    {exchange.request.method} {exchange.request.url}"
        yield f"      {_answer(exchange)}"
    asked = {exchange.request.step for exchange in judgement.trace}
    for each in rule.steps:
        if each.id not in asked:
            yield f"  step {each.id} was not asked"
    yield "  the list of verdicts"
    for number, entry in enumerate(rule.verdicts, 1):
        if number == judgement.decided.by:
            yield f"    {number} {words.outcome(entry)}: holds, and decides: {words.conditions(entry.when)}"
            break
        yield f"    {number} {words.outcome(entry)}: {_why_not(rule, cassette, entry)}"
    yield f"  verdict: {said(judgement)}"
    if judgement.decided.by == 0:
        yield f"    none of the list: the engine's own {judgement.decided.marker or 'default'}"
    if judgement.detail:
        yield f"    {judgement.detail}"


def said(judgement: Judgement) -> str:
    """Give a judgement in few words. **Pure**."""
    scope = f" ({judgement.scope})" if judgement.scope else ""
    return judgement.verdict.value + scope + (f", region {judgement.region}" if judgement.region else "")


def _answer(exchange: Exchange) -> str:
    if exchange.error is not None:
        return f"no answer: {exchange.error.value}"
    location = exchange.header("location")
    leads = f", leads to {location}" if location else ""
    return f"{exchange.status}{leads}, {len(exchange.body)} bytes{' (cut off)' if exchange.truncated else ''}"


def _why_not(rule: Rule, cassette: Cassette, entry: Entry) -> str:
    for condition in entry.when:
        if not _holds(rule, cassette, condition):
            known = _holds(rule, cassette, Group(Quantifier.NONE, (condition,)))
            return f"{'does not hold' if known else 'can not be told'}: {words.condition(condition)}"
    return "holds, and may not decide: something that the rule needs was not found"


def _holds(rule: Rule, cassette: Cassette, condition: Condition) -> bool:
    """Ask the engine itself: the same rule, with this condition as its only entry."""
    alone = attrs.evolve(rule, verdicts=(Entry((condition,), Verdict.INCONCLUSIVE),))
    return play.judge(alone, cassette).decided.by == 1
