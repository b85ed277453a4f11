"""Conditions, as `when` and `run_if` hold them."""

import re

from sonde_unlock.document import Node
from sonde_unlock.exchange import Error
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
    StatusIs,
    Test,
    VariableIs,
)

MAX_CONDITIONS = 12
MAX_NESTED = 3
MAX_VALUES = 300
ATOMS = ("status", "body", "location", "final_url", "header", "json", "error")
TESTS = ("eq", "in", "in_var", "plus", "exists", "matches")
TELLING = tuple(error for error in Error if error not in NOT_OF_THE_EXIT)
STATUS_CLASS = re.compile(r"[1-5]xx\Z")
PATH = re.compile(r"[^.\s]+(\.[^.\s]+)*\Z")
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,80}\Z")


def conditions(node: Node, depth: int = 0) -> tuple[Condition, ...]:
    """Read a condition, or a list of them."""
    read = [condition(part, depth) for part in node.one_or_more(MAX_CONDITIONS)]
    return tuple(one for one in read if one is not None)


def condition(node: Node, depth: int = 0) -> Condition | None:  # noqa: PLR0911 - one kind each
    """Read one condition; None = it has a mistake that leaves nothing to go on with."""
    if not isinstance(node.value, dict):
        node.wrong(
            "must be a table: a condition such as {any_of: STEP, body: PATTERN}, {var: NAME, eq: VALUE}"
        )
        return None
    if "secret" in node.value:
        return HasSecret(node.table(["secret"])["secret"].text())
    if "var" in node.value:
        parts = node.table(["var"], TESTS)
        return VariableIs(parts.pop("var").text(), _test(node, parts))
    quantifiers = [quantifier for quantifier in Quantifier if quantifier in node.value]
    if len(quantifiers) != 1:
        node.wrong("must have exactly one of: any_of, all_of, none_of, var, secret")
        return None
    if isinstance(node.value[quantifiers[0]], list):
        if depth >= MAX_NESTED:
            node.wrong(f"more than {MAX_NESTED} groups within each other")
            return None
        parts = node.table([quantifiers[0]])
        return Group(quantifiers[0], conditions(parts[quantifiers[0]], depth + 1))
    parts = node.table([quantifiers[0]], ATOMS)
    step = parts.pop(quantifiers[0]).text()
    atoms = tuple(atom for name, part in parts.items() if (atom := _atom(name, part)) is not None)
    if not parts:
        node.wrong(f"says nothing of the answers of {step!r}; add one of: {', '.join(ATOMS)}")
    return Answers(quantifiers[0], step, atoms)


def json_path(node: Node) -> tuple[str, ...]:
    """Read a path into JSON: keys and indexes, with dots between."""
    text = node.text(300)
    if text and not PATH.match(text):
        node.wrong("must be keys and indexes with dots between: data.items.0.id")
    return tuple(text.split("."))


def header_name(node: Node, name: str) -> str:
    """Check the name of a header or cookie."""
    if not HEADER.match(name):
        node.wrong(f"{name!r} is no name of a header or cookie")
    return name.lower()


def _atom(name: str, node: Node) -> Atom | None:  # noqa: PLR0911 - one kind each
    if name == "status":
        return StatusIs(tuple(_statuses(part) for part in node.one_or_more(20)))
    if name == "header":
        parts = node.named(1)
        if not parts:
            node.wrong("must be {NAME: PATTERN}")
            return None
        ((header, part),) = parts.items()
        return HeaderMatches(header_name(part, header), part.pattern())
    if name == "json":
        parts = node.table(["path"], TESTS)
        path = parts.pop("path", None)
        return JsonIs(json_path(path), _test(node, parts)) if path else None
    if name == "error":
        if node.value is True:
            return ErrorIs(frozenset())
        return ErrorIs(frozenset(Error(part.choice(TELLING)) for part in node.one_or_more(len(TELLING))))
    return Matches(name, node.pattern())


def _statuses(node: Node) -> tuple[int, int]:
    if isinstance(node.value, str):
        if not STATUS_CLASS.match(node.value):
            node.wrong("must be a status such as 404, or a class such as 4xx")
            return (0, 0)
        return int(node.value[0]) * 100, int(node.value[0]) * 100 + 99
    status = node.whole(100, 599)
    return status, status


def _test(node: Node, parts: dict[str, Node]) -> Test:
    plus = parts.pop("plus", None)
    if plus is not None and "in_var" not in parts:
        plus.wrong("belongs to in_var")
    if len(parts) != 1:
        node.wrong("must have exactly one of: eq, in, in_var, exists, matches")
        return Test("exists")
    ((operator, part),) = parts.items()
    if operator == "eq":
        return Test(operator, (part.scalar(),))
    if operator == "in":
        return Test(operator, tuple(one.scalar() for one in part.entries(MAX_VALUES, 1)))
    if operator == "in_var":
        more = () if plus is None else tuple(one.scalar() for one in plus.entries(MAX_VALUES))
        return Test(operator, more, part.text())
    if operator == "matches":
        return Test(operator, pattern=part.pattern())
    return Test(operator, expected=part.flag())
