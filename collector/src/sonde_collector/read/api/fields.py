"""What answers hold: fields that both shape a row and write its JSON Schema. **Pure**."""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

Type = Literal["text", "number", "integer", "flag", "time", "object"]
_SCHEMAS: dict[Type, dict[str, Any]] = {
    "text": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "flag": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "object": {"type": "object"},
}


@attrs.frozen
class Field:
    """One field of an answer.

    Attributes:
        name: with its unit.
        type: what it is; an `Object` for what has fields of its own.
        null: it may be null: not measured, or not known.
        many: it is a list of these.
        words: the only ones that a text may be.
    """

    name: str
    type: "Type | Object"
    about: str = ""
    null: bool = False
    many: bool = False
    words: Sequence[str] = ()

    def plain(self, value: Any) -> Any:
        """Give a value of the database as JSON has it."""
        if value is None:
            return [] if self.many and not self.null else None
        return [self._one(each) for each in value] if self.many else self._one(value)

    def _one(self, value: Any) -> Any:
        if isinstance(self.type, Object):
            return self.type.plain(value)
        if self.type == "time":
            return instant(value)
        if self.type == "number":
            number = float(value)
            return number if math.isfinite(number) else None
        return int(value) if self.type == "integer" else value

    def schema(self) -> dict[str, Any]:
        """Give its JSON Schema."""
        schema = self.type.schema() if isinstance(self.type, Object) else dict(_SCHEMAS[self.type])
        if self.words:
            schema["enum"] = [*self.words, None] if self.null and not self.many else list(self.words)
        if self.many:
            schema = {"type": "array", "items": schema}
        if self.null:
            schema["type"] = [schema["type"], "null"]
        return {**schema, "description": self.about} if self.about else schema


@attrs.frozen
class Object:
    """A JSON object of an answer."""

    title: str
    fields: Sequence[Field]

    def plain(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Give a row of the database as JSON has it: these fields and no others."""
        return {field.name: field.plain(row[field.name]) for field in self.fields}

    def schema(self) -> dict[str, Any]:
        """Give its JSON Schema."""
        return {
            "type": "object",
            "title": self.title,
            "properties": {field.name: field.schema() for field in self.fields},
            "required": [field.name for field in self.fields],
            "additionalProperties": False,
        }


def instant(moment: dt.datetime) -> str:
    """Give a time as RFC 3339 in UTC, to the microsecond."""
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
