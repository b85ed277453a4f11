"""How commands speak: tables for people (rich on a terminal, plain elsewhere), JSON for programs."""

import datetime as dt
import decimal
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Cells = Sequence[Sequence[str]]


def say(text: str = "") -> None:
    """Write one line to standard output."""
    sys.stdout.write(text + "\n")


def complain(text: str) -> None:
    """Write to standard error."""
    sys.stderr.write(text + "\n")


def say_json(value: Any) -> None:
    """Write `value` as one line of JSON."""
    say(json.dumps(_finite(value), default=plain, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    """Give `value` with text in the place of what JSON has no number for. **Pure**."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def plain(value: Any) -> Any:
    """Give what JSON has no type for: times as ISO 8601, decimals as numbers, the rest as text. **Pure**."""
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value) if value.is_finite() else str(value)
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)


def say_table(headers: Sequence[str], rows: Cells, *, title: str = "") -> None:
    """Write a table: with colours on a terminal, else in plain aligned columns."""
    if sys.stdout.isatty():
        Console().print(rich_table(headers, rows, title=title))
        return
    for line in plain_table(headers, rows, title=title):
        say(line)


def rich_table(headers: Sequence[str], rows: Cells, *, title: str = "") -> Table:
    """Give a table for `rich`."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    numeric = [all(_is_number(row[i]) for row in rows) and bool(rows) for i in range(len(headers))]
    for header, number in zip(headers, numeric, strict=True):
        table.add_column(header, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def plain_table(headers: Sequence[str], rows: Cells, *, title: str = "") -> list[str]:
    """Give the lines of a table without colours. **Pure**."""
    widths = [max(len(row[i]) for row in (headers, *rows)) for i in range(len(headers))]
    lines = [title] if title else []
    for row in (headers, *rows):
        cells = (
            cell.rjust(width) if row is not headers and _is_number(cell) else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def _is_number(cell: str) -> bool:
    return cell in ("", "-") or cell.replace(".", "").replace("-", "").replace(" ", "").isdigit()


def number(value: float | None, digits: int = 0) -> str:
    """Give a number for a table, "-" for None. **Pure**."""
    return "-" if value is None else f"{value:.{digits}f}"


def ago(seconds: float | None) -> str:
    """Give an age as people say it: "12 s", "5 min", "3 h", "4 d"; "-" for None. **Pure**."""
    if seconds is None:
        return "-"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def joined(values: Mapping[str, Any]) -> str:
    """Give "name value, name value". **Pure**."""
    return ", ".join(f"{name} {value}" for name, value in values.items())
