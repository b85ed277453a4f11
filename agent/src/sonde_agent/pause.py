"""An operator's pause: whether it holds now, and the one row of what it held back. **Pure.**"""

from sonde_agent.missed_rows import ALL_TASKS, missed_row
from sonde_proto.v1 import control_pb2, results_pb2

ROW_EVERY_US = 3_600_000_000
"""What was held back becomes a row so often: an agent that is killed forgets no more than this of it."""


class Pausing:
    """The pause as assigned, and the slots that it let pass, of all tasks together."""

    def __init__(self) -> None:
        self.pause: control_pb2.Pause | None = None
        self._slots, self._first_us, self._last_us = 0, 0, 0

    def reason(self, now_us: int) -> str:
        """Why nothing may be measured now, in words; "" = it may.

        Args:
            now_us: UTC [µs since 1970].
        """
        if self.pause is None or (self.pause.until_us and now_us >= self.pause.until_us):
            return ""
        return self.pause.reason or "paused"

    def hold_back(self, slots: int, first_us: int, last_us: int) -> None:
        """Count slots from `first_us` to `last_us`."""
        self._first_us = min(self._first_us, first_us) if self._slots else first_us
        self._last_us = max(self._last_us, last_us) if self._slots else last_us
        self._slots += slots

    def row(self, now_us: int, *, last: bool = False) -> results_pb2.Result | None:
        """Give the row of what was held back since the last one, when it is time for one.

        Args:
            now_us: UTC [µs since 1970].
            last: the agent ends.
        """
        goes_on = self.reason(now_us) and now_us - self._first_us < ROW_EVERY_US and not last
        if not self._slots or goes_on:
            return None
        slots, self._slots = self._slots, 0
        return missed_row(
            ALL_TASKS,
            "",
            results_pb2.MISS_REASON_PAUSED,
            slots=slots,
            first_us=self._first_us,
            last_us=self._last_us,
        )
