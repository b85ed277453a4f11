"""A verdict's reason in words: what decided, and nothing that should stay unsaid."""

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from sonde_unlock.answer import Answer
from sonde_unlock.match import Seen, meets
from sonde_unlock.model import (
    Answers,
    Atom,
    Condition,
    Entry,
    ErrorIs,
    Group,
    HasSecret,
    HeaderMatches,
    JsonIs,
    Matches,
    Quantifier,
    StatusIs,
    Test,
    VariableIs,
)
from sonde_unlock.template import as_text

MAX_DETAIL = 200
MAX_MARKER = 120
MAX_QUOTED = 5000
LEAST_SECRET = 4
SHORT = 7
"""Characters of a captured value that may be shown: a country, a status; no token is so short."""


def deciding(
    entry: Entry, seen: Seen, origins: Mapping[str, tuple[str, Answer]]
) -> tuple[Condition, str, Answer | None]:
    """Give the most telling condition of an entry that holds, its step and its answer. **Pure.**"""
    ranked = sorted(entry.when, key=_weakness)
    condition = ranked[0]
    if isinstance(condition, Answers):
        answers = seen.answers.get(condition.step, ())
        fitting = [answer for answer in answers if meets(condition, answer, seen)] or list(answers)
        return condition, condition.step, fitting[0] if fitting else None
    if isinstance(condition, VariableIs) and condition.name in origins:
        step, answer = origins[condition.name]
        return condition, step, answer
    if isinstance(condition, Group):
        for part in condition.conditions:
            if isinstance(part, Answers) and seen.answers.get(part.step):
                return condition, part.step, seen.answers[part.step][0]
    return condition, "", None


def _weakness(condition: Condition) -> int:
    if isinstance(condition, Answers) and condition.quantifier is not Quantifier.NONE:
        return 2 if all(isinstance(atom, StatusIs | ErrorIs) for atom in condition.atoms) else 0
    return 1 if isinstance(condition, VariableIs) else 3


def marker(condition: Condition) -> str:
    """Write a condition as the rule has it, on one line. **Pure.**"""
    text = " ".join(_written(condition).split())
    return text if len(text) <= MAX_MARKER else text[: MAX_MARKER - 1] + "…"


def _written(condition: Condition) -> str:
    if isinstance(condition, Answers):
        return f"{condition.quantifier} {condition.step} {' and '.join(map(_atom, condition.atoms))}"
    if isinstance(condition, VariableIs):
        return f"{condition.name} {_test(condition.test)}"
    if isinstance(condition, HasSecret):
        return f"secret {condition.name}"
    return f"{condition.quantifier} ({'; '.join(map(_written, condition.conditions))})"


def _atom(atom: Atom) -> str:
    if isinstance(atom, StatusIs):
        return "status " + "|".join(str(low) if low == high else f"{low}-{high}" for low, high in atom.ranges)
    if isinstance(atom, Matches):
        return f"{atom.part} {atom.pattern.text}"
    if isinstance(atom, HeaderMatches):
        return f"header {atom.name} {atom.pattern.text}"
    if isinstance(atom, JsonIs):
        return f"json {'.'.join(atom.path)} {_test(atom.test)}"
    return "error " + ("|".join(sorted(atom.kinds)) or "of any kind")


def _test(test: Test) -> str:
    values = " ".join(map(as_text, test.values))
    if test.operator == "exists":
        return "is known" if test.expected else "is not known"
    if test.operator == "matches":
        return f"matches {test.pattern.text if test.pattern else ''}"
    if test.operator == "in_var":
        return f"is in {test.other}" + (f" or {values}" if values else "")
    return f"is {values}" if test.operator == "eq" else f"is one of {values}"


def hidden(secrets: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """Give what no message may show, longest first. **Pure.**

    Args:
        secrets: of the operator.
        others: cookies and captured values; those up to `SHORT` characters may be shown.
    """
    values = {value for value in secrets if len(value) >= LEAST_SECRET}
    values |= {value for value in others if len(value) > SHORT}
    values |= {quote(value, safe="") for value in values if len(value) <= MAX_QUOTED}
    return tuple(sorted(values, key=len, reverse=True))


def scrub(text: str, values: Iterable[str]) -> str:
    """Make a detail of a text: one line, at most `MAX_DETAIL` characters, without these values. **Pure.**"""
    for value in values:
        text = text.replace(value, "[hidden]")
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
