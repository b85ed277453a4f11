"""The filter `sonde.fleet.to_toml`: a dictionary as TOML 1.0, or an error that names the key."""

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_LONGEST_INTEGER = 2**63

DOCUMENTATION = """
name: to_toml
short_description: A dictionary as TOML
description: Writes TOML 1.0, keys in their order. There is no TOML for null, and integers have 64 bits.
options:
  _input:
    description: The dictionary.
    type: dict
    required: true
"""
EXAMPLES = """
- ansible.builtin.copy:
    content: "{{ {'collector': 'collector.example.com:7443'} | sonde.fleet.to_toml }}"
    dest: /etc/sonde/agent.toml
"""
RETURN = """
_value:
  description: The text, which ends with a newline.
  type: str
"""


class FilterModule:
    """What Ansible asks for filters."""

    def filters(self) -> dict[str, Any]:
        """Give them by name."""
        return {"to_toml": to_toml}


def to_toml(document: Mapping[str, Any]) -> str:
    """Give `document` as TOML. **Pure**.

    Raises:
        AnsibleFilterError: a value that TOML can't say, with its key.
    """
    if not isinstance(document, Mapping):
        raise AnsibleFilterError(f"TOML is a table of keys, not {type(document).__name__}")
    return "\n".join(_table(document, ())) + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Give the lines of a table: first its own values, as what follows a header belongs to that."""
    for key, value in table.items():
        if not _is_table(value) and not _is_tables(value):
            yield f"{_key(key, path)} = {_value(value, (*path, str(key)))}"
    for key, value in table.items():
        below = (*path, str(key))
        if _is_table(value):
            # A table of tables alone needs no header of its own.
            if not value or not all(_is_table(one) or _is_tables(one) for one in value.values()):
                yield from ("", f"[{_dotted(below)}]")
            yield from _table(value, below)
        elif _is_tables(value):
            for one in value:
                yield from ("", f"[[{_dotted(below)}]]")
                yield from _table(one, below)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    return _is_list(value) and len(value) > 0 and all(map(_is_table, value))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(_key(key, path[:-1]) for key in path)


def _key(key: Any, path: tuple[str, ...]) -> str:
    if not isinstance(key, str):
        raise AnsibleFilterError(f"TOML has text as keys: {key!r} {_at(path)} is none, put it in quotes")
    return key if key and _BARE.issuperset(key) else _text(key, path)


def _value(value: Any, path: tuple[str, ...]) -> str:
    if _is_table(value):
        pairs = (f"{_key(key, path)} = {_value(one, (*path, str(key)))}" for key, one in value.items())
        return "{" + ", ".join(pairs) + "}"
    if _is_list(value):
        return "[" + ", ".join(_value(one, path) for one in value) + "]"
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    return _number(value, path)


def _number(value: Any, path: tuple[str, ...]) -> str:
    if isinstance(value, bool):  # before int, which it is too
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))  # "inf" and "nan" are TOML's words too
    if not isinstance(value, int):
        what = "null" if value is None else type(value).__name__
        raise AnsibleFilterError(f"TOML has no {what}: leave the key out {_at(path)}")
    if not -_LONGEST_INTEGER <= value < _LONGEST_INTEGER:
        raise AnsibleFilterError(f"TOML has integers of 64 bits: {value} {_at(path)} is longer")
    return str(int(value))


def _text(text: str, path: tuple[str, ...]) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise AnsibleFilterError(f"a text is no Unicode {_at(path)}") from None
    # JSON's escapes are TOML's too, but for DEL, which JSON leaves as it is.
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _at(path: tuple[str, ...]) -> str:
    return f"(at {'.'.join(path)})" if path else "(at the top)"
