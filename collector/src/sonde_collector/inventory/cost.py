"""What a plan costs before it runs: seconds, packets and bytes. Pure arithmetic.

The figures are for a decision, not for billing: a ping is exact, an endpoint check is the handshake and body
of a typical page, an unlock check three of them, a throughput run is all that it may move. What a check
really took stands in the database afterwards. Which rules are shipped and on is part of the program.
"""

import operator
from collections.abc import Iterable

import attrs

from sonde_collector.inventory.model import PingPlan, Plan, Target, ThroughputPlan
from sonde_collector.unlock.shipped import enabled

DAY_S = 86_400.0
RESOLVE_S = 5.0  # what a run may take beside its own exchange: looking the name up, once
ENDPOINT_TIMEOUT_S = 10.0
RAMP_S = 1.5  # of a throughput direction, before it is measured
TUNNEL_MB = 512  # an agent opens one tunnel at a time for so much memory, unless its limits.tunnels says more
_SET_UP_S = 2.0  # a tunnel's set-up and tear-down as they usually are, far below its timeout
_SET_UP_PACKETS, _SET_UP_BYTES = 40, 15_000  # OpenVPN's and IKE's handshakes with their certificates
_BOX_S = 3.0  # of a run's deadline: making and removing what it runs in, on a slow host
_IP_ICMP_BYTES = {4: 20 + 8, 6: 40 + 8}
_SEGMENT_BYTES = 1400
# Typical of one rule and family: three exchanges, each with a handshake and a compressed page of 60 kB.
# Through a tunnel a rule is asked twice, as it tells a DNS proxy by that; at most: twice with slow answers.
_UNLOCK = (2.0, 250, 200_000)
_UNLOCK_TUNNEL = 2
_UNLOCK_LONGEST_S, _UNLOCK_FAST_S = 15.0, 1.0
_UNLOCK_FAST_USUAL_S = 0.25  # of one result, where eight rules ask side by side and answers take 20 to 100 ms
# Typical: (seconds, packets, bytes both ways) of one address. TLS: two flights with a chain of three
# certificates; HTTP: that and a body of 30 kB.
_ENDPOINT = {"dns": (0.05, 2, 300), "tcp": (0.1, 5, 300), "tls": (0.2, 14, 7_000), "http": (0.5, 45, 40_000)}


@attrs.frozen
class Cost:
    """What tasks cost a vantage.

    Attributes:
        throughput_bytes_per_day: of `bytes_per_day`, what throughput runs may move.
        exclusive_s_per_day: of `busy_s_per_day`, when nothing else may run on the vantage.
        tunnel_s_per_day: of `busy_s_per_day`, when a tunnel is open.
    """

    tasks: int = 0
    runs_per_hour: float = 0.0
    packets_per_day: float = 0.0
    bytes_per_day: float = 0.0
    busy_s_per_day: float = 0.0
    throughput_bytes_per_day: float = 0.0
    exclusive_s_per_day: float = 0.0
    tunnel_s_per_day: float = 0.0

    @property
    def at_once(self) -> float:
        """Runs under way at the same moment, on average."""
        return self.busy_s_per_day / DAY_S

    @property
    def tunnels_at_once(self) -> float:
        """Tunnels open at the same moment, on average."""
        return self.tunnel_s_per_day / DAY_S

    @property
    def tunnel_mb(self) -> int:
        """Memory for them, as agents reckon it by themselves [MB]."""
        return -int(-self.tunnels_at_once // 1) * TUNNEL_MB


def ping_seconds(ping: PingPlan) -> float:
    """Give the longest a ping run can take once its name is known [s]. **Pure**."""
    return (ping.count - 1) * ping.spacing + ping.wait


def load_seconds(throughput: ThroughputPlan) -> float:
    """Give how long all directions of a throughput run take [s]. **Pure**."""
    return sum(throughput.directions) * (throughput.seconds + RAMP_S)


def load_bytes(throughput: ThroughputPlan) -> float:
    """Give what a throughput run may move, both ways together [bytes]. **Pure**."""
    if throughput.rate_cap_mbps is None:
        return throughput.max_bytes
    return min(throughput.max_bytes, load_seconds(throughput) * throughput.rate_cap_mbps * 125_000)


def questions(plan: Plan) -> int:
    """Give how many unlock results a run has: rules times families. **Pure**."""
    return len(platforms(plan)) * len(plan.unlock.families) if plan.unlocks else 0


def platforms(plan: Plan) -> tuple[str, ...]:
    """Give the slugs that a plan asks for, "enabled" spelled out."""
    named = plan.unlock.platforms or ()
    return enabled() if isinstance(named, str) else named


def unlock_seconds(plan: Plan) -> float:
    """Give how long the unlock checks of a run can take [s]."""
    return questions(plan) * (_UNLOCK_FAST_S if plan.unlock.fast else _UNLOCK_LONGEST_S)


def ping_timeout(plan: Plan) -> float:
    """Give the deadline of one ping run [s]. **Pure**."""
    return plan.timeout or min(ping_seconds(plan.ping) + RESOLVE_S, plan.every)


def endpoint_timeout(plan: Plan) -> float:
    """Give the deadline of one endpoint run [s]. **Pure**."""
    return plan.timeout or min(ENDPOINT_TIMEOUT_S, plan.every)


def load_timeout(plan: Plan) -> float:
    """Give the deadline of one throughput run, inside or direct [s]. **Pure**."""
    return plan.timeout or min(load_seconds(plan.throughput) + RESOLVE_S, plan.every)


def unlock_timeout(plan: Plan) -> float:
    """Give the deadline of the unlock checks of one run, inside or direct [s]."""
    return plan.timeout or min(unlock_seconds(plan) + RESOLVE_S, plan.every)


def longest_parts(plan: Plan) -> dict[str, float]:
    """Give the parts of a tunnel or throughput run, in order, and how long each can take [s]. **Pure**."""
    parts = {"name": RESOLVE_S}
    if plan.tunnels:
        parts["handshake"] = plan.connection.handshake_timeout
        if not plan.connection.handshake_only:
            parts["set-up and tear-down"] = _BOX_S
        if "ping" in plan.checks:
            parts["ping"] = ping_seconds(plan.ping)
    if plan.loads:
        parts["throughput"] = load_seconds(plan.throughput)
        if plan.tunnels and plan.throughput.direct:
            parts["direct throughput"] = load_seconds(plan.throughput)
    if plan.unlocks:
        parts["unlock"] = unlock_seconds(plan)
    return parts


def connection_timeout(plan: Plan) -> float:
    """Give the deadline of one tunnel run with all that is in it [s]. **Pure**."""
    return plan.timeout or sum(longest_parts(plan).values())


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


def load_cost(plan: Plan) -> Cost:
    """Give the cost of one direct throughput task. **Pure**."""
    runs = DAY_S / plan.every
    moved, seconds = runs * load_bytes(plan.throughput), runs * load_seconds(plan.throughput)
    return Cost(1, runs / 24, moved / _SEGMENT_BYTES, moved, seconds, moved, seconds)


def unlock_cost(plan: Plan) -> Cost:
    """Give the cost of one direct unlock task."""
    runs = DAY_S / plan.every
    seconds, packets, size = (questions(plan) * each for each in _UNLOCK)
    return Cost(1, runs / 24, runs * packets, runs * size, runs * seconds)


def connection_cost(plan: Plan) -> Cost:
    """Give the cost of one tunnel task: inside and the baseline beside it. **Pure**."""
    runs = DAY_S / plan.every
    tunnel, whole = tunnel_seconds(plan), tunnel_seconds(plan)
    packets, size, moved = float(_SET_UP_PACKETS), float(_SET_UP_BYTES), 0.0
    if "ping" in plan.checks:
        packets += 4 * plan.ping.count  # the baseline's as well
        size += 4 * plan.ping.count * (_IP_ICMP_BYTES[plan.ping.families[0]] + plan.ping.payload)
    if plan.loads:
        times = 2 if plan.throughput.direct else 1
        whole += (times - 1) * load_seconds(plan.throughput)
        moved = times * load_bytes(plan.throughput)
    if plan.unlocks:
        packets += questions(plan) * _UNLOCK[1] * _UNLOCK_TUNNEL
        size += questions(plan) * _UNLOCK[2] * _UNLOCK_TUNNEL
    if plan.connection.handshake_only:
        tunnel = 0.0
    return Cost(
        1,
        runs / 24,
        runs * (packets + moved / _SEGMENT_BYTES),
        runs * (size + moved),
        runs * whole,
        runs * moved,
        runs * whole if plan.loads else 0.0,
        runs * tunnel,
    )


def tunnel_seconds(plan: Plan) -> float:
    """Give how long one run usually holds its session [s]. **Pure**."""
    inside = ping_seconds(plan.ping) if "ping" in plan.checks else 0.0
    inside += questions(plan) * (_UNLOCK_FAST_USUAL_S if plan.unlock.fast else _UNLOCK[0] * _UNLOCK_TUNNEL)
    return _SET_UP_S + inside + (load_seconds(plan.throughput) if plan.loads else 0.0)


def total(costs: Iterable[Cost]) -> Cost:
    """Give the sum. **Pure**."""
    return Cost(*map(sum, zip(*map(_figures, costs), strict=True)))


_figures = operator.attrgetter(*(field.name for field in attrs.fields(Cost)))
