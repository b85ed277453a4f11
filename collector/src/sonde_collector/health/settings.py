"""What decides over a state: the fleet file's [health] tables, the nearer one before the wider. **Pure.**"""

from collections.abc import Mapping
from math import ceil
from typing import Any

from attrs import fields, frozen


@frozen
class Settings:
    """How one object is judged. Durations in seconds.

    Attributes:
        healthy_threshold: so many checks in a row must be well before a vantage calls it well again.
        unhealthy_threshold: so many must fail before a vantage says that it fails.
        vantages_needed: how many vantages must say so: a number, or a share of those that judge.
        degraded_ms: slower than that is not well; None = however slow.
        stale_after: a vantage that measured it longer ago does not judge; None = thrice its usual interval.
        flap_changes: so many changes within flap_window are flapping, which ends after flap_rest without one.
        cert_days: days left of a certificate at which that is told.
        hold_servers: a provider with fewer servers is never held as a whole.
        hold_share: of its servers that must fail at once.
        hold_within: what counts as at once.
    """

    healthy_threshold: int = 3
    unhealthy_threshold: int = 2
    vantages_needed: float = 0.6
    degraded_ms: float | None = None
    stale_after: float | None = None
    flap_changes: int = 6
    flap_window: float = 1800.0
    flap_rest: float = 600.0
    cert_days: tuple[int, ...] = (30, 14, 7, 1)
    hold_servers: int = 3
    hold_share: float = 0.9
    hold_within: float = 600.0

    @property
    def window(self) -> int:
        """How many results of each series are remembered: what has no run in them is unsteady."""
        return 2 * (self.healthy_threshold + self.unhealthy_threshold)

    def needed(self, judging: int) -> int:
        """Give how many of the vantages that judge must fail it."""
        if isinstance(self.vantages_needed, int):
            return self.vantages_needed
        return max(1, ceil(self.vantages_needed * judging - 1e-9))


_NAMES = frozenset(field.name for field in fields(Settings))


def settle(*layers: Mapping[str, Any] | None) -> Settings:
    """Give the settings of which a later layer overrides an earlier one."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {name: value for name, value in (layer or {}).items() if name in _NAMES}
    if merged.get("vantages_needed") == "all":
        merged["vantages_needed"] = 1.0
    if "cert_days" in merged:
        merged["cert_days"] = tuple(merged["cert_days"])
    return Settings(**merged)
