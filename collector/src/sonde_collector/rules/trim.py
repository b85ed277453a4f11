"""A long page cut down to what its rule looks at, with some text around it. **Pure**."""

from collections.abc import Iterable, Iterator

from sonde_unlock import guards, model
from sonde_unlock.pattern import Pattern

LONG = 16_000  # characters of a page; what is shorter stays whole
_AROUND = 300
_OCCURRENCES = 3
_GAP = "\n[…]\n"


def patterns(rule: model.Rule, step: str) -> list[Pattern]:
    """Give the patterns that a rule looks for in the bodies of a step, and those of challenge pages."""
    conditions = [condition for each in rule.steps for condition in each.run_if]
    conditions += [condition for entry in rule.verdicts for condition in entry.when]
    found = [atom.pattern for atom in _atoms(conditions, step) if isinstance(atom, model.Matches)]
    captures = (capture for each in rule.steps if each.id == step for capture in each.captures)
    found += [capture.pattern for capture in captures if capture.source == "body" and capture.pattern]
    return [*found, *(known for _, known in guards.CHALLENGES)]


def _atoms(conditions: Iterable[model.Condition], step: str) -> Iterator[model.Atom]:
    for condition in conditions:
        if isinstance(condition, model.Answers) and condition.step == step:
            yield from condition.atoms
        elif isinstance(condition, model.Group):
            yield from _atoms(condition.conditions, step)


def markers(text: str, looked_for: Iterable[Pattern]) -> list[str]:
    """Give what of the patterns is found in a text, each once."""
    body = text.encode()
    return list(dict.fromkeys(found for pattern in looked_for for found in pattern.every(body)))


def trimmed(text: str, looked_for: Iterable[Pattern]) -> str:
    """Give a text without what lies far from all that is looked for; a short one is given whole."""
    if len(text) <= LONG:
        return text
    spans = [(0, _AROUND)]
    for found in markers(text, looked_for):
        at = -1
        for _ in range(_OCCURRENCES):
            at = text.find(found, at + 1)
            if at < 0:
                break
            spans.append((max(at - _AROUND, 0), at + len(found) + _AROUND))
    return _GAP.join(text[low:high] for low, high in _joined(sorted(spans)))


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined = spans[:1]
    for low, high in spans[1:]:
        if low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined
