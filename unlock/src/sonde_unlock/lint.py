"""Whether a rule that can be read is also one that can be believed."""

import re
from collections import Counter
from collections.abc import Iterator

from sonde_unlock.compose import from_answers, where_to
from sonde_unlock.document import Node, Place, Problem
from sonde_unlock.guards import refused
from sonde_unlock.markers import evidence_of, too_weak
from sonde_unlock.model import MAX_REQUESTS, MAX_ROUNDS, Answers, Condition, HasSecret, Rule, Step, VariableIs
from sonde_unlock.references import within
from sonde_unlock.regions import REGIONS
from sonde_unlock.template import names
from sonde_unlock.verdict import Verdict

OFFERED = (Verdict.AVAILABLE, Verdict.PARTIAL)
DATE = re.compile(r"[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?\Z")
BROWSER_OWN = ("user-agent", "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "accept-encoding")


def lint(rule: Rule) -> list[Problem]:
    """Give what is wrong with a rule, in the order of lines; empty = nothing. **Pure.**

    Every offer (available, partial) rests on something seen in an answer that no page shows by chance; every
    verdict can be reached; every step, capture, list and secret serves one; whom the rule asks is fixed, or
    bounded by allow_host; countries and dates are such.
    """
    return _Linter(rule).problems()


class _Linter:
    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.found: list[Problem] = []

    def wrong(self, place: Place, text: str) -> None:
        Node(None, place, self.rule.places, self.found).wrong(text)

    def problems(self) -> list[Problem]:
        self._offers()
        self._reachable()
        self._used()
        self._asked()
        self._countries()
        self._dates()
        return sorted(set(self.found))

    def _offers(self) -> None:
        entries = enumerate(self.rule.verdicts)
        offered = [(number, entry) for number, entry in entries if entry.verdict in OFFERED]
        if not offered:
            self.wrong(("verdicts",), "no entry can say that the platform is available")
        for number, entry in offered:
            place: Place = ("verdicts", number)
            if entry.verdict is Verdict.PARTIAL and not entry.scope:
                self.wrong(place, "partial needs a scope: of what")
            evidence = [group for condition in entry.when for group in evidence_of(condition, self.rule)]
            if not evidence:
                self.wrong(
                    place,
                    f"{entry.verdict} rests on no marker: it needs something seen in an answer (body, json, "
                    "URL, or a captured variable), not a status or that something is absent",
                )
            weak = [[why for part in group if (why := too_weak(part, self.rule))] for group in evidence]
            if all(weak):
                for why in dict.fromkeys(why for group in weak for why in group):
                    self.wrong(place, why)

    def _reachable(self) -> None:
        entries = self.rule.verdicts
        for number, entry in enumerate(entries):
            for before, earlier in enumerate(entries[:number]):
                passed_over = earlier.verdict in OFFERED and entry.verdict not in OFFERED
                if set(earlier.when) <= set(entry.when) and not passed_over:
                    text = f"is never reached: entry {before + 1} holds whenever this one does"
                    self.wrong(("verdicts", number), text)
                    break

    def _used(self) -> None:
        rule, used = self.rule, Counter(self._names_used())
        watched = {condition.step for condition in self._conditions() if isinstance(condition, Answers)}
        watched |= {step.fallback for step in rule.steps}
        for number, step in enumerate(rule.steps):
            serves = step.id in watched or any(used[capture.name] for capture in step.captures)
            if not serves:
                self.wrong(("steps", number), f"{step.id!r} serves no verdict: nothing uses its answers")
            for index, capture in enumerate(step.captures):
                if serves and not used[capture.name]:
                    self.wrong(("steps", number, "capture", index), f"nothing uses {capture.name!r}")
        for kind, there in (
            ("variables", [one.name for one in rule.variables]),
            ("secrets", [one.name for one in rule.secrets]),
            ("lists", list(rule.lists)),
        ):
            for name in there:
                if not used[name]:
                    self.wrong((kind, name), f"nothing uses {name!r}")

    def _conditions(self) -> Iterator[Condition]:
        rule = self.rule
        for conditions in (*(step.run_if for step in rule.steps), *(entry.when for entry in rule.verdicts)):
            yield from (condition for condition, _ in within(conditions, ()))

    def _names_used(self) -> Iterator[str]:
        rule = self.rule
        for condition in self._conditions():
            if isinstance(condition, VariableIs):
                yield from (condition.name, condition.test.other)
            elif isinstance(condition, HasSecret):
                yield condition.name
        yield from (entry.region for entry in rule.verdicts)
        yield from names(rule.client.headers)
        yield from names([variable.text for variable in rule.variables if variable.kind == "md5"])
        for step in rule.steps:
            yield from self._names_in(step)

    def _names_in(self, step: Step) -> Iterator[str]:
        request = step.request
        yield from names((request.url, request.headers, request.cookies, request.body))
        yield from (capture.of for capture in step.captures if capture.source == "var")
        if step.for_each:
            yield step.for_each.source

    def _asked(self) -> None:
        rule = self.rule
        rounds = 0
        for number, step in enumerate(rule.steps):
            place: Place = ("steps", number)
            listed = rule.lists.get(step.for_each.source, ()) if step.for_each else ()
            if len(listed) > MAX_ROUNDS:
                self.wrong((*place, "for_each"), f"more than {MAX_ROUNDS} rounds")
            rounds += max(1, len(listed))
            self._whom(step, (*place, "request", "url"))
            self._needed(number, step)
            for name, _ in step.request.headers:
                self._browser_header(name, (*place, "request", "headers", name))
        if rounds > MAX_REQUESTS:
            self.wrong(("steps",), f"more than {MAX_REQUESTS} requests a run")
        for name, _ in rule.client.headers:
            self._browser_header(name, ("client", "headers", name))

    def _browser_header(self, name: str, place: Place) -> None:
        if self.rule.client.profile == "browser" and name.lower() in BROWSER_OWN:
            self.wrong(place, "profile browser sends its own, which fits its TLS; another one gives it away")

    def _whom(self, step: Step, place: Place) -> None:
        whom, _ = where_to(step.request.url)
        inside = set(names(whom))
        if inside & from_answers(self.rule, step):
            if not step.allow_host:
                self.wrong(place, "whom it asks comes from an answer: the step needs allow_host")
            return
        if secret := inside & {one.name for one in self.rule.secrets}:
            self.wrong(place, f"a secret ({', '.join(secret)}) must not be part of a host's name")
            return
        for name in inside:
            constants = {one.name: one.text for one in self.rule.variables if one.kind == "text"}
            listed = self.rule.lists.get(step.for_each.source, ()) if step.for_each else ()
            given = constants.get(name, listed[0] if listed else "")
            whom = whom.replace(f"{{{name}}}", given)
        if whom.lower().startswith("http://"):
            self.wrong(place, "must be https: whoever stands between could answer instead")
        elif reason := refused(whom, step.allow_host):
            self.wrong(place, f"no platform is asked so: {reason}")

    def _needed(self, number: int, step: Step) -> None:
        """What a later step can't do without is required, so that a run ends where it is missing."""
        later = [one for one in self.rule.steps[number + 1 :] if not one.run_if and not one.fallback]
        needed = {name for one in later for name in self._names_in(one)}
        required = {one.name for other in self.rule.steps for one in other.captures if one.required}
        for index, capture in enumerate(step.captures):
            if capture.name in needed and capture.name not in required:
                self.wrong(
                    ("steps", number, "capture", index),
                    f"a later step needs {capture.name!r}: make it required",
                )

    def _dates(self) -> None:
        for index, origin in enumerate(self.rule.provenance):
            if not DATE.match(origin.date):
                self.wrong(("provenance", index, "date"), "must be YYYY, YYYY-MM or YYYY-MM-DD")

    def _countries(self) -> None:
        rule = self.rule
        for index, country in enumerate(rule.regions):
            self._country(country, ("regions", index))
        for number, entry in enumerate(rule.verdicts):
            if entry.region_const:
                self._country(entry.region_const, ("verdicts", number, "region"))
        shown = {entry.region for entry in rule.verdicts}
        for number, step in enumerate(rule.steps):
            for index, capture in enumerate(step.captures):
                if capture.name in shown and capture.transforms and capture.transforms[-1].kind == "map":
                    for country in capture.transforms[-1].table.values():
                        self._country(country, ("steps", number, "capture", index, "transform"))
                if capture.name in shown and capture.every:
                    self.wrong(
                        ("steps", number, "capture", index), f"{capture.name!r} is a region: one, not all"
                    )

    def _country(self, country: str, place: Place) -> None:
        if country.upper() not in REGIONS:
            self.wrong(place, f"{country!r} is no country of ISO 3166-1")
