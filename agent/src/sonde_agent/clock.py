"""Two clocks: BOOTTIME says when to run and how long, the wall clock (UTC) says when it was.

BOOTTIME counts on through suspend and can't be set, so schedules stand on it. The wall clock can be stepped
under us; a step is seen as a jump of the difference between the two. A slew (NTP, at most 0.05 %) moves
that difference too slowly to be taken for a step, as long as two looks are less than STEP_S / 0.0005 s
apart.
"""

import time
from collections.abc import Callable

STEP_US = 500_000
"""A jump of the wall clock by more than this is a step: far above any slew."""

_US = 1_000


def _read_boot() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Clock:
    """Reads both clocks and notices steps.

    Args:
        boot_ns, wall_ns: sources; a test passes its own.
    """

    def __init__(
        self, boot_ns: Callable[[], int] = _read_boot, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._boot_ns = boot_ns
        self._wall_ns = wall_ns
        self._seen_us = self.difference_us()

    def boot_ns(self) -> int:
        """Nanoseconds since boot, suspend included."""
        return self._boot_ns()

    def wall_us(self) -> int:
        """UTC now, microseconds since 1970."""
        return self._wall_ns() // _US

    def difference_us(self) -> int:
        """Wall clock minus BOOTTIME: constant until the wall clock is slewed or stepped."""
        before = self._boot_ns()
        wall = self._wall_ns()
        return (wall - (before + self._boot_ns()) // 2) // _US

    def wall_of(self, boot_ns: int) -> int:
        """UTC of a moment of BOOTTIME by today's wall clock, microseconds since 1970."""
        return boot_ns // _US + self.difference_us()

    def step_us(self) -> int:
        """How far the wall clock was stepped since the last call; 0 = it was not."""
        now_us = self.difference_us()
        moved, self._seen_us = now_us - self._seen_us, now_us
        return moved if is_step(moved) else 0


def is_step(moved_us: int) -> bool:
    """Whether the difference of the clocks moved too far for a slew. Pure."""
    return abs(moved_us) > STEP_US
