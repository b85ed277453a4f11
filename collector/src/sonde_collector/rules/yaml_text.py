"""Plain values to YAML as a person would write it: short tables on a line, long texts as blocks. **Pure**."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Value = Any
"""str, int, bool, None, and sequences and string-keyed mappings of these."""
_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./+-]*(?: [A-Za-z0-9_./+-]+)*")
_RESERVED = re.compile(r"(?i)true|false|null|yes|no|on|off|y|n")
_NOT_IN_A_BLOCK = re.compile(
    r"[^\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_NOT_IN_QUOTES = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def document(value: Value) -> str:
    """Give `value` as a YAML document that reads back as the same value."""
    return "\n".join(_block(value)) + "\n"


def _block(value: Value) -> list[str]:
    """Give the lines of a value that may take several; those below the first are indented by the caller."""
    if isinstance(value, Mapping) and value:
        return [line for key, each in value.items() for line in _entry(key, each)]
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return [line for each in value for line in _item(each)]
    return [_flow(value)]


def _entry(key: str, value: Value) -> list[str]:
    head = f"{_scalar(key)}:"
    if isinstance(value, str):
        return _text(head, value)
    if _is_leaf(value) or _is_short(value, len(head)):
        return [f"{head} {_flow(value)}"]
    inner = _block(value)
    return [head, *(f"  {line}" if line else line for line in inner)]


def _item(value: Value) -> list[str]:
    if isinstance(value, str):
        return _text("-", value)
    if _is_leaf(value) or _is_short(value, 2):
        return [f"- {_flow(value)}"]
    first, *rest = _block(value)
    return [f"- {first}", *(f"  {line}" if line else line for line in rest)]


def _text(head: str, text: str) -> list[str]:
    """Give a string behind its key: a block where it has several lines, else on the key's line."""
    lines = text.split("\n")
    if len(lines) < 3 or _NOT_IN_A_BLOCK.search(text) or text[:1].isspace() or text.endswith("\n\n"):  # noqa: PLR2004
        return [f"{head} {_scalar(text)}"]
    chomp = "" if text.endswith("\n") else "-"
    body = lines[:-1] if text.endswith("\n") else lines
    return [f"{head} |{chomp}", *(f"  {line}" if line else line for line in body)]


def _is_leaf(value: Value) -> bool:
    return not isinstance(value, Mapping | Sequence) or isinstance(value, str) or not value


def _is_short(value: Value, before: int) -> bool:
    """Whether a table or list fits on a line and holds no text of several lines."""
    flow = _flow(value)
    return before + len(flow) < _WIDTH and "\\n" not in flow


def _flow(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: str | int | None) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and not _RESERVED.fullmatch(value):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _NOT_IN_QUOTES.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
