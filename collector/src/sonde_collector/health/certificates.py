"""Certificates that end soon: each threshold is told once, and when they are renewed. **Pure.**"""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

DAY_S = 86_400.0
_CRITICAL_DAYS = 7


@frozen
class Certificate:
    """The newest certificate of one address. Times in seconds since 1970."""

    address: str
    not_after: float


@frozen
class Notice:
    """What is to be told of a target's certificates.

    Attributes:
        days: the threshold that was crossed; None = they are renewed.
    """

    days: int | None
    not_after: float
    addresses: tuple[str, ...]
    severity: str


def look(
    certificates: Sequence[Certificate], told: Mapping[str, Any] | None, days: Sequence[int], now: float
) -> tuple[dict[str, Any] | None, Notice | None]:
    """Give what is to be remembered as told, and what is to be told.

    Args:
        certificates: of the target's addresses; empty = nobody has seen one lately, which tells nothing.
        told: what was remembered; None = nothing is open.
        days: the thresholds.
        now: [s since 1970].
    """
    if not certificates:
        return dict(told) if told else None, None
    first = min(one.not_after for one in certificates)
    left = (first - now) / DAY_S
    crossed = min((one for one in days if left <= one), default=None)
    addresses = tuple(sorted(one.address for one in certificates if one.not_after == first))
    if crossed is None:
        return None, Notice(None, first, addresses, "info") if told else None
    if told and told["days"] <= crossed and told["not_after"] == first:
        return dict(told), None
    severity = "critical" if crossed <= _CRITICAL_DAYS else "warning"
    return {"days": crossed, "not_after": first}, Notice(crossed, first, addresses, severity)
