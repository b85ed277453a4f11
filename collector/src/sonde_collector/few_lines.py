"""Log lines of what may happen to every agent at once: a few of each second, and the number of the rest."""

import asyncio
import time
from collections import Counter
from typing import Any

import structlog

MOST = 20
"""Lines of one kind of event in a second; a storm of 10 000 agents fills no disk."""
_SECOND_S = 1.0


class FewLines:
    """Tells events; for the event loop alone.

    Args:
        log: where to.
    """

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self._told: Counter[str] = Counter()
        self._untold: Counter[tuple[str, str]] = Counter()
        self._ends_s = 0.0

    def info(self, event: str, **values: Any) -> None:
        """Tell an event, or count it; what was counted is told as `more` when the second is over."""
        self._tell("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        """The same, as a warning."""
        self._tell("warning", event, values)

    def _tell(self, level: str, event: str, values: dict[str, Any]) -> None:
        now_s = time.monotonic()
        if now_s >= self._ends_s:
            self._told.clear()
            self._ends_s = now_s + _SECOND_S
        if self._told[event] < MOST:
            self._told[event] += 1
            getattr(self._log, level)(event, **values)
            return
        if not self._untold:
            asyncio.get_running_loop().call_later(self._ends_s - now_s, self._tell_rest)
        self._untold[level, event] += 1

    def _tell_rest(self) -> None:
        untold, self._untold = self._untold, Counter()
        for (level, event), count in untold.items():
            getattr(self._log, level)(event, more=count)
