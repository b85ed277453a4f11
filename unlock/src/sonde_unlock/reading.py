"""YAML with line numbers. The only file that knows PyYAML; of YAML it takes plain data alone.

Words are read as YAML 1.2 does: only `true` and `false` are booleans, so that the country NO is no "no",
and a day stays the text that it is. Tags are refused, aliases are bounded by what they expand to.
"""

import re
from typing import Any

import yaml

from sonde_unlock.cassette import Cassette
from sonde_unlock.document import MAX_DEPTH, MAX_VALUES, Place, Problem, RuleError
from sonde_unlock.model import Rule
from sonde_unlock.parse import parse
from sonde_unlock.parse_cassette import parse_cassettes

MAX_RULE_TEXT = 512 * 1024
MAX_CASSETTE_TEXT = 4 << 20
"""Characters, as the one before."""
WHOLE = re.compile(r"[-+]?[0-9]{1,18}\Z")
FRACTION = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}\Z")
WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def read_rule(text: str, name: str) -> Rule:
    """Read a rule from YAML. **Pure.**

    Args:
        text: of the file.
        name: of the file, for messages.

    Raises:
        RuleError: with every mistake and its line.
    """
    document, places, problems = read_document(text, name, MAX_RULE_TEXT)
    try:
        rule = parse(document, places)
    except RuleError as error:
        raise RuleError([*problems, *error.problems], name) from None
    if problems:
        raise RuleError(problems, name)
    return rule


def read_cassettes(text: str, name: str) -> tuple[Cassette, ...]:
    """Read a file of cassettes from YAML; raises as `read_rule`. **Pure.**"""
    document, places, problems = read_document(text, name, MAX_CASSETTE_TEXT)
    try:
        cassettes = parse_cassettes(document, places)
    except RuleError as error:
        raise RuleError([*problems, *error.problems], name) from None
    if problems:
        raise RuleError(problems, name)
    return cassettes


def read_document(text: str, name: str, most: int) -> tuple[Any, dict[Place, int], list[Problem]]:
    """Read plain data, its lines, and what is wrong with it that leaves it readable. **Pure.**

    Raises:
        RuleError: when it is no YAML, or too large.
    """
    if len(text) > most:
        raise RuleError([Problem(0, f"the file is longer than {most} characters")], name)
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = f"not YAML: {error.problem or error.context}"
        raise RuleError([Problem(mark.line + 1 if mark else 0, said)], name) from None
    except (yaml.YAMLError, ValueError) as error:
        raise RuleError([Problem(0, f"not YAML: {error}")], name) from None
    except RecursionError:
        raise RuleError([Problem(0, "more tables within each other than anybody needs")], name) from None
    if root is None:
        raise RuleError([Problem(1, "the file is empty")], name)
    reader = _Reader(name)
    return reader.value(root, (), 0), reader.places, reader.problems


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.places: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self.seen = 0

    def value(self, node: yaml.Node, place: Place, depth: int) -> Any:
        line = node.start_mark.line + 1
        self.places.setdefault(place, line)
        self.seen += 1
        if self.seen > MAX_VALUES or depth > MAX_DEPTH:
            raise RuleError(
                [Problem(line, "too large: too many values, or tables within each other")], self.name
            )
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._table(node, place, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(part, (*place, index), depth + 1) for index, part in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and not node.tag.startswith("!"):
            return _scalar(node)
        self.problems.append(Problem(line, f"the tag {node.tag} is not allowed: rules are plain data"))
        return None

    def _table(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key_node, part in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.problems.append(Problem(line, "a key must be a text"))
                continue
            key = key_node.value
            if key in table:
                self.problems.append(Problem(line, f"the key {key!r} stands here twice"))
                continue
            self.places[(*place, key)] = line
            table[key] = self.value(part, (*place, key), depth + 1)
        return table


def _scalar(node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    if node.style is not None:  # quoted, or a block
        return text
    if text in WORDS:
        return WORDS[text]
    if WHOLE.match(text) and not re.match(r"[-+]?0[0-9]", text):
        return int(text)
    return float(text) if FRACTION.match(text) else text
