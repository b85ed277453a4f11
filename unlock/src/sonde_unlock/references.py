"""Every name that a rule uses is one that it defines, and early enough."""

from collections.abc import Iterator

from sonde_unlock.document import Node, Place
from sonde_unlock.model import Answers, Condition, Group, HasSecret, Rule, Step, VariableIs
from sonde_unlock.template import names


def check_references(rule: Rule, root: Node) -> None:
    """Note, at `root`, whatever is used and not defined, or defined twice. **Pure.**"""
    _Checker(rule, root).run()


def within(conditions: tuple[Condition, ...], place: Place) -> Iterator[tuple[Condition, Place]]:
    """Give conditions and those within their groups, each with its place. **Pure.**"""
    for index, condition in enumerate(conditions):
        here = (*place, index)
        yield condition, here
        if isinstance(condition, Group):
            yield from within(condition.conditions, (*here, condition.quantifier.value))


class _Checker:
    def __init__(self, rule: Rule, root: Node) -> None:
        self.rule, self.root = rule, root
        self.secrets = {secret.name for secret in rule.secrets}
        self.known = {variable.name for variable in rule.variables}
        self.captured = {capture.name for step in rule.steps for capture in step.captures}

    def wrong(self, place: Place, text: str) -> None:
        Node(None, place, self.root.places, self.root.problems).wrong(text)

    def run(self) -> None:
        rule = self.rule
        self._defined_twice()
        defined = set(self.secrets)
        for variable in rule.variables:
            place: Place = ("variables", variable.name)
            if variable.kind == "md5":
                self._placeholders(variable.text, defined, place)
            elif variable.kind == "text" and any(names(variable.text)):
                self.wrong(place, "a text holds no {NAME}; {md5: TEXT} may")
            defined.add(variable.name)
        for name, text in rule.client.headers:
            self._placeholders(text, defined, ("client", "headers", name))
        for index in range(len(rule.steps)):
            defined |= self._step(index, defined)
        everything = {name for name in defined | self.captured if name not in self.secrets} | set(rule.lists)
        ids = {step.id for step in rule.steps}
        for index, entry in enumerate(rule.verdicts):
            self._conditions(entry.when, ("verdicts", index, "when"), ids, everything)
            if entry.region and entry.region not in self.captured | self.known:
                self.wrong(("verdicts", index, "region"), f"nothing captures {entry.region!r}")

    def _defined_twice(self) -> None:
        rule, seen = self.rule, set[str]()
        own = [("secrets", secret.name) for secret in rule.secrets]
        own += [("variables", variable.name) for variable in rule.variables]
        own += [("lists", name) for name in rule.lists]
        for place in own:
            if place[1] in seen:
                self.wrong(place, f"{place[1]!r} is defined twice")
            seen.add(place[1])
        ids: set[str] = set()
        for index, step in enumerate(rule.steps):
            if step.id in ids:
                self.wrong(("steps", index, "id"), f"{step.id!r} is defined twice")
            ids.add(step.id)
            for number, capture in enumerate(step.captures):
                if capture.name in seen:
                    where: Place = ("steps", index, "capture", number, "name")
                    self.wrong(where, f"{capture.name!r} is a list, secret or variable already")
            if step.for_each and step.for_each.variable in seen | self.captured:
                self.wrong(
                    ("steps", index, "for_each", "var"), f"{step.for_each.variable!r} is defined twice"
                )

    def _step(self, index: int, defined: set[str]) -> set[str]:
        rule, step, place = self.rule, self.rule.steps[index], ("steps", index)
        earlier = {step.id for step in rule.steps[:index]}
        if step.fallback and step.fallback not in earlier:
            self.wrong((*place, "fallback"), f"no earlier step is called {step.fallback!r}")
        variables = {name for name in defined if name not in self.secrets} | set(rule.lists)
        self._conditions(step.run_if, (*place, "run_if"), earlier, variables)
        local = set(defined)
        if step.for_each:
            local.add(step.for_each.variable)
            if step.for_each.source not in rule.lists and step.for_each.source not in defined & self.captured:
                self.wrong(
                    (*place, "for_each", "in"), f"no list, nor earlier capture, is {step.for_each.source!r}"
                )
        self._request(step, local, (*place, "request"))
        for number, capture in enumerate(step.captures):
            if capture.source == "var" and capture.of not in local:
                self.wrong((*place, "capture", number, "from"), self._missing(capture.of))
            local.add(capture.name)
        return {capture.name for capture in step.captures}

    def _request(self, step: Step, defined: set[str], place: Place) -> None:
        request = step.request
        self._placeholders(request.url, defined, (*place, "url"))
        for part, pairs in (("headers", request.headers), ("cookies", request.cookies)):
            for name, text in pairs:
                self._placeholders(text, defined, (*place, part, name))
        if request.body_kind:
            self._placeholders(request.body, defined, (*place, request.body_kind))

    def _placeholders(self, template: object, defined: set[str], place: Place) -> None:
        for name in dict.fromkeys(names(template)):
            if name not in defined:
                self.wrong(
                    place, f"{{{name}}}: {self._missing(name)}; are plain braces meant, write {{ {name} }}"
                )

    def _missing(self, name: str) -> str:
        if name in self.captured:
            return f"{name!r} is captured only later"
        return f"{name!r} is not defined"

    def _conditions(
        self, conditions: tuple[Condition, ...], place: Place, steps: set[str], variables: set[str]
    ) -> None:
        for condition, here in within(conditions, place):
            if isinstance(condition, Answers) and condition.step not in steps:
                self.wrong(
                    here, f"no {'earlier ' if place[-1] == 'run_if' else ''}step is {condition.step!r}"
                )
            elif isinstance(condition, HasSecret) and condition.name not in self.secrets:
                self.wrong(here, f"no secret is called {condition.name!r}")
            elif isinstance(condition, VariableIs):
                for name in (condition.name, condition.test.other):
                    if name and name not in variables:
                        self.wrong(here, self._missing(name))
