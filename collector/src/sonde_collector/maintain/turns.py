"""When each thing that a collector keeps doing was last done to its end, for Prometheus."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Gauge

TASKS = ("partitions", "rollups", "judging", "notices", "fleet_events", "retention", "health")
"""What is counted. Any number of collectors does each; of some, one at a time."""


class Turns:
    """The moments of one collector; those that did not come yet are its start.

    Args:
        registry: where they are registered.
        steps: names of the rollups.
    """

    def __init__(self, registry: CollectorRegistry, steps: Iterable[str]) -> None:
        self._done = Gauge(
            "sonde_maintenance_done_timestamp_seconds",
            "When this collector last did a turn of a task to its end",
            ["task"],
            registry=registry,
        )
        self._complete = Gauge(
            "sonde_rollup_complete_timestamp_seconds",
            "When this collector last found nothing left to roll up: what came before is counted",
            ["step"],
            registry=registry,
        )
        for task in TASKS:
            self.of(task)()
        for step in steps:
            self.complete(step)

    def of(self, task: str) -> Callable[[], None]:
        """Give what is called when a turn of this task was done."""
        return self._done.labels(task).set_to_current_time

    def complete(self, step: str) -> None:
        """Say that nothing is dirty for this rollup now."""
        self._complete.labels(step).set_to_current_time()
