"""What was not measured, and why, into the journal: missed slots, steps of the clock, an operator's pause."""

from collections import Counter
from collections.abc import Callable

import structlog

from sonde_agent.clock import Clock
from sonde_agent.journal import Journal
from sonde_agent.missed_rows import missed_row, step_row
from sonde_agent.pause import Pausing
from sonde_proto.v1 import control_pb2, results_pb2

log = structlog.get_logger()


class Unmeasured:
    """Keeps the books of it.

    Args:
        clock: both clocks.
        journal: where the rows go.
        utc_us: UTC as the collector has it, which a pause ends by.

    Attributes:
        slots: reason's name -> slots missed.
    """

    def __init__(self, clock: Clock, journal: Journal, utc_us: Callable[[], int]) -> None:
        self._clock = clock
        self._journal = journal
        self._utc_us = utc_us
        self._pausing = Pausing()
        self._was_paused = False
        self.slots: Counter[str] = Counter()

    @property
    def paused(self) -> str:
        """Why nothing is measured now, in words; "" = it is."""
        return self._pausing.reason(self._utc_us())

    def pause(self, pause: control_pb2.Pause | None) -> None:
        """Take the pause of an assignment; None = it has none."""
        self._pausing.pause = pause
        self.look()

    def record(
        self,
        task: str,
        target: str,
        reason: results_pb2.MissReason.ValueType,
        *,
        slots: int,
        first_ns: int,
        last_ns: int,
    ) -> None:
        """Say that slots of one task, from `first_ns` to `last_ns` [BOOTTIME], were missed."""
        self.slots[_word(reason)] += slots
        first_us, last_us = self._clock.wall_of(first_ns), self._clock.wall_of(last_ns)
        self._journal.add([missed_row(task, target, reason, slots=slots, first_us=first_us, last_us=last_us)])

    def hold_back(self, slots: int, first_ns: int, last_ns: int) -> None:
        """Say that the pause let slots pass; all of them become one row."""
        self.slots[_word(results_pb2.MISS_REASON_PAUSED)] += slots
        self._pausing.hold_back(slots, self._clock.wall_of(first_ns), self._clock.wall_of(last_ns))

    def look(self) -> None:
        """Look at the wall clock: was it stepped, has a pause begun or ended."""
        step_us = self._clock.step_us()
        if step_us:
            log.warning("clock_stepped", seconds=step_us / 1e6)
            self._journal.add([step_row(self._clock.wall_us(), step_us)])
        if bool(reason := self.paused) != self._was_paused:
            self._was_paused = bool(reason)
            log.info("paused" if reason else "resumed", **({"reason": reason} if reason else {}))
        self._tell(last=False)

    def end(self) -> None:
        """Say what is not said yet: the agent stops."""
        self._tell(last=True)

    def _tell(self, *, last: bool) -> None:
        if (row := self._pausing.row(self._utc_us(), last=last)) is not None:
            self._journal.add([row])


def _word(reason: results_pb2.MissReason.ValueType) -> str:
    return results_pb2.MissReason.Name(reason).removeprefix("MISS_REASON_").lower()
