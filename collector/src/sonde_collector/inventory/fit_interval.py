"""Whether a plan's run fits its interval; where not, the nearest that does. Pure."""

import math
from collections.abc import Iterator

from sonde_collector.inventory import cost
from sonde_collector.inventory.model import Plan
from sonde_proto.units import format_duration


def misfits(plan: Plan) -> Iterator[tuple[str, str]]:
    """Give (key, mistake) where runs can't fit their interval, naming the nearest that does. **Pure**."""
    every = format_duration(plan.every)
    if plan.timeout is not None and plan.timeout > plan.every:
        yield (
            "timeout",
            f'"{format_duration(plan.timeout)}" is longer than every = "{every}"; the longest is "{every}"',
        )
    if plan.tunnels or plan.loads or plan.unlocks:
        yield from _long_runs(plan, every)
    elif "ping" in plan.checks:
        yield from _pings(plan, every)


def _pings(plan: Plan, every: str) -> Iterator[tuple[str, str]]:
    seconds = cost.ping_seconds(plan.ping)
    takes = f"a run of {plan.ping.count} echoes takes up to {format_duration(seconds)}"
    if seconds > plan.every:
        yield "every", f'= "{every}" is too short: {takes}; {_nearest(plan)}'
    elif plan.timeout is not None and seconds > plan.timeout:
        yield "timeout", f'is too short: {takes}; the shortest that fits is "{format_duration(seconds)}"'


def _nearest(plan: Plan) -> str:
    ping = plan.ping
    longer = f'the nearest that fits is every = "{format_duration(math.ceil(cost.ping_seconds(ping)))}"'
    if ping.wait > plan.every:
        return longer
    count = int((plan.every - ping.wait) / ping.spacing + 1e-9) + 1
    return f"{longer}, or ping.count = {count}"


def _long_runs(plan: Plan, every: str) -> Iterator[tuple[str, str]]:
    """Judge runs of several parts, each as long as it can take: through tunnels, throughput, unlock."""
    parts = cost.longest_parts(plan)
    seconds = sum(parts.values())
    takes = " + ".join(f"{name} {format_duration(each)}" for name, each in parts.items())
    whole = format_duration(math.ceil(seconds))
    if seconds > plan.every:
        yield (
            "every",
            (
                f'= "{every}" is too short: a run takes up to {whole} ({takes}); '
                f'the nearest that fits is every = "{whole}"'
            ),
        )
    elif plan.timeout is not None and seconds > plan.timeout:
        yield (
            "timeout",
            f'is too short: a run takes up to {whole} ({takes}); the shortest that fits is "{whole}"',
        )
