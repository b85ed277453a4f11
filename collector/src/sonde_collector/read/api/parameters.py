"""Parameters of a request: what each may be, read strictly, and said in JSON Schema. **Pure**."""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import attrs

_SHOWN = 60
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 1970, 2200
NO_CONTROLS = r"^[^\u0000-\u001f\u007f]+$"
_CLEAN = re.compile(r"[^\x00-\x1f\x7f]+")


class BadParameter(Exception):
    """A request asks for what can't be.

    Attributes:
        parameter: its name.
        detail: what is wrong and what would be right.
    """

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(f"{parameter}: {detail}")
        self.parameter = parameter
        self.detail = detail


class Kind(Protocol):
    """What a parameter's text may be."""

    def read(self, text: str) -> Any:
        """Give the value. Raises ValueError with what it must be."""
        ...

    def schema(self) -> dict[str, Any]:
        """Give the JSON Schema of the value."""
        ...


@attrs.frozen
class Text:
    """Some text, such as a key."""

    most: int = 200

    def read(self, text: str) -> str:
        """Give it as it is."""
        if not 0 < len(text) <= self.most or not _CLEAN.fullmatch(text):
            raise ValueError(f"must be 1 to {self.most} characters, none of them a control character")
        return text

    def schema(self) -> dict[str, Any]:
        """Give the schema."""
        return {"type": "string", "minLength": 1, "maxLength": self.most, "pattern": NO_CONTROLS}


@attrs.frozen
class Code:
    """A text of a closed form."""

    pattern: str
    example: str

    def read(self, text: str) -> str:
        """Give it as it is."""
        if not re.fullmatch(self.pattern, text, re.ASCII):
            raise ValueError(f'must be like "{self.example}"')
        return text

    def schema(self) -> dict[str, Any]:
        """Give the schema."""
        return {"type": "string", "pattern": f"^{self.pattern}$", "examples": [self.example]}


@attrs.frozen
class Number:
    """A whole number."""

    least: int
    most: int

    def read(self, text: str) -> int:
        """Give the number."""
        if not _NUMBER.fullmatch(text) or not self.least <= int(text) <= self.most:
            raise ValueError(f"must be a whole number from {self.least} to {self.most}")
        return int(text)

    def schema(self) -> dict[str, Any]:
        """Give the schema."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@attrs.frozen
class Choice:
    """One of some words."""

    words: Sequence[str]

    def read(self, text: str) -> str:
        """Give the word."""
        if text not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}")
        return text

    def schema(self) -> dict[str, Any]:
        """Give the schema."""
        return {"type": "string", "enum": list(self.words)}


@attrs.frozen
class Flag:
    """Yes or no."""

    def read(self, text: str) -> bool:
        """Give it."""
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"

    def schema(self) -> dict[str, Any]:
        """Give the schema."""
        return {"type": "boolean"}


@attrs.frozen
class Time:
    """A moment, RFC 3339."""

    def read(self, text: str) -> dt.datetime:
        """Give it in UTC."""
        what = 'must be a time such as "2026-11-28T12:00:00Z" ("+" is written %2B in a URL)'
        if not _TIME.fullmatch(text):
            raise ValueError(what)
        if not _FIRST_YEAR <= int(text[:4]) <= _LAST_YEAR:
            raise ValueError(f"must be a time from {_FIRST_YEAR} to {_LAST_YEAR}")
        try:
            return dt.datetime.fromisoformat(text.upper()).astimezone(dt.UTC)
        except ValueError:
            raise ValueError(what) from None

    def schema(self) -> dict[str, Any]:
        """Give the schema."""
        return {"type": "string", "format": "date-time"}


@attrs.frozen
class Codes:
    """One or several codes, with commas between."""

    longest: int = 10
    most: int = 50

    def read(self, text: str) -> list[str]:
        """Give them in order."""
        if not re.fullmatch(self._pattern(), text):
            raise ValueError(
                f"must be 1 to {self.most} codes with commas between, each of 1 to {self.longest} characters"
            )
        return text.split(",")

    def schema(self) -> dict[str, Any]:
        """Give the schema."""
        return {"type": "string", "pattern": f"^{self._pattern()}$"}

    def _pattern(self) -> str:
        one = rf"[^,\u0000-\u001f\u007f]{{1,{self.longest}}}"
        return f"{one}(,{one}){{0,{self.most - 1}}}"


@attrs.frozen
class Parameter:
    """One parameter of an operation.

    Attributes:
        default: what it is where the request does not say; None = it then does not narrow the answer.
        in_path: it stands in the path, and must be there.
    """

    name: str
    kind: Kind
    about: str
    default: Any = None
    in_path: bool = False

    def document(self) -> dict[str, Any]:
        """Give it as an OpenAPI parameter object."""
        schema = self.kind.schema()
        if self.default is not None:
            schema["default"] = self.default
        return {
            "name": self.name,
            "in": "path" if self.in_path else "query",
            "required": self.in_path,
            "description": self.about,
            "schema": schema,
        }


def read(
    declared: Sequence[Parameter], path: Mapping[str, str], pairs: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """Give every declared parameter's value.

    Args:
        declared: what the operation knows.
        path: parameters of the path.
        pairs: parameters of the query, as they came.

    Raises:
        BadParameter: the first that is unknown, comes twice, or is not what it must be.
    """
    known = {each.name: each for each in declared if not each.in_path}
    texts: dict[str, str] = {}
    for name, text in pairs:
        if name not in known:
            raise BadParameter(shown(name), _unknown(known))
        if name in texts:
            raise BadParameter(name, "stands twice")
        texts[name] = text
    values: dict[str, Any] = {}
    for each in declared:
        given = path.get(each.name) if each.in_path else texts.get(each.name)
        if given is None:
            values[each.name] = each.default
            continue
        try:
            values[each.name] = each.kind.read(given)
        except ValueError as error:
            raise BadParameter(each.name, f'{error}, not "{shown(given)}"') from None
    return values


def shown(text: str) -> str:
    """Give foreign text as it may stand in a message: short, and without what is not printed."""
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _unknown(known: Iterable[str]) -> str:
    names = ", ".join(sorted(known))
    return f"is not known here; known: {names}" if names else "is not known here; there are no parameters"
