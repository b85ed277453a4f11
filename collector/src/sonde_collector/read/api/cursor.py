"""Cursors: where the next page begins, as one opaque word. **Pure**.

A cursor holds the last row's place in the order, so rows that come or go meanwhile neither repeat nor hide
any. It is bound to the question that it came from. It is not signed: whatever somebody makes up is a place in
an order, and checked as one.
"""

import base64
import binascii
import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from sonde_collector.read.api.fields import instant

Place = Literal["text", "integer", "time"]
_LONGEST = 1000
_LAST_INTEGER = 2**63 - 1
_WRONG = "must be the word that `next` of the page before gives"


@attrs.frozen
class Order:
    """A column that rows are ordered by.

    Attributes:
        column: of the row.
        parameter: how the query takes the place to begin after.
    """

    column: str
    type: Place

    @property
    def parameter(self) -> str:
        """Give the query's parameter of the place to begin after."""
        return f"after_{self.column.lstrip('_')}"


def question(path: str, values: Mapping[str, Any]) -> str:
    """Give a short name of what is asked, apart from the page."""
    asked = {name: str(value) for name, value in values.items() if name not in ("limit", "after")}
    return hashlib.sha256(json.dumps([path, asked], sort_keys=True).encode()).hexdigest()[:12]


def write(asked: str, order: Sequence[Order], row: Mapping[str, Any]) -> str:
    """Give the cursor that begins after `row`."""
    places = [_plain(row[each.column]) for each in order]
    text = json.dumps([asked, *places], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(asked: str, order: Sequence[Order], cursor: str | None) -> dict[str, Any]:
    """Give the query's parameters: the place to begin after, or None for each.

    Raises:
        ValueError: it is no cursor, or one of another question.
    """
    if cursor is None:
        return {each.parameter: None for each in order}
    if len(cursor) > _LONGEST:
        raise ValueError(_WRONG)
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        parts = json.loads(text, parse_constant=_refuse)
    except (ValueError, binascii.Error, RecursionError):
        raise ValueError(_WRONG) from None
    if not isinstance(parts, list) or len(parts) != len(order) + 1:
        raise ValueError(_WRONG)
    if parts[0] != asked:
        raise ValueError("belongs to another question: `limit` alone may change from page to page")
    return {each.parameter: _value(each.type, part) for each, part in zip(order, parts[1:], strict=True)}


def _refuse(_: str) -> None:
    raise ValueError(_WRONG)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return instant(value)
    return value


def _value(kind: Place, part: Any) -> Any:
    if kind == "integer" and type(part) is int and abs(part) <= _LAST_INTEGER:
        return part
    if kind == "text" and isinstance(part, str) and "\0" not in part and part.isprintable():
        return part
    if kind == "time" and isinstance(part, str):
        with contextlib.suppress(ValueError):
            moment = dt.datetime.fromisoformat(part)
            if moment.tzinfo is not None:
                return moment
    raise ValueError(_WRONG)
