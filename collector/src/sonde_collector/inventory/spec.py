"""A table of the fleet file as it is kept. **Pure.**"""

from typing import Any

import attrs


def spec_of(one: Any) -> dict[str, Any]:
    """Give a table without its key: only what differs from the defaults."""
    spec = attrs.asdict(one, filter=lambda field, value: value != _default(field))
    spec.pop("key", None)
    return {name: _plain(value) for name, value in spec.items()}


def _default(field: "attrs.Attribute[Any]") -> Any:
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value
