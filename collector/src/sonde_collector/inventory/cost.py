"""What a plan costs before it runs: seconds, packets and bytes. Pure arithmetic.

The figures are for a decision, not for billing: a ping is exact, an endpoint check is the handshake and body
of a typical page. What a check really took stands in the database afterwards.
"""

import math
from collections.abc import Iterable, Iterator

import attrs

from sonde_collector.inventory.model import PingPlan, Plan, Target
from sonde_proto.units import format_duration

DAY_S = 86_400.0
RESOLVE_S = 5.0  # what a run may take beside its own exchange: looking the name up, once
ENDPOINT_TIMEOUT_S = 10.0
_IP_ICMP_BYTES = {4: 20 + 8, 6: 40 + 8}
# Typical: (seconds, packets, bytes both ways) of one address. TLS: two flights with a chain of three
# certificates; HTTP: that and a body of 30 kB.
_ENDPOINT = {"dns": (0.05, 2, 300), "tcp": (0.1, 5, 300), "tls": (0.2, 14, 7_000), "http": (0.5, 45, 40_000)}


@attrs.frozen
class Cost:
    """What tasks cost a vantage."""

    tasks: int = 0
    runs_per_hour: float = 0.0
    packets_per_day: float = 0.0
    bytes_per_day: float = 0.0
    busy_s_per_day: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(attrs.astuple(self), attrs.astuple(other), strict=True)))

    @property
    def at_once(self) -> float:
        """Runs under way at the same moment, on average."""
        return self.busy_s_per_day / DAY_S


def ping_seconds(ping: PingPlan) -> float:
    """Give the longest a ping run can take once its name is known [s]. **Pure**."""
    return (ping.count - 1) * ping.spacing + ping.wait


def ping_timeout(plan: Plan) -> float:
    """Give the deadline of one ping run [s]. **Pure**."""
    return plan.timeout or min(ping_seconds(plan.ping) + RESOLVE_S, plan.every)


def endpoint_timeout(plan: Plan) -> float:
    """Give the deadline of one endpoint run [s]. **Pure**."""
    return plan.timeout or min(ENDPOINT_TIMEOUT_S, plan.every)


def ping_cost(plan: Plan, family: int) -> Cost:
    """Give the cost of one ping task. **Pure**."""
    runs = DAY_S / plan.every
    packets = runs * plan.ping.count * 2
    size = _IP_ICMP_BYTES[family] + plan.ping.payload
    return Cost(1, runs / 24, packets, packets * size, runs * ping_seconds(plan.ping))


def endpoint_cost(plan: Plan, target: Target) -> Cost:
    """Give the cost of one endpoint task. **Pure**."""
    runs = DAY_S / plan.every
    seconds, packets, size = _ENDPOINT[target.kind]
    addresses = len(target.connect_to) or (2 if target.every_address else 1)
    hops = addresses * (1 + (1 if target.max_redirects else 0))
    return Cost(1, runs / 24, runs * packets * hops, runs * size * hops, runs * seconds * hops)


def total(costs: Iterable[Cost]) -> Cost:
    """Give the sum. **Pure**."""
    return sum(costs, Cost())


def misfits(plan: Plan) -> Iterator[tuple[str, str]]:
    """Give (key, mistake) where runs can't fit their interval, naming the nearest that does. **Pure**."""
    every = format_duration(plan.every)
    if plan.timeout is not None and plan.timeout > plan.every:
        yield (
            "timeout",
            f'"{format_duration(plan.timeout)}" is longer than every = "{every}"; the longest is "{every}"',
        )
    if "ping" not in plan.checks:
        return
    seconds = ping_seconds(plan.ping)
    takes = f"a run of {plan.ping.count} echoes takes up to {format_duration(seconds)}"
    if seconds > plan.every:
        yield "every", f'= "{every}" is too short: {takes}; {_nearest(plan)}'
    elif plan.timeout is not None and seconds > plan.timeout:
        yield "timeout", f'is too short: {takes}; the shortest that fits is "{format_duration(seconds)}"'


def _nearest(plan: Plan) -> str:
    ping = plan.ping
    longer = f'the nearest that fits is every = "{format_duration(math.ceil(ping_seconds(ping)))}"'
    if ping.wait > plan.every:
        return longer
    count = int((plan.every - ping.wait) / ping.spacing + 1e-9) + 1
    return f"{longer}, or ping.count = {count}"
