"""Rows of health's tables as the decisions see them. **Pure.**"""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from sonde_collector.health.states import Change, Standing

Key = tuple[str, str]
"""Object and its stable key."""


@frozen
class Kept:
    """A row of sonde.health_states. `checked_at` in seconds since 1970."""

    standing: Standing
    checked_at: float
    held: bool
    data: Mapping[str, Any]


@frozen
class Moved:
    """A row of sonde.health_changes."""

    object: str
    key: str
    change: Change
    data: Mapping[str, Any]
