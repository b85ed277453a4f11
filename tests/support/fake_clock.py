"""A wall clock of a program's own, stepped while it runs: libfaketime, as Debian's `faketime` has it.

Only the wall clock is faked; monotonic clocks and the kernel's stamps stay true, as in a real step.
"""

import random
from pathlib import Path

import pytest
from support.fleet import Fleet, settle

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
needs_faketime = pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian package faketime)")


class FakeClock:
    """The clock of those programs whose environment holds `env`.

    Args:
        file: where the present offset stands; the programs read it once a second.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.offset_s = 0
        self.step(0)
        self.env = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: int) -> None:
        """Steps the clock, within a second."""
        self.offset_s += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self.offset_s:+d}\n")
        new.rename(self._file)  # a reader never sees half of it


def step_clock(fleet: Fleet, chance: random.Random) -> None:
    """A fault for the rounds: an agent's clock goes wrong by up to an hour, and may be set right."""
    if LIBRARY is None:
        return
    agent = chance.choice(fleet.agents)
    clock = FakeClock(agent.directory / "clock")
    agent.program.kill()
    agent.program.env |= clock.env
    agent.program.start()
    settle(chance.uniform(0.5, 1.5))
    seconds = chance.choice([-1, 1]) * chance.randint(2, 3600)
    clock.step(seconds)
    settle(chance.uniform(1.0, 2.0))
    if chance.random() < 0.5:
        clock.step(-seconds)
