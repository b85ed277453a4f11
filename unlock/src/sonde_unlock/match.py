"""Whether conditions hold: yes, no, or None where nothing can be concluded.

Three values (Kleene's logic) keep verdicts honest: a challenge page, an empty or a truncated body, a timeout
is neither a marker seen nor a marker missing, so that neither `any_of` nor `none_of` may rest on it.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

from sonde_unlock.answer import Answer, json_at
from sonde_unlock.model import (
    NOT_OF_THE_EXIT,
    Answers,
    Atom,
    Condition,
    ErrorIs,
    Group,
    HasSecret,
    HeaderMatches,
    JsonIs,
    Matches,
    Quantifier,
    Scalar,
    StatusIs,
    Test,
    Value,
    VariableIs,
)
from sonde_unlock.template import as_text

Truth = bool | None


@attrs.frozen
class Seen:
    """What a run has seen so far.

    Attributes:
        answers: of each step that was asked, by its id; those of a step that was left out on purpose are ().
            A step that is not here could not be asked, or was not yet.
        values: of variables, and the rule's lists.
        secrets: names of those that there are.
        partly: steps of which a round could not be asked.
        unsure: variables that may be missing only because an answer was none, or unreadable.
    """

    answers: Mapping[str, tuple[Answer, ...]]
    values: Mapping[str, Value]
    secrets: Collection[str]
    partly: Collection[str] = ()
    unsure: Collection[str] = ()


def every(truths: Iterable[Truth]) -> Truth:
    """Kleene's and. **Pure.**"""
    kept = list(truths)
    return False if False in kept else None if None in kept else True


def some(truths: Iterable[Truth]) -> Truth:
    """Kleene's or. **Pure.**"""
    kept = list(truths)
    return True if True in kept else None if None in kept else False


def quantified(quantifier: Quantifier, truths: list[Truth]) -> Truth:
    """Join truths; of none at all, no quantifier but `none_of` holds. **Pure.**"""
    if quantifier is Quantifier.ALL:
        return every(truths) if truths else False
    found = some(truths)
    return found if quantifier is Quantifier.ANY or found is None else not found


def holds(condition: Condition, seen: Seen) -> Truth:
    """Whether a condition holds. **Pure.**"""
    if isinstance(condition, Group):
        return quantified(condition.quantifier, [holds(part, seen) for part in condition.conditions])
    if isinstance(condition, HasSecret):
        return condition.name in seen.secrets
    if isinstance(condition, VariableIs):
        value = seen.values.get(condition.name)
        if value is None and condition.name in seen.unsure:
            return None
        return passes(condition.test, value, seen.values)
    answers = seen.answers.get(condition.step)
    if answers is None:
        return None
    truths = [meets(condition, answer, seen) for answer in answers]
    if condition.step in seen.partly:
        truths.append(None)
    return quantified(condition.quantifier, truths)


def meets(condition: Answers, answer: Answer, seen: Seen) -> Truth:
    """Whether one answer meets all atoms of a condition. **Pure.**"""
    return every(_atom(atom, answer, seen) for atom in condition.atoms)


def _atom(atom: Atom, answer: Answer, seen: Seen) -> Truth:  # noqa: PLR0911 - one kind of atom each  # noqa: PLR0911 - one kind of atom each
    if isinstance(atom, ErrorIs):
        if answer.error in NOT_OF_THE_EXIT:
            return None
        return answer.error is not None and (not atom.kinds or answer.error in atom.kinds)
    if not answer.arrived or answer.challenge:
        return None
    if isinstance(atom, StatusIs):
        return any(low <= answer.last.status <= high for low, high in atom.ranges)
    if isinstance(atom, JsonIs):
        if answer.json is None:
            return None
        return passes(atom.test, scalar(json_at(answer.json, atom.path)), seen.values)
    if isinstance(atom, Matches) and atom.part == "body":
        return atom.pattern.search(answer.body) if answer.body else None
    return any(atom.pattern.search(text.encode(errors="replace")) for text in _lines(atom, answer))


def _lines(atom: Matches | HeaderMatches, answer: Answer) -> list[str]:
    if isinstance(atom, HeaderMatches):
        value = answer.header(atom.name)
        return [] if value is None else [value]
    if atom.part == "location":
        return [hop.header("location") for hop in answer.hops if hop.header("location")]
    return [answer.final_url]


def scalar(found: Any) -> Value | None:
    """Give a value of JSON as a variable would hold it; None = a table, null, or nothing. **Pure.**"""
    if isinstance(found, list):
        return tuple(part for part in found if isinstance(part, str | int | float)) or None
    return found if isinstance(found, str | int | float) else None


def passes(test: Test, value: Value | None, values: Mapping[str, Value]) -> Truth:
    """Whether a value passes a test; a value that is missing passes only `exists: false`. **Pure.**

    None = it is missing, which says neither that it equals something nor that it does not.
    """
    if test.operator == "exists":
        return (value is not None) == test.expected
    if value is None:
        return None
    held = value if isinstance(value, tuple) else (value,)
    if test.operator == "matches":
        assert test.pattern is not None
        return any(test.pattern.search(as_text(one).encode(errors="replace")) for one in held)
    if test.operator == "in_var":
        other = values.get(test.other)
        if other is None:
            return None
        wanted = (*(other if isinstance(other, tuple) else (other,)), *test.values)
    else:
        wanted = test.values
    return any(_same(one, other) for one in held for other in wanted)


def _same(one: Scalar, other: Scalar) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
