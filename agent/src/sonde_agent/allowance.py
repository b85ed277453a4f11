"""How often and how much the tasks of an assignment may make this agent send: pure arithmetic.

Twice: what an assignment asks for by its intervals is held against the limits as a whole, so that what is
beyond is refused with a reason (`Demand`); and each run is held against what really began before it
(`Allowance`), because assignments may follow one another, and the first slots of each come at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sonde_agent.limits import Limits
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_MINUTE_MS, _SECOND_MS, _HOUR_S = 60_000, 1000, 3600.0
_MINUTE_S, _ECHO_WINDOW_S = 60.0, 10.0
_DEFAULT_BODY = 1_048_576
_BASELINE_ECHOES = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run may make this agent do at most.

    Attributes:
        runs: checks, those inside a tunnel counted one by one.
        echoes: ICMP echoes.
        bodies: bytes that endpoint checks may read.
    """

    runs: int = 0
    echoes: int = 0
    bodies: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.runs + other.runs, self.echoes + other.echoes, self.bodies + other.bodies)


def cost_of(task: control_pb2.Task) -> Cost:
    """Give what a run of `task` costs at most; of a tunnel run, its baseline too."""
    match task.WhichOneof("spec"):
        case "ping":
            return Cost(1, task.ping.count)
        case "endpoint":
            spec = task.endpoint
            edges = max(len(spec.connect_to), 1)
            largest = (spec.max_body_bytes or _DEFAULT_BODY) * (spec.max_redirects + 1)
            return Cost(edges, 0, edges * largest if spec.kind == pb.ENDPOINT_KIND_HTTP else 0)
        case "unlock":
            return Cost(max(len(task.unlock.rules), 1) * max(len(task.unlock.families), 1))
        case "connection":
            inside = sum(map(cost_of, task.connection.inside), Cost())
            return Cost(1, inside.echoes or _BASELINE_ECHOES) + inside
    return Cost(1)


def read_by(results: list[pb.Result]) -> int:
    """Give how many bytes of bodies the endpoint checks among `results` read."""
    return sum(result.endpoint.body_bytes for result in results if result.HasField("endpoint"))


class Demand:
    """What the tasks taken so far ask for together.

    Args:
        limits: of this agent.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tasks, self._runs_per_minute, self._echoes_per_s = 0, 0.0, 0.0

    def refuse(self, task: control_pb2.Task) -> str | None:
        """Why `task` may not be added to those before it, in words; None = it may, and is."""
        limits, cost = self._limits, cost_of(task)
        runs = self._runs_per_minute + cost.runs * _MINUTE_MS / task.interval_ms
        echoes = self._echoes_per_s + cost.echoes * _SECOND_MS / task.interval_ms
        if alone := beyond_limits(cost, limits):
            return alone
        if self._tasks >= limits.tasks:
            return f"limits.tasks: this agent takes {limits.tasks} tasks at most"
        if runs > limits.runs_per_minute:
            return (
                f"limits.runs_per_minute: with it the tasks would ask for more than {limits.runs_per_minute}"
            )
        if echoes > limits.echoes_per_s:
            return f"limits.echoes_per_s: with it the tasks would ask for more than {limits.echoes_per_s}"
        self._tasks, self._runs_per_minute, self._echoes_per_s = self._tasks + 1, runs, echoes
        return None


def beyond_limits(cost: Cost, limits: Limits) -> str | None:
    """Why a run could never begin, whatever else runs; None = it could."""
    if cost.runs > limits.runs_per_minute:
        return f"limits.runs_per_minute: one run of it is {cost.runs} already"
    if cost.echoes > limits.echoes_per_s * _ECHO_WINDOW_S:
        return f"limits.echoes_per_s: one run of it sends {cost.echoes}"
    if cost.bodies > limits.bodies_hour:
        return f"limits.bodies_hour: one run of it may read {cost.bodies} bytes"
    return None


class Allowance:
    """What may still begin: three buckets that fill evenly and hold a minute, ten seconds, an hour.

    Args:
        limits: of this agent.
        now_s: BOOTTIME [s].
    """

    def __init__(self, limits: Limits, now_s: float) -> None:
        self._runs = _Bucket(limits.runs_per_minute, _MINUTE_S, now_s)
        self._echoes = _Bucket(limits.echoes_per_s * _ECHO_WINDOW_S, _ECHO_WINDOW_S, now_s)
        self._bodies = _Bucket(limits.bodies_hour, _HOUR_S, now_s)

    def take(self, cost: Cost, now_s: float) -> bool:
        """Take what a run costs; False, and nothing taken: it may not begin now."""
        wanted = tuple(self._wanted(cost))
        if not all(bucket.holds(amount, now_s) for bucket, amount in wanted):
            return False
        for bucket, amount in wanted:
            bucket.take(amount)
        return True

    def give_back(self, cost: Cost) -> None:
        """Put back what was taken and not used; negative what was used beyond it."""
        for bucket, amount in self._wanted(cost):
            bucket.take(-amount)

    def _wanted(self, cost: Cost) -> Iterator[tuple["_Bucket", int]]:
        yield self._runs, cost.runs
        yield self._echoes, cost.echoes
        yield self._bodies, cost.bodies


class _Bucket:
    def __init__(self, size: float, fills_in_s: float, now_s: float) -> None:
        self._size, self._per_s = size, size / fills_in_s
        self._level, self._at_s = size, now_s

    def holds(self, amount: float, now_s: float) -> bool:
        self._level = min(self._size, self._level + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return not amount or amount <= self._level

    def take(self, amount: float) -> None:
        self._level -= amount
