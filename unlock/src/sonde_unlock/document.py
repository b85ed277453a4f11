"""Reading a plain document strictly: every mistake is kept, with its place, and none is raised on the way."""

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from sonde_unlock.pattern import BadPattern, Pattern, pattern

MAX_VALUES = 20_000
MAX_DEPTH = 24
MAX_TEXT = 20_000
MAX_KEY = 400
MAX_NUMBER = 1 << 63
HALF = re.compile("[\ud800-\udfff]")
"""What of a character in two halves is one."""

type_names = {dict: "a table", list: "a list", str: "text", bool: "true or false", int: "a whole number"}

Place = tuple[str | int, ...]
Places = Mapping[Place, int]
"""Line of each part of a document, by its path; empty for a document that has no lines."""


@attrs.frozen(order=True)
class Problem:
    """A mistake in a rule or a cassette.

    Attributes:
        line: in the file; 0 = unknown.
        text: where and what, for a person.
    """

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class RuleError(Exception):
    """A rule, or a file of cassettes, that can't be used.

    Attributes:
        problems: every mistake, in the order of lines.
        name: of the file; "" = none.
    """

    def __init__(self, problems: Collection[Problem], name: str = "") -> None:
        self.problems = tuple(sorted(set(problems)))
        self.name = name
        super().__init__(
            "\n".join(f"{name}: {problem}" if name else str(problem) for problem in self.problems)
        )


def line_of(place: Place, places: Places) -> int:
    """Give the line of a part, or of the nearest part around it; 0 = unknown. **Pure.**"""
    for end in range(len(place), -1, -1):
        if place[:end] in places:
            return places[place[:end]]
    return 0


def written(place: Place) -> str:
    """Give a path as people write it: `steps[0].request.url`. **Pure.**"""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def too_large(document: Any, most_text: int = MAX_TEXT) -> str:
    """Say what bound a document exceeds, or what it holds that no document holds; "" = fine. **Pure.**"""
    waiting, seen = [(document, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > MAX_VALUES:
            return f"more than {MAX_VALUES} values"
        if depth > MAX_DEPTH:
            return f"more than {MAX_DEPTH} tables within each other"
        if isinstance(value, dict):
            if any(not isinstance(key, str) or len(key) > MAX_KEY or HALF.search(key) for key in value):
                return "a key that is no short text"
            waiting += [(part, depth + 1) for part in value.values()]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]
        elif reason := _unfit(value, most_text):
            return reason
    return ""


def _unfit(value: Any, most_text: int) -> str:
    if isinstance(value, str):
        if len(value) > most_text:
            return f"a text of more than {most_text} characters"
        return "half a character (a lone surrogate)" if HALF.search(value) else ""
    if isinstance(value, int | float):
        return "" if abs(value) <= MAX_NUMBER else "a number beyond 64 bits"
    return "" if value is None else f"a {type(value).__name__}, which no document holds"


@attrs.frozen
class Node:
    """A part of a document, and where its mistakes are kept.

    Each reader gives a harmless value where it notes a mistake, so that reading goes on to the next.
    """

    value: Any
    place: Place = ()
    places: Places = attrs.field(factory=dict, repr=False)
    problems: list[Problem] = attrs.field(factory=list, repr=False)

    def wrong(self, text: str) -> None:
        """Note a mistake here."""
        where = written(self.place)
        self.problems.append(Problem(line_of(self.place, self.places), f"{where}: {text}" if where else text))

    def _at(self, part: str | int, value: Any) -> "Node":
        return Node(value, (*self.place, part), self.places, self.problems)

    def _of(self, kind: type) -> bool:
        if type(self.value) is kind:
            return True
        self.wrong(f"must be {type_names[kind]}")
        return False

    def table(self, required: Collection[str], optional: Collection[str] = ()) -> dict[str, "Node"]:
        """Give the parts of a table that has these keys and no other."""
        if not self._of(dict):
            return {}
        known, meant = [*required, *optional], set[str]()
        for key in self.value:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                meant.update(near)
                hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(known))}"
                self._at(key, None).wrong(f"unknown key; {hint}")
        for key in required:
            if key not in self.value and key not in meant:
                self.wrong(f"{key!r} is missing")
        return {key: self._at(key, part) for key, part in self.value.items() if key in known}

    def named(self, most: int) -> dict[str, "Node"]:
        """Give the parts of a table whose keys are names that the rule chooses."""
        if not self._of(dict):
            return {}
        if len(self.value) > most:
            self.wrong(f"more than {most} entries")
        return {key: self._at(key, part) for key, part in list(self.value.items())[:most]}

    def entries(self, most: int, least: int = 0) -> list["Node"]:
        """Give the parts of a list."""
        if not self._of(list):
            return []
        if not least <= len(self.value) <= most:
            self.wrong(f"must have {least} to {most} entries")
        return [self._at(index, part) for index, part in enumerate(self.value[:most])]

    def one_or_more(self, most: int) -> list["Node"]:
        """Give the parts of a list, or what stands here alone as a list of one."""
        return self.entries(most, 1) if isinstance(self.value, list) else [self]

    def text(self, most: int = 2000, *, empty: bool = False) -> str:
        """Give a text of one character or more, all of them printable or white space."""
        if not self._of(str):
            return ""
        if not self.value and not empty:
            self.wrong("must not be empty")
        elif len(self.value) > most:
            self.wrong(f"is longer than {most} characters")
        elif not all(char.isprintable() or char in "\n\t" for char in self.value):
            self.wrong("holds a control character")
        else:
            return str(self.value)
        return ""

    def whole(self, low: int, high: int) -> int:
        """Give a whole number between both ends."""
        if not self._of(int):
            return low
        if not low <= self.value <= high:
            self.wrong(f"must be {low} to {high}")
            return low
        return int(self.value)

    def flag(self) -> bool:
        """Give true or false."""
        return self._of(bool) and bool(self.value)

    def choice(self, words: Collection[str]) -> str:
        """Give one of these words."""
        if self._of(str) and self.value not in words:
            self.wrong(f"must be one of: {', '.join(words)}")
        return self.value if isinstance(self.value, str) and self.value in words else next(iter(words))

    def scalar(self) -> str | int | float | bool:
        """Give a text, a number, true or false."""
        if isinstance(self.value, str | int | float):
            return self.text(empty=True) if isinstance(self.value, str) else self.value
        self.wrong("must be text, a number, true or false")
        return ""

    def pattern(self) -> Pattern:
        """Give a compiled regular expression (RE2's syntax)."""
        text = self.text()
        try:
            return pattern(text)
        except BadPattern as error:
            self.wrong(f"not a usable pattern: {error}")
            return pattern("")
