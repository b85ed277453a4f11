"""A TOML file into a frozen attrs model: strictly, and with every mistake at once.

A model is an `attrs.frozen` class whose fields are str, bool, int, float, `datetime`, `Path` (a relative one
is relative to the file), `units.Duration`, `units.Size`, `Literal`, further models, `tuple[X, ...]`,
`dict[str, X]`, unions of these that differ in their TOML type (`X | None`, `str | tuple[str, ...]`),
`Annotated[X, FromText(parse)]` for a type of your own that the file holds as a string, and `Annotated[X,
rule, ...]`, where a rule is called with the value read and gives the value to keep, or raises `ValueError`
with what it must be. Nothing is converted that the file does not say: "5" is no integer, true is no number.
Unknown keys are mistakes.

What several keys must satisfy together, a model says in a classmethod `problems(fields)`: it gets the fields
that were read well (a bad one is absent) and gives (key, message) pairs. So one bad key hides no other.

This is written by hand because a mistake in one field must not keep the rules over the other fields from
being checked, and because an agent pays for every library in memory.
"""

import datetime as dt
import difflib
import functools
import math
import os
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import attrs

from sonde_proto.units import Duration, Size, parse_duration, parse_size

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration can't be used.

    Attributes:
        messages: one line per mistake, each beginning with the key's path where it concerns one.
        path: the file, where there is one.
    """

    def __init__(self, messages: list[str], path: Path | None = None) -> None:
        super().__init__(messages)
        self.messages = messages
        self.path = path

    def __str__(self) -> str:
        return "\n".join(f"{self.path}: {line}" if self.path else line for line in self.messages)


def load(path: Path, model: type[T]) -> T:
    """Read the TOML file at `path` as `model`.

    Raises:
        ConfigError: the file can't be read, is not TOML, or is not what `model` describes.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(["no such file"], path) from None
    except OSError as error:
        raise ConfigError([f"can't be read: {error.strerror or error}"], path) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"line {line}: is not UTF-8 text"], path) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax(str(error))], path) from None
    except ValueError as error:  # a number of thousands of digits
        raise ConfigError([f"can't be read: {error}"], path) from None
    except RecursionError:
        raise ConfigError(["is nested too deeply"], path) from None
    try:
        return parse(document, model, path.absolute().parent)
    except ConfigError as error:
        raise ConfigError(error.messages, path) from None


def parse(document: Mapping[str, Any], model: type[T], base: Path | None = None) -> T:
    """Give `document`, as `tomllib` reads it, as `model`; relative paths are relative to `base`.

    Raises:
        ConfigError: with every mistake.
    """
    reading = _Reading(base)
    try:
        return typing.cast(T, _table(document, model, "", reading))
    except _Wrong:
        raise ConfigError(reading.mistakes) from None


def between(low: float, high: float) -> Callable[[Any], Any]:
    """Give the rule that a number lies in [low, high]."""

    def rule(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"must be between {low:g} and {high:g}, not {value:g}")
        return value

    return rule


def duration_between(low: str, high: str) -> Callable[[Any], Any]:
    """Give the rule that a `Duration` lies in [low, high], both written as in the file."""
    least, most = parse_duration(low), parse_duration(high)

    def rule(value: float) -> float:
        if not least <= value <= most:
            raise ValueError(f'must be between "{low}" and "{high}"')
        return value

    return rule


def not_empty(value: T) -> T:
    """Be a rule: a string, list or table that holds something."""
    if not value:
        raise ValueError("must not be empty")
    return value


def existing_file(path: Path) -> Path:
    """Be a rule: a file that is there and that this process may read."""
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"may not be read by this user: {path}")
    return path


@attrs.frozen
class FromText:
    """In `Annotated[X, FromText(parse)]`: the file holds a string, and `parse` makes an X of it."""

    parse: Callable[[str], Any]


class _Wrong(Exception):
    """The value has been reported; there is nothing to keep."""


@attrs.frozen
class _Reading:
    base: Path | None
    mistakes: list[str] = attrs.field(factory=list)


_SCALARS: dict[Any, tuple[type, str, Callable[[Any], Any]]] = {
    str: (str, "a string", str),
    bool: (bool, "true or false", bool),
    int: (int, "an integer", int),
    float: (float, "a number", float),
    Path: (str, "a path in quotes", Path),
    dt.datetime: (dt.datetime, "a time such as 2026-12-31T00:00:00Z, without quotes", lambda moment: moment),
    Duration: (str, 'a duration such as "10s"', parse_duration),
    Size: (str, 'a size such as "512MB"', parse_size),
}


def _read(value: Any, wanted: Any, at: str, reading: _Reading) -> Any:
    """Give `value` as the type `wanted`, or report why not and raise `_Wrong`."""
    origin, args = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return _read(value, _arm(value, args), at, reading)
    if origin is Annotated:
        return _annotated(value, args, at, reading)
    if attrs.has(wanted):
        return _table(value, wanted, at, reading)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](value, args, at, reading)
    return _scalar(value, wanted, at, reading)


def _annotated(value: Any, args: tuple[Any, ...], at: str, reading: _Reading) -> Any:
    inner, *rules = args
    if isinstance(rules[0], FromText):
        inner, rules[0] = str, rules[0].parse
    value = _read(value, inner, at, reading)
    for rule in rules:
        value = _kept(rule, value, at, reading)
    return value


def _scalar(value: Any, wanted: Any, at: str, reading: _Reading) -> Any:
    kind, name, convert = _SCALARS[wanted]
    accepts_int = wanted is float and type(value) is int
    if type(value) is not kind and not accepts_int:
        raise _wrong(at, f"must be {name}, not {_shown(value)}", reading)
    if isinstance(value, str) and "\0" in value:
        raise _wrong(at, "must not hold a NUL character", reading)
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(at, f"must be a finite number, not {value}", reading)
    if wanted is Path and reading.base:
        return reading.base / value
    return _kept(convert, value, at, reading)


def _literal(value: Any, arms: tuple[Any, ...], at: str, reading: _Reading) -> Any:
    if any(value == arm and type(value) is type(arm) for arm in arms):
        return value
    raise _wrong(at, f"must be one of {', '.join(map(_shown, arms))}, not {_shown(value)}", reading)


@functools.cache
def _hints(model: Any) -> Mapping[str, Any]:
    """A model's types; asked for each of a file's tables, and slow to make."""
    return typing.get_type_hints(model, include_extras=True)


def _table(value: Any, model: Any, at: str, reading: _Reading) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(at, f"must be a table, not {_shown(value)}", reading)
    hints = _hints(model)
    known = {field.name: field for field in attrs.fields(model)}
    before = len(reading.mistakes)
    reading.mistakes.extend(
        _at(_join(at, key), _unknown(key, sorted(known))) for key in value if key not in known
    )
    good: dict[str, Any] = {}
    for name, field in known.items():
        if name in value:
            try:
                good[name] = _read(value[name], hints[name], _join(at, name), reading)
            except _Wrong:
                continue
        elif field.default is attrs.NOTHING:
            reading.mistakes.append(_at(_join(at, name), "is required"))
        else:
            good[name] = _default(field.default)
    for key, message in _problems(model, good):
        reading.mistakes.append(_at(_join(at, key), message))
    if len(reading.mistakes) > before:
        raise _Wrong
    return model(**good)


def _problems(model: Any, good: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    rules: Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]] = getattr(model, "problems", lambda _: ())
    return rules(good)


def _default(default: Any) -> Any:
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def _list(value: Any, args: tuple[Any, ...], at: str, reading: _Reading) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(at, f"must be a list, not {_shown(value)}", reading)
    return tuple(_each(((f"{at}[{i}]", one) for i, one in enumerate(value)), args[0], reading))


def _dict(value: Any, args: tuple[Any, ...], at: str, reading: _Reading) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(at, f"must be a table, not {_shown(value)}", reading)
    items = ((_join(at, key), one) for key, one in value.items())
    return dict(zip(value, _each(items, args[1], reading), strict=True))


_CONTAINERS: dict[Any, Callable[[Any, tuple[Any, ...], str, _Reading], Any]] = {
    tuple: _list,
    dict: _dict,
    Literal: _literal,
}


def _each(items: Iterable[tuple[str, Any]], item: Any, reading: _Reading) -> list[Any]:
    """Give every item read; only after all were looked at, stop if one was wrong."""
    out, wrong = [], False
    for at, one in items:
        try:
            out.append(_read(one, item, at, reading))
        except _Wrong:
            wrong = True
    if wrong:
        raise _Wrong
    return out


def _arm(value: Any, arms: tuple[Any, ...]) -> Any:
    """Give the arm of a union that `value`'s TOML type belongs to; if none does, the first, to report it."""
    arms = tuple(arm for arm in arms if arm is not type(None))
    for arm in arms:
        base, *rules = typing.get_args(arm) if typing.get_origin(arm) is Annotated else (arm,)
        if rules and isinstance(rules[0], FromText):
            base = str
        origin = typing.get_origin(base)
        if origin is tuple:
            kinds: tuple[type, ...] = (list,)
        elif origin is dict or attrs.has(base):
            kinds = (dict,)
        elif origin is Literal:
            kinds = tuple({type(one) for one in typing.get_args(base)})
        else:
            kinds = (float, int) if base is float else (_SCALARS[base][0],)
        if type(value) in kinds:
            return arm
    return arms[0]


def _kept(rule: Callable[[Any], Any], value: Any, at: str, reading: _Reading) -> Any:
    try:
        return rule(value)
    except ValueError as error:
        raise _wrong(at, str(error), reading) from None


def _wrong(at: str, message: str, reading: _Reading) -> _Wrong:
    reading.mistakes.append(_at(at, message))
    return _Wrong()


def _at(path: str, message: str) -> str:
    return f"{path}: {message}" if path else message


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(known)}"
    return f"is not a known key; {hint}"


_LONGEST_SHOWN = 60


def _shown(value: Any) -> str:
    """Give `value` as the file writes it, shortened: what a person must find again."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dt.date | dt.time):
        return "a date or time"
    if not isinstance(value, str):
        return str(value)
    text = value if len(value) <= _LONGEST_SHOWN else value[: _LONGEST_SHOWN - 1] + "…"
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def _syntax(message: str) -> str:
    what, _, where = message.rstrip(")").partition(" (at ")
    return f"{where}: is not TOML: {what}" if where else f"is not TOML: {what}"
