"""How many bytes a direction of a bulk transfer may move now: the bound of its bytes, and its rate cap."""

import time

_BURST_S = 0.1
"""What was not used is kept for this long: a busy host's hiccup must not lower a capped rate."""

_QUANTUM_S = 0.005
"""Less than this much of the rate is not worth a system call."""

_S = 1_000_000_000


class Enough(Exception):
    """The bytes of the run are used up: it ends here, in good order."""


class Gate:
    """Counts what all streams of one direction move together.

    Attributes:
        moved: payload bytes so far: read, or handed to the kernel.
    """

    __slots__ = ("_bound", "_burst", "_quantum", "_rate", "_refilled_ns", "_tokens", "moved")

    def __init__(self, bound: int, rate: float = 0.0) -> None:
        """Open it.

        Args:
            bound: payload bytes, at most [>= 1].
            rate: payload bytes a second; 0 = as fast as it goes.
        """
        self.moved = 0
        self._bound, self._rate = bound, rate
        self._burst, self._quantum = rate * _BURST_S, max(1, int(rate * _QUANTUM_S))
        self._tokens, self._refilled_ns = 0.0, 0

    def room(self, most: int) -> int:
        """How many of `most` bytes may move now; 0 = wait some milliseconds.

        Raises:
            Enough: none, and never again.
        """
        left = self._bound - self.moved
        if left <= 0:
            raise Enough
        if self._rate:
            return min(most, left, self._allowed(time.monotonic_ns()))
        return min(most, left)

    def took(self, size: int) -> None:
        """Count `size` bytes as moved."""
        self.moved += size
        self._tokens -= size

    def _allowed(self, now_ns: int) -> int:
        if self._refilled_ns:
            fresh = (now_ns - self._refilled_ns) / _S * self._rate
            self._tokens = min(self._tokens + fresh, self._burst)
        self._refilled_ns = now_ns
        return int(self._tokens) if self._tokens >= self._quantum else 0
