"""Noticing that the wall clock was stepped."""

import time

from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.net.step_watch import StepWatch


class Clocks:
    """A host's two clocks; every reading takes a while, as long as the host likes."""

    def __init__(self) -> None:
        self.now = 10**12
        self.offset = 10**18
        self.delays: list[int] = []

    def _pass(self) -> int:
        self.now += self.delays.pop() if self.delays else 50
        return self.now

    def realtime(self) -> int:
        """CLOCK_REALTIME."""
        """CLOCK_REALTIME."""
        return self._pass() + self.offset

    def monotonic(self) -> int:
        """CLOCK_MONOTONIC."""
        """CLOCK_MONOTONIC."""
        return self._pass()


@given(st.lists(st.integers(0, 10**9), max_size=60))
def test_being_descheduled_is_no_step(delays: list[int]) -> None:
    """However long the process is kept off the CPU between two readings, no step is seen where none was."""
    clocks = Clocks()
    watch = StepWatch(clocks.realtime, clocks.monotonic)
    clocks.delays = delays
    assert not any(watch.stepped() for _ in range(30))


@given(st.integers(10_000, 10**15), st.booleans())
def test_a_step_is_seen_once(size: int, back: bool) -> None:  # noqa: FBT001 -- drawn by hypothesis
    """A step of 10 µs or more, either way, is seen at the next look and only there."""
    clocks = Clocks()
    watch = StepWatch(clocks.realtime, clocks.monotonic)
    assert not watch.stepped()
    clocks.offset += -size if back else size
    assert watch.stepped()
    assert not watch.stepped()


def test_the_real_clocks_stand_still() -> None:
    """On this host's own clocks, ten thousand looks see no step."""
    watch = StepWatch()
    end = time.monotonic() + 5
    looks = 0
    while looks < 10_000 and time.monotonic() < end:
        assert not watch.stepped()
        looks += 1
    assert looks > 0
