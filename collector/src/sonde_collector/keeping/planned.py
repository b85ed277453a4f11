"""How many rows a day the present assignments bring. **Pure.**"""

from collections import defaultdict
from collections.abc import Mapping

from sonde_collector.keeping.tiers import GROWING, PER_DAY
from sonde_proto.v1 import control_pb2

_DAY_MS = 86_400_000
_HEALTH_PER_DAY = 1440.0  # an agent says how it is once a minute
_ADDRESSES = 2  # of a name whose every address is asked: one of each family
_SERVER = {"ping", "connection", "throughput"}


def rows_per_day(assignments: Mapping[str, control_pb2.Assignment]) -> dict[str, float]:
    """Rows a day by table, results and rollups, where every run is made and none is missed.

    A table that is not in it (batches, held, missed, unlock checks) depends on what happens, not on plans.

    Args:
        assignments: by vantage.
    """
    runs: dict[tuple[str, str], float] = defaultdict(float)  # results a day of (vantage, server)
    checks: dict[tuple[str, str], float] = defaultdict(float)  # of (vantage, target)
    starts: dict[tuple[str, str], float] = defaultdict(float)  # runs of (vantage, target)
    for code, assignment in assignments.items():
        for task in assignment.tasks:
            times = _DAY_MS / task.interval_ms if task.interval_ms else 0.0
            if task.WhichOneof("spec") in _SERVER:
                runs[code, task.target] += times
            elif task.HasField("endpoint"):
                checks[code, task.target] += times * _results(task.endpoint)
                starts[code, task.target] += times
    busy = sum(1 for assignment in assignments.values() if assignment.tasks)
    found = {
        "public.performance_logs": sum(runs.values()),
        "sonde.endpoint_checks": sum(checks.values()),
        "sonde.vantage_health": busy * _HEALTH_PER_DAY,
    }
    for table in GROWING:
        if table.width is not None:
            series = starts if "endpoint" in table.name else runs
            found[table.name] = sum(min(times, PER_DAY[table.width]) for times in series.values())
    return found


def _results(spec: control_pb2.EndpointSpec) -> int:
    return len(spec.connect_to) or (_ADDRESSES if spec.every_address else 1)
