"""Regular expressions that can't hang the agent: search in time linear in the text. No socket, no clock.

Python's `re` backtracks, and holds the interpreter's lock while it does: one `(a+)+$` on a foreign body
would stop every check of the agent, and no thread or timer could end it. Here a pattern becomes an
automaton whose states are made as the text asks for them; what needs backtracking (back-references,
look-around) is refused when the pattern is read. Only *whether* it matches is told, which is all an
expectation asks.

Source: R. Cox, "Regular Expression Matching Can Be Simple And Fast" (2007); RE2's syntax.
"""

import importlib
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

_parser = importlib.import_module("re._parser")  # how `re` itself reads a pattern, since 3.11

MAX_PATTERN = 1000
MAX_NODES = 2000
MAX_STATES = 500
MAX_WORK = 3_000_000
"""Visits of nodes in one search, about a second of CPU; ordinary patterns stay below 10 000."""

_MATCH = "match"


class BadPattern(ValueError):
    """The pattern is malformed, or needs what a linear search can't do; the text says which."""


class TooCostly(Exception):
    """The search took more than `MAX_WORK`."""


class _Node(NamedTuple):
    accepts: Callable[[str], bool] | None  # takes one character, to the next nodes
    holds: Callable[[str, str, bool], bool] | None  # is true between two characters, to the next nodes
    to: list[int]


class _State:
    __slots__ = ("after", "nodes", "table")

    def __init__(self, nodes: frozenset[int], after: str) -> None:
        self.nodes, self.after = nodes, after  # `after`: one character that stands for the class of the last
        self.table: dict[str, _State | str] = {}


def _is_word(char: str) -> bool:
    return char != "" and (char.isalnum() or char == "_")


_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdecimal,
    "CATEGORY_NOT_DIGIT": lambda char: not char.isdecimal(),
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_NOT_SPACE": lambda char: not char.isspace(),
    "CATEGORY_WORD": _is_word,
    "CATEGORY_NOT_WORD": lambda char: not _is_word(char),
}
# (character before, character after, is the text's last character after) -> does the anchor hold here
_ANCHORS: dict[str, Callable[[str, str, bool], bool]] = {
    "AT_BEGINNING": lambda before, _after, _last: before == "",
    "AT_BEGINNING_STRING": lambda before, _after, _last: before == "",
    "AT_BEGINNING_LINE": lambda before, _after, _last: before in ("", "\n"),
    "AT_END": lambda _before, after, last: after == "" or (after == "\n" and last),
    "AT_END_STRING": lambda _before, after, _last: after == "",
    "AT_END_LINE": lambda _before, after, _last: after in ("", "\n"),
    "AT_BOUNDARY": lambda before, after, _last: _is_word(before) != _is_word(after),
    "AT_NON_BOUNDARY": lambda before, after, _last: _is_word(before) == _is_word(after),
}


class _Builder:
    """From the tree that `re` parses to nodes, back to front: each part is told where it leads to."""

    def __init__(self) -> None:
        self.nodes: list[_Node] = [_Node(None, None, [])]  # 0 = match

    def _add(self, node: _Node) -> int:
        if len(self.nodes) >= MAX_NODES:
            raise BadPattern("it is too large: counted repeats multiply")
        self.nodes.append(node)
        return len(self.nodes) - 1

    def sequence(self, parts: Iterable[tuple[Any, Any]], to: int, flags: int) -> int:
        for operation, argument in reversed(list(parts)):
            to = self._part(str(operation), argument, to, flags)
        return to

    def _part(self, operation: str, argument: Any, to: int, flags: int) -> int:
        if operation in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._add(_Node(_accepts(operation, argument, flags), None, [to]))
        if operation == "AT":
            name = str(argument)
            if flags & re.MULTILINE and name in ("AT_BEGINNING", "AT_END"):
                name += "_LINE"
            return self._add(_Node(None, _ANCHORS[name], [to]))
        if operation == "BRANCH":
            return self._add(_Node(None, None, [self.sequence(branch, to, flags) for branch in argument[1]]))
        if operation == "SUBPATTERN":
            _, added, removed, parts = argument
            return self.sequence(parts, to, (flags | added) & ~removed)
        if operation in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeat(*argument, to=to, flags=flags)
        raise BadPattern(
            f"{operation.lower().replace('_', ' ')} is not supported: it can't be searched in linear time"
        )

    def _repeat(self, least: int, most: Any, parts: Any, *, to: int, flags: int) -> int:
        if str(most) == "MAXREPEAT":
            loop = self._add(_Node(None, None, [to]))
            self.nodes[loop].to.append(self.sequence(parts, loop, flags))
            to = loop
        else:
            end = to
            for _ in range(int(most) - least):
                to = self._add(_Node(None, None, [end, self.sequence(parts, to, flags)]))
        for _ in range(least):
            to = self.sequence(parts, to, flags)
        return to


def _accepts(operation: str, argument: Any, flags: int) -> Callable[[str], bool]:
    if operation == "ANY":
        return (lambda _char: True) if flags & re.DOTALL else (lambda char: char != "\n")
    members = list(argument) if operation == "IN" else [("LITERAL", argument)]
    negated = operation == "NOT_LITERAL" or str(members[0][0]) == "NEGATE"
    tests = [_member(str(kind), value) for kind, value in members if str(kind) != "NEGATE"]
    if flags & re.IGNORECASE:
        return lambda char: (
            any(test(case) for case in (char, char.lower(), char.upper()) for test in tests) != negated
        )
    return lambda char: any(test(char) for test in tests) != negated


def _member(kind: str, value: Any) -> Callable[[str], bool]:
    if kind == "LITERAL":
        return chr(value).__eq__
    if kind == "RANGE":
        low, high = map(chr, value)
        return lambda char: low <= char <= high
    return _CATEGORIES[str(value)]


class LinearRegex:
    """A pattern, ready to search. Safe to share between threads: tables only grow, or are replaced whole."""

    def __init__(self, pattern: str) -> None:
        """Read a pattern.

        Raises:
            BadPattern: when it can't be used, saying why.
        """
        if len(pattern) > MAX_PATTERN:
            raise BadPattern(f"it is longer than {MAX_PATTERN} characters")
        try:
            tree = _parser.parse(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise BadPattern(str(error)) from None
        builder = _Builder()
        self._start = builder.sequence(tree, 0, tree.state.flags)
        self._nodes = builder.nodes
        self._states: dict[tuple[frozenset[int], str], _State] = {}

    def search(self, text: str) -> bool:
        """Whether it matches anywhere in the text.

        Raises:
            TooCostly: when pattern and text together ask for too much work.
        """
        work = [MAX_WORK]
        state: _State | str = self._state(frozenset(), "")
        for char in text[:-1]:
            assert isinstance(state, _State)
            found = state.table.get(char)
            if found is None:
                found = state.table[char] = self._step(state, char, last=False, work=work)
            if found is _MATCH:
                return True
            state = found
        # `$` also holds before a newline that ends the text: the last step is no transition to keep.
        for char in (text[-1:], "") if text else ("",):
            assert isinstance(state, _State)
            state = self._step(state, char, last=True, work=work)
            if state is _MATCH:
                return True
        return False

    def _state(self, nodes: frozenset[int], after: str) -> _State:
        after = after if after in ("", "\n") else "a" if _is_word(after) else "."
        state = self._states.get((nodes, after))
        if state is None:
            if len(self._states) >= MAX_STATES:
                self._states = {}
            state = self._states[nodes, after] = _State(nodes, after)
        return state

    def _step(self, state: _State, char: str, *, last: bool, work: list[int]) -> _State | str:
        seen: set[int] = set()
        following: set[int] = set()
        waiting = [self._start, *state.nodes]  # a match may begin anywhere
        while waiting:
            index = waiting.pop()
            if index in seen:
                continue
            seen.add(index)
            node = self._nodes[index]
            if index == 0:
                return _MATCH
            if node.accepts is not None:
                if char and node.accepts(char):
                    following.update(node.to)
            elif node.holds is None or node.holds(state.after, char, last):
                waiting += node.to
        work[0] -= len(seen)
        if work[0] < 0:
            raise TooCostly
        return self._state(frozenset(following), char)


@lru_cache(maxsize=256)
def linear_regex(pattern: str) -> LinearRegex:
    """The pattern, read once; raises as `LinearRegex`."""
    return LinearRegex(pattern)
