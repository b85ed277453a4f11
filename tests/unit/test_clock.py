"""Two clocks, and steps of the one that can be set."""

from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.clock import STEP_US, Clock


class Sources:
    """A host's clocks, moved by hand."""

    def __init__(self) -> None:
        self.boot_ns = 5_000_000_000
        self.wall_ns = 1_800_000_000_000_000_000

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.boot_ns += round(seconds * 1e9)
        self.wall_ns += round(seconds * 1e9)


def clock_of(host: Sources) -> Clock:
    """The clock under test, on that host."""
    return Clock(boot_ns=lambda: host.boot_ns, wall_ns=lambda: host.wall_ns)


@given(st.floats(-1e9, 1e9), st.floats(0, 1e6))
def test_a_step_is_told_once_with_its_size(step_s: float, passed_s: float) -> None:
    """Any jump beyond the bound is seen at the next look, whatever time passed between, and not again."""
    host = Sources()
    clock = clock_of(host)
    host.pass_s(passed_s)
    host.wall_ns += round(step_s * 1e9)
    seen_us = clock.step_us()
    if abs(step_s * 1e6) > STEP_US + 2:
        assert abs(seen_us - step_s * 1e6) <= 2
    elif abs(step_s * 1e6) < STEP_US - 2:
        assert seen_us == 0
    host.pass_s(1)
    assert clock.step_us() == 0


def test_a_slew_is_no_step() -> None:
    """A day of NTP slewing at its fastest, looked at each second, is never taken for a step."""
    host = Sources()
    clock = clock_of(host)
    for _ in range(86_400):
        host.pass_s(1)
        host.wall_ns += 500_000
        assert clock.step_us() == 0


def test_suspend_is_no_step() -> None:
    """Both clocks go on through suspend, so waking up after an hour is not a step."""
    host = Sources()
    clock = clock_of(host)
    host.pass_s(3600)
    assert clock.step_us() == 0


def test_the_real_clocks_agree_with_themselves() -> None:
    """On this host BOOTTIME runs forward, and its moments translate to UTC within a few milliseconds."""
    clock = Clock()
    boot_ns, wall_us = clock.boot_ns(), clock.wall_us()
    assert abs(clock.wall_of(boot_ns) - wall_us) < 50_000
    assert clock.boot_ns() >= boot_ns
