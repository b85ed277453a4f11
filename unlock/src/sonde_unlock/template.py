"""Texts with {NAME} in them. What a name is replaced by is not looked at again; the result is bounded."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sonde_unlock.model import Scalar, Value

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]{0,39})\}")


class CannotFill(Exception):
    """A text can't be filled in: a name has no single value, or the result is too large."""


def names(template: Any) -> Iterator[str]:
    """Give the names in a text, or in the texts of a plain document. **Pure.**"""
    if isinstance(template, str):
        yield from PLACEHOLDER.findall(template)
    elif isinstance(template, dict):
        for part in template.values():
            yield from names(part)
    elif isinstance(template, list | tuple):
        for part in template:
            yield from names(part)


def as_text(value: Scalar) -> str:
    """Write a value as JSON would, texts without quotes. **Pure.**"""
    return str(value).lower() if isinstance(value, bool) else str(value)


def fill(
    template: str, values: Mapping[str, Value], most: int, quote: Callable[[str], str] = lambda text: text
) -> str:
    """Fill in a text. **Pure.**

    Args:
        template: with {NAME} in it.
        values: of names.
        most: characters of the result.
        quote: what is done to each value first.

    Raises:
        CannotFill: when a name has no value or several, or the result is longer than `most`.
    """
    parts: list[str] = []
    size, at = 0, 0
    for match in PLACEHOLDER.finditer(template):
        value = values.get(match[1])
        if value is None:
            raise CannotFill(f"{match[1]} has no value")
        if isinstance(value, tuple):
            raise CannotFill(f"{match[1]} has several values")
        new = (template[at : match.start()], quote(as_text(value)))
        parts += new
        size += sum(map(len, new))
        if size > most:
            break
        at = match.end()
    parts.append(template[at:])
    if size + len(parts[-1]) > most:
        raise CannotFill(f"it becomes longer than {most} characters")
    return "".join(parts)


def fill_document(document: Any, values: Mapping[str, Value], most: int) -> Any:
    """Fill in every text of a plain document; keys stay as they are. Raises as `fill`. **Pure.**"""
    left = [most]

    def filled(part: Any) -> Any:
        if isinstance(part, str):
            text = fill(part, values, left[0])
            left[0] -= len(text)
            return text
        if isinstance(part, dict):
            return {key: filled(value) for key, value in part.items()}
        if isinstance(part, list):
            return [filled(value) for value in part]
        return part

    return filled(document)
