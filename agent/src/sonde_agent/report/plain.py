"""Results for programs. **Pure.**"""

import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2 as pb


def to_json(results: Sequence[pb.Result]) -> str:
    """The same for programs: a JSON array; fields as in results.proto, enums as lower-case words."""
    return json.dumps([_plain(result) for result in results], indent=2, ensure_ascii=False)


def _plain(message: Message) -> dict[str, Any]:
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        prefix = (
            "".join(f"_{char}" if char.isupper() else char.upper() for char in field.enum_type.name)[1:] + "_"
        )
        return field.enum_type.values_by_number[value].name.removeprefix(prefix).lower()
    if field.name == "quality":
        return [flag.name.lower() for flag in Quality if flag & value and flag.name]
    if field.name in ("hops", "evidence"):
        return json.loads(value)
    return round(value, 4) if isinstance(value, float) else value
