"""From what a run saw to its verdict: the rule's list, then what the engine knows by itself. No default."""

from collections.abc import Mapping

import attrs

from sonde_unlock.answer import Answer
from sonde_unlock.exchange import Error, Exchange
from sonde_unlock.guards import host_of, retry_after_s
from sonde_unlock.match import Seen, every, holds
from sonde_unlock.model import Entry, Rule
from sonde_unlock.regions import REGIONS
from sonde_unlock.say import deciding, marker, scrub
from sonde_unlock.template import as_text
from sonde_unlock.verdict import Decided, Judgement, Verdict

OFFERED = (Verdict.AVAILABLE, Verdict.PARTIAL)
REFUSED = (Verdict.PROXY_DETECTED, Verdict.BLOCKED)
TOO_MANY_REQUESTS = 429


@attrs.frozen
class Outcome:
    """What a run saw.

    Attributes:
        origins: of captured variables: the step and the answer that gave it.
        missing: names of required captures that found nothing.
        unasked: steps that could not be asked, and why.
        hidden: values that no message may show, longest first.
    """

    seen: Seen
    origins: Mapping[str, tuple[str, Answer]]
    missing: tuple[str, ...]
    unasked: Mapping[str, str]
    trace: tuple[Exchange, ...] = attrs.field(repr=False)
    hidden: tuple[str, ...] = attrs.field(repr=False)

    def judged(
        self, verdict: Verdict, decided: Decided, detail: str, *, scope: str = "", region: str = ""
    ) -> Judgement:
        """Make the judgement, its detail scrubbed. **Pure.**"""
        return Judgement(verdict, scope, region, decided, scrub(detail, self.hidden), self.trace)


def judge(rule: Rule, outcome: Outcome, *, plain_tls: bool, family: int) -> Judgement:
    """Judge a run. **Pure.**"""
    judgement = _listed(rule, outcome) or _guarded(outcome, family)
    if plain_tls and rule.client.profile == "browser" and judgement.verdict in REFUSED:
        said = f"refused ({judgement.verdict}), but not as a browser: plain TLS. {judgement.detail}"
        return attrs.evolve(
            judgement, verdict=Verdict.INCONCLUSIVE, scope="", detail=scrub(said, outcome.hidden)
        )
    return judgement


def _listed(rule: Rule, outcome: Outcome) -> Judgement | None:
    for number, entry in enumerate(rule.verdicts, 1):
        if every(holds(condition, outcome.seen) for condition in entry.when) is not True:
            continue
        if entry.verdict in OFFERED and outcome.missing:
            continue
        condition, step, answer = deciding(entry, outcome.seen, outcome.origins)
        decided = Decided(
            by=number,
            step=step,
            marker=marker(condition),
            host=host_of(answer.final_url) if answer else "",
            status=answer.last.status if answer else 0,
        )
        detail = f"{entry.detail}: {_said(decided)}" if entry.detail else _said(decided)
        return outcome.judged(
            entry.verdict, decided, detail, scope=entry.scope, region=_region(entry, outcome)
        )
    return None


def _said(decided: Decided) -> str:
    if not decided.host:
        return decided.marker
    answered = (
        f"{decided.host} answered {decided.status}" if decided.status else f"no answer of {decided.host}"
    )
    return f"{decided.step}: {decided.marker} ({answered})"


def _region(entry: Entry, outcome: Outcome) -> str:
    if entry.region_const:
        return entry.region_const
    value = outcome.seen.values.get(entry.region) if entry.region else None
    text = as_text(value).upper() if value is not None and not isinstance(value, tuple) else ""
    return text if text in REGIONS else ""


def _guarded(outcome: Outcome, family: int) -> Judgement:
    asked = [(step, answer) for step, answers in outcome.seen.answers.items() for answer in answers]
    if asked and not any(answer.arrived for _, answer in asked):
        step, first = asked[0]
        if family == 6 and all(answer.error is Error.NO_ADDRESS for _, answer in asked):  # noqa: PLR2004
            name = host_of(first.final_url)
            return outcome.judged(
                Verdict.UNSUPPORTED_FAMILY,
                _decided(step, first, "no IPv6 address"),
                f"{name} has no IPv6 address",
            )
        said = (
            f"{step}: {first.error}: {first.last.detail}" if first.last.detail else f"{step}: {first.error}"
        )
        return outcome.judged(Verdict.NETWORK_ERROR, _decided(step, first, f"error {first.error}"), said)
    for step, answer in asked:
        if answer.last.status == TOO_MANY_REQUESTS:
            wait = retry_after_s(answer.last)
            said = f"{step}: asked too often" + (f"; come back in {wait:.0f} s" if wait else "")
            judgement = outcome.judged(Verdict.RATE_LIMITED, _decided(step, answer, "status 429"), said)
            return attrs.evolve(judgement, retry_after_s=wait)
    for step, answer in asked:
        if answer.challenge:
            said = f"{step}: {host_of(answer.final_url)} shows a challenge page ({answer.challenge})"
            return outcome.judged(
                Verdict.BLOCKED, _decided(step, answer, f"challenge {answer.challenge}"), said
            )
    return _inconclusive(outcome, asked)


def _decided(step: str, answer: Answer, marker: str) -> Decided:
    return Decided(0, step, marker, host_of(answer.final_url), answer.last.status)


def _inconclusive(outcome: Outcome, asked: list[tuple[str, Answer]]) -> Judgement:
    reasons = [f"{name} was not found" for name in outcome.missing]
    reasons += [f"{step}: {answer.error}" for step, answer in asked if not answer.arrived]
    reasons += [f"{step}: the redirect was not followed: {a.stopped}" for step, a in asked if a.stopped]
    reasons += [f"{step}: the body was cut" for step, a in asked if a.arrived and a.last.truncated]
    reasons += [
        f"{step}: an empty body ({a.last.status})" for step, a in asked if a.arrived and not a.last.body
    ]
    reasons += [f"{step} was not asked: {why}" for step, why in outcome.unasked.items()]
    name = "required capture" if outcome.missing else "nothing matched"
    if not asked:
        return outcome.judged(
            Verdict.INCONCLUSIVE, Decided(0, "", name), "; ".join(reasons) or "the rule asked nothing"
        )
    step, answer = asked[-1]
    answered = ", ".join(f"{step} {answer.last.status}" for step, answer in asked if answer.arrived)
    said = "; ".join([*dict.fromkeys(reasons), f"nothing that the rule knows ({answered})"])
    return outcome.judged(Verdict.INCONCLUSIVE, _decided(step, answer, name), said)
