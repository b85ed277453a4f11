"""Values into a TOML file that people have written in: their comments, and all else, stay as they are."""

import json
import os
import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

_NOT_BY_LINES = "[{}] is written in a way that can't be changed line by line"
Value = str | Sequence[str]

_HEADER = re.compile(r"(?P<comment># ?)?\[(?P<name>[A-Za-z0-9_.-]+)\]\s*(#.*)?")


def with_values(text: str, table: str, values: Mapping[str, Value]) -> str:
    """Give the text with these keys in a table. **Pure**.

    A key that is there gets its new value; one that stands there as a comment (`# key = …`) becomes one; the
    others come first in the table. A table that is a comment as a whole takes the place of that comment; one
    that is not there at all comes last.

    Args:
        text: TOML.
        table: its name; "" is what stands before all tables.
        values: of strings, or lists of strings.

    Raises:
        ValueError: it is no TOML, or written in a way that can't be changed line by line.
    """
    wanted = tomllib.loads(text)
    there = wanted.setdefault(table, {}) if table else wanted
    if not isinstance(there, dict):
        raise ValueError(_NOT_BY_LINES.format(table))  # noqa: TRY004 -- of the file, not of an argument
    there.update({key: value if isinstance(value, str) else list(value) for key, value in values.items()})
    lines = text.removesuffix("\n").split("\n") if text else []
    first, end, is_comment = _range(lines, table)
    body = [] if is_comment else lines[first:end]
    rest = dict(values)
    for form in (r"{}\s*=", r"#\s*{}\s*="):  # what is there, before what stands there as a comment
        for at, line in enumerate(body):
            for key in [key for key in rest if re.match(form.format(re.escape(key)), line)]:
                body[at] = f"{key} = {_literal(rest.pop(key))}"
    added = [f"{key} = {_literal(value)}" for key, value in rest.items()]
    if first > len(lines):  # a new table
        lines = [*lines, "", f"[{table}]", *added] if lines else [f"[{table}]", *added]
    elif is_comment:
        lines[first - 1 : end] = [f"[{table}]", *added]
    else:
        lines[first:end] = [*added, *body]
    made = "\n".join(lines) + "\n"
    try:
        if tomllib.loads(made) == wanted:
            return made
    except tomllib.TOMLDecodeError:
        pass
    raise ValueError(_NOT_BY_LINES.format(table))


def write_whole(path: Path, text: str) -> None:
    """Write a file; whoever reads it meanwhile sees the old one or the new one. Mode and owner stay.

    Raises:
        OSError: it can't be written; the old one stays.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        scratch.write_text(text, encoding="utf-8")
        if path.exists():
            stat = path.stat()
            scratch.chmod(stat.st_mode & 0o7777)
            if os.geteuid() == 0:
                os.chown(scratch, stat.st_uid, stat.st_gid)
        else:
            scratch.chmod(0o644)
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


def _range(lines: Sequence[str], table: str) -> tuple[int, int, bool]:
    """Give where a table's lines begin and end, and whether it is a comment; beyond the last: none."""
    headers = [(at, found) for at, line in enumerate(lines) if (found := _HEADER.fullmatch(line))]
    if not table:
        return 0, min((at for at, _ in headers), default=len(lines)), False
    for commented in (False, True):
        for at, found in headers:
            if found["name"] == table and bool(found["comment"]) == commented:
                return at + 1, _end(lines, at, headers, commented=commented), commented
    return len(lines) + 1, len(lines) + 1, False


def _end(lines: Sequence[str], start: int, headers: Sequence[tuple[int, object]], *, commented: bool) -> int:
    end = next((at for at, _ in headers if at > start), len(lines))
    if commented:  # its comment is one paragraph
        end = next((at for at in range(start, end) if not lines[at].startswith("#")), end)
    return end


def _literal(value: Value) -> str:
    """Give a value as TOML writes it: JSON's strings are TOML's."""
    text = json.dumps(value if isinstance(value, str) else list(value), ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")  # but for this
