"""Named queries are found by name, and mistakes in their files are told."""

import re
from pathlib import Path

import pytest

import sonde_collector
from sonde_collector.db.queries import parse, query


def test_a_block_is_its_statement() -> None:
    """Comment lines and the last semicolon are left out; what stands before the first name is none."""
    text = "-- about\n\n-- name: one\n-- Why.\nSELECT 1;\n\n-- name: two\nSELECT\n  2 -- kept\n"
    assert parse(text) == {"one": "SELECT 1", "two": "SELECT\n  2 -- kept"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "a stands twice"),
        ("-- name: a\n-- only words", "a is empty"),
    ],
)
def test_mistakes(text: str, complaint: str) -> None:
    """A name that stands twice or has no statement is refused."""
    with pytest.raises(ValueError, match=complaint):
        parse(text)


def test_every_query_is_used_and_every_use_exists() -> None:
    """Each name that the code asks for exists."""
    root = Path(sonde_collector.__file__).parent
    asked = {
        name for file in root.rglob("*.py") for name in re.findall(r'\bquery\("(\w+)"\)', file.read_text())
    }
    assert asked
    for name in asked:
        assert query(name)
