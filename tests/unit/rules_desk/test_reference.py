"""unlock/README.md is the reference of the language: nothing that the parser knows is missing from it."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import sonde_unlock
from sonde_unlock import document, engine, model, parse_conditions, parse_steps, pattern
from sonde_unlock.exchange import Error
from sonde_unlock.verdict import Level, Verdict

README = Path(__file__).parents[3] / "unlock" / "README.md"
SOURCES = sorted(Path(sonde_unlock.__file__).parent.glob("parse*.py"))


def keys_of(path: Path) -> set[str]:
    """Return every key that a parser reads a table by: what its calls of `.table` name."""
    names = dict(vars(importlib.import_module(f"sonde_unlock.{path.stem}")))
    tree = ast.parse(path.read_text())
    own = {
        node.targets[0].id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    keys: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "table":
            for argument in node.args:
                if "quantifier" in ast.unparse(argument):
                    continue  # these are a closed list, see below
                known = own[argument.id] if isinstance(argument, ast.Name) else argument
                keys.update(eval(compile(ast.Expression(known), path.name, "eval"), names))
    return keys


def told() -> set[str]:
    """Return every word that stands in `code` in the reference."""
    text = re.sub(r"```.*?```", lambda block: f"`{block[0].strip('`')}`", README.read_text(), flags=re.DOTALL)
    return {
        word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"[A-Za-z0-9_/.:-]+", code)
    } | {word for code in re.findall(r"`([^`]+)`", text) for word in re.findall(r"[a-z0-9_-]+", code)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_key_is_in_the_reference(path: Path) -> None:
    """Each key of each table that a rule or a cassette may hold is named."""
    keys = keys_of(path)
    assert keys
    assert not keys - told()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("sources of captures", {*parse_steps.PLAIN_SOURCES, *parse_steps.NAMED_SOURCES}),
        ("transforms", {*parse_steps.TRANSFORMS, "map"}),
        ("methods", set(parse_steps.METHODS)),
        ("parts of an answer", set(parse_conditions.ATOMS)),
        ("tests", set(parse_conditions.TESTS)),
        ("quantifiers", set(model.Quantifier)),
        ("verdicts", set(Verdict)),
        ("levels of evidence", set(Level)),
        ("errors", set(Error)),
    ],
)
def test_every_word_of_a_closed_list_is_in_the_reference(what: str, words: set[str]) -> None:
    """Each word that a rule may use where only some are known is named."""
    assert not words - told(), what


LIMITS = {
    "MAX_STEPS": "{} steps",
    "MAX_REQUESTS": "{} requests",
    "MAX_ROUNDS": "{} rounds",
    "MAX_FOLLOW": "{} redirects",
    "MAX_BODY_BYTES": "{} bytes a body",
    "MAX_TIMEOUT_S": "{} s a request",
    "MAX_CONDITIONS": "{} conditions",
    "MAX_NESTED": "{} groups",
    "MAX_VALUES": "{} values",
    "MAX_DEPTH": "{} levels",
    "MAX_TEXT": "{} characters a text",
    "MAX_PATTERN": "{} characters a pattern",
    "MAX_PROGRAM": "{} RE2 instructions",
    "MAX_READ_BYTES": "{} bytes together",
}


@pytest.mark.parametrize("limit", LIMITS)
def test_every_limit_is_in_the_reference(limit: str) -> None:
    """Each bound of the language stands there with its value."""
    (value,) = {
        vars(module)[limit] for module in (model, document, pattern, engine) if limit in vars(module)
    } or {vars(parse_conditions)[limit]}
    number = f"{value:,}".replace(",", " ") if value >= 10_000 else str(value)
    assert LIMITS[limit].format(number) in " ".join(README.read_text().split()), number


def test_no_limit_of_a_rule_is_forgotten() -> None:
    """A new bound in the model needs its words."""
    assert {name for name in vars(model) if name.startswith("MAX_")} <= set(LIMITS)
