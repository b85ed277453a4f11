"""One object that an apply adds, changes or deactivates. **Pure**."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

Row = Mapping[str, Any]
Current = Mapping[str, Any]


@attrs.frozen
class Change:
    """One object that is added (+), changed (~) or deactivated (-).

    Attributes:
        fields: what changes, name -> (old, new); of a new object, old is None.
        row: the object as it must become; of an existing one with its `id`.
    """

    sign: Literal["+", "~", "-"]
    kind: str
    key: str
    fields: dict[str, tuple[Any, Any]]
    row: dict[str, Any]


def changed(old: Row, new: Row, names: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """Give what differs between two rows."""
    return {name: (old[name], new[name]) for name in names if old[name] != new[name]}


def added(new: Row, names: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """Give what a new row says."""
    return {name: (None, new[name]) for name in names if new[name] not in (None, (), [])}
