"""The parts of a rule in words: conditions, requests, captures. **Pure**."""

from sonde_unlock import model
from sonde_unlock.model import Quantifier

_HOW_MANY = {
    Quantifier.ANY: "an answer of",
    Quantifier.ALL: "every answer of",
    Quantifier.NONE: "no answer of",
}
_GROUP = {Quantifier.ANY: "any of", Quantifier.ALL: "all of", Quantifier.NONE: "none of"}
_PARTS = {
    "body": "the body has",
    "final_url": "the last address has",
    "location": "a redirect leads to",
}


def condition(what: model.Condition) -> str:
    """Give a condition in words."""
    match what:
        case model.Answers(quantifier, step, atoms):
            return f"{_HOW_MANY[quantifier]} {step}: {' and '.join(map(atom, atoms))}"
        case model.VariableIs(name, test):
            return f"{name} {_test(test)}"
        case model.HasSecret(name):
            return f"the operator's secret {name} is there"
        case model.Group(quantifier, conditions):
            return f"{_GROUP[quantifier]} ({'; '.join(map(condition, conditions))})"


def conditions(all_of: tuple[model.Condition, ...]) -> str:
    """Give conditions that must all hold, in words."""
    return "; and ".join(map(condition, all_of))


def atom(what: model.Atom) -> str:
    """Give a condition on one answer in words."""
    match what:
        case model.StatusIs(ranges):
            return "status " + " or ".join(
                f"{low}" if low == high else f"{low}-{high}" for low, high in ranges
            )
        case model.Matches(part, pattern):
            return f"{_PARTS[part]} /{pattern.text}/"
        case model.HeaderMatches(name, pattern):
            return f"header {name} has /{pattern.text}/"
        case model.JsonIs(path, test):
            return f"JSON {'.'.join(path)} {_test(test)}"
        case model.ErrorIs(kinds):
            return f"no answer ({', '.join(sorted(kinds)) or 'for whatever reason'})"


def _test(test: model.Test) -> str:
    values = ", ".join(_value(value) for value in test.values)
    match test.operator:
        case "eq":
            return f"is {values}"
        case "in":
            return f"is one of {values}"
        case "in_var":
            return f"is in {test.other}" + (f" or one of {values}" if values else "")
        case "matches":
            return f"has /{test.pattern.text if test.pattern else ''}/"
        case _:
            return "is there" if test.expected else "is not there"


def _value(value: model.Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def request(step: model.Step, rule: model.Rule) -> list[str]:
    """Give what a step asks, one line each: the request, then when and how often."""
    spec = step.request
    with_ = [spec.body_kind] if spec.body_kind else []
    with_ += [f"cookie {name}" for name, _ in spec.cookies] + [f"header {name}" for name, _ in spec.headers]
    lines = [f"{spec.method} {spec.url}" + (f" with {', '.join(with_)}" if with_ else "")]
    if step.for_each:
        each, values = step.for_each, rule.lists.get(step.for_each.source, ())
        shown = f": {', '.join(values)}" if values else ""
        lines.append(f"once for each {each.variable} of {each.source}{shown}")
    if step.run_if:
        lines.append(f"only if {conditions(step.run_if)}")
    if step.fallback:
        lines.append(f"only if {step.fallback} gave no answer, or lacked what is taken from it")
    if spec.follow:
        lines.append(f"follows at most {spec.follow} redirect{'s' if spec.follow > 1 else ''}")
    if step.allow_host:
        lines.append(f"only at {', '.join(step.allow_host)}")
    return [*lines, *map(capture, step.captures)]


def capture(what: model.Capture) -> str:
    """Give what is taken from an answer, in words."""
    source = {
        "final_url": "the last address",
        "url_path": "the last address's path",
        "location": "a redirect",
    }.get(what.source, f"{what.source} {what.of}".strip())
    how = f" {'.'.join(what.path)}" if what.path else ""
    how += f" by /{what.pattern.text}/" if what.pattern else ""
    how += "".join(f", {each.kind}" for each in what.transforms)
    all_of = "all " if what.every else ""
    needed = " (needed: without it nothing is said)" if what.required else ""
    return f"takes {all_of}{what.name} from {source}{how}{needed}"


def outcome(entry: model.Entry) -> str:
    """Give what an entry says when it holds."""
    said = entry.verdict.value
    said += f" ({entry.scope})" if entry.scope else ""
    region = entry.region_const or (f"the value of {entry.region}" if entry.region else "")
    return said + (f", region {region}" if region else "")
