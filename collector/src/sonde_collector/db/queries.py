"""Named queries: every statement of the collector lives in ``sql/queries/*.sql`` below ``-- name: NAME``."""

import functools
import re
from importlib import resources
from typing import LiteralString

_NAME = re.compile(r"^-- name: *(\S+) *$", re.MULTILINE)


def query(name: str) -> LiteralString:
    """The statement of that name. Its files are part of the program, so it counts as a literal.

    Raises:
        KeyError: no file holds that name.
    """
    return _queries()[name]


def parse(text: str) -> dict[str, str]:
    """The blocks of one file by name. Pure.

    Raises:
        ValueError: a name stands twice, or has no statement.
    """
    _, *pieces = _NAME.split(text)
    blocks: dict[str, str] = {}
    for name, block in zip(pieces[::2], pieces[1::2], strict=True):
        if name in blocks:
            raise ValueError(f"query {name} stands twice")
        lines = [line for line in block.strip().splitlines() if not line.startswith("-- ")]
        if not lines:
            raise ValueError(f"query {name} is empty")
        blocks[name] = "\n".join(lines).rstrip().removesuffix(";")
    return blocks


@functools.cache
def _queries() -> dict[str, LiteralString]:
    found: dict[str, LiteralString] = {}
    files = resources.files("sonde_collector") / "sql" / "queries"
    for file in sorted(files.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            for name, statement in parse(file.read_text("utf-8")).items():
                if name in found:
                    raise ValueError(f"{file.name}: query {name} stands in another file too")
                found[name] = statement
    return found
