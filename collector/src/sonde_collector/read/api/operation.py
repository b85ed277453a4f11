"""What one path of the API takes and gives; checks, answers and the OpenAPI document follow. **Pure**."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from sonde_collector.read.api import cursor
from sonde_collector.read.api.cursor import Order
from sonde_collector.read.api.fields import Field, Object
from sonde_collector.read.api.parameters import BadParameter, Number, Parameter, Text

MOST_ROWS = 500
_LIMIT = Parameter("limit", Number(1, MOST_ROWS), "Rows of a page, at most", default=100)
_AFTER = Parameter("after", Text(1000), "`next` of the page before")

Values = dict[str, Any]


@attrs.frozen
class Operation:
    """GET of one path.

    Attributes:
        name: unique; camel case, as generated clients like it.
        path: with {parameters}.
        summary: one line.
        gives: what it answers; with `order` a page of these.
        run: gives the row, None for what is not there, or with `order` the rows of a page and one.
        parameters: what it takes, apart from `limit` and `after`.
        order: of rows; total, so that a page begins where the one before ended.
        missing: what a 404 says is not there.
    """

    name: str
    path: str
    summary: str
    gives: Object
    run: Callable[[Any, Values], Any]
    parameters: Sequence[Parameter] = ()
    order: Sequence[Order] = ()
    missing: str = ""

    @property
    def takes(self) -> tuple[Parameter, ...]:
        """Give all parameters."""
        return (*self.parameters, _LIMIT, _AFTER) if self.order else tuple(self.parameters)

    @property
    def answer(self) -> Object:
        """Give what the body is."""
        if not self.order:
            return self.gives
        next_page = Field("next", "text", "`after` of the next page; null on the last", null=True)
        return Object(f"{self.gives.title}Page", (Field("items", self.gives, many=True), next_page))

    def begin(self, path: str, values: Values) -> tuple[str, Values]:
        """Give the question's short name, and what the query takes: one row more than the page holds.

        Raises:
            BadParameter: `after` is no cursor of this question.
        """
        asked = cursor.question(path, values)
        if not self.order:
            return asked, values
        try:
            place = cursor.read(asked, self.order, values["after"])
        except ValueError as error:
            raise BadParameter("after", str(error)) from None
        return asked, {**values, **place, "limit": values["limit"] + 1}

    def body(self, asked: str, limit: int, found: Any) -> Mapping[str, Any]:
        """Give the body of the answer, of a row or of the rows of a page and perhaps one more."""
        if not self.order:
            return self.gives.plain(found)
        rows = found[:limit]
        more = len(found) > limit
        return {
            "items": [self.gives.plain(row) for row in rows],
            "next": cursor.write(asked, self.order, rows[-1]) if more else None,
        }
