"""What this agent does not run of its assignment: told in the log, and to the collector."""

from collections.abc import Mapping

import structlog

from sonde_agent.judgement import Judged
from sonde_proto.v1 import control_pb2

_MOST_LOGGED = 20  # refusals of one assignment; the collector is told more of them

log = structlog.get_logger()


class Refusals:
    """Those of the assignment in force.

    Attributes:
        why: task's key -> the reason, of all.
        told: the first of them, as the collector is told.
    """

    def __init__(self) -> None:
        self.why: Mapping[str, str] = {}
        self.told: list[control_pb2.RefusedTask] = []
        self._logged: set[tuple[str, str]] = set()

    def take(self, judged: Judged) -> None:
        """Put those of a new judgement in their place; log what is new."""
        self.why, self.told = judged.refused, judged.told()
        for told in (*self.told[:_MOST_LOGGED], *self.told[_MOST_LOGGED:][-1:]):
            if (told.task, told.reason) not in self._logged:
                log.warning("task_refused", task=told.task, reason=told.reason)
        self._logged = {(told.task, told.reason) for told in self.told}
