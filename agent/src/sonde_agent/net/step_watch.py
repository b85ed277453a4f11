"""Noticing that the wall clock was stepped, without a threshold to tune."""

from __future__ import annotations

import time
from collections.abc import Callable

_ROUNDING_NS = 1000  # the two clocks are scaled apart; they agree to nanoseconds, a step is far larger


class StepWatch:
    """Watches the distance between CLOCK_REALTIME and CLOCK_MONOTONIC.

    Both run at the same disciplined rate, so their distance changes only when the wall clock is set. A
    look reads one between two readings of the other, which bounds the distance from both sides, however
    long this process was off the CPU; a step is when two looks' bounds can't both be true.
    """

    def __init__(
        self, realtime: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._realtime = realtime
        self._monotonic = monotonic
        self._low, self._high = self._bounds()

    def stepped(self) -> bool:
        """Whether the wall clock was set since the last look."""
        low, high = self._bounds()
        if low > self._high or high < self._low:
            self._low, self._high = low, high
            return True
        self._low, self._high = max(low, self._low), min(high, self._high)
        return False

    def _bounds(self) -> tuple[int, int]:
        before = self._monotonic()
        wall = self._realtime()
        after = self._monotonic()
        return wall - after - _ROUNDING_NS, wall - before + _ROUNDING_NS
