"""Inventory → what each vantage is told to run. Pure: the same fleet gives the same tasks, key by key."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import attrs

from sonde_collector.control import tasks
from sonde_collector.inventory import cost
from sonde_collector.inventory.cost import Cost
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import Plan, Server, Vantage
from sonde_collector.inventory.references import chosen, ways_of
from sonde_collector.inventory.way import Way
from sonde_proto.v1 import control_pb2

_LONGEST_MONTH_DAYS = 31
_NONE: Mapping[str, tuple[Way, ...]] = {}


@attrs.frozen
class Costed:
    """A task and what it costs its vantage.

    Attributes:
        plan: whose task it is.
        way: of a tunnel task, else None.
    """

    task: control_pb2.Task
    cost: Cost
    plan: Plan
    way: Way | None = None


def assign(fleet: Fleet, ways: Mapping[str, Sequence[Way]] = _NONE) -> dict[str, list[Costed]]:
    """Give the tasks of every vantage by its code, ordered by task key. **Pure**.

    Args:
        fleet: with every server, those of its sources too.
        ways: of each server by its key; tunnels are made where there are any.
    """
    out: dict[str, list[Costed]] = {vantage.code: [] for vantage in fleet.vantage}
    servers = {server.key: server for server in fleet.server}
    targets = {target.key: target for target in fleet.target}
    for plan in fleet.plan:
        codes = chosen(plan.vantages, out)
        for key in chosen(plan.servers, servers):
            made = list(_on_server(plan, servers[key], ways.get(key, ())))
            for code in nearest_by_hash(plan.key, key, codes, plan.vantages_per_server) if made else ():
                out[code] += made
        if plan.asks_directly:
            for code in codes:
                out[code].append(Costed(tasks.unlock(plan), cost.unlock_cost(plan), plan))
        for key in chosen(plan.targets, targets):
            task = Costed(tasks.endpoint(plan, targets[key]), cost.endpoint_cost(plan, targets[key]), plan)
            for code in codes:
                out[code].append(task)
    for of_vantage in out.values():
        of_vantage.sort(key=lambda one: one.task.key)
    return out


def _on_server(plan: Plan, server: Server, ways: Sequence[Way]) -> Iterator[Costed]:
    if plan.tunnels:
        price = cost.connection_cost(plan)
        for way in ways_of(plan, ways):
            yield Costed(tasks.connection(plan, server, way), price, plan, way)
        return
    if "ping" in plan.checks:
        for family, task in tasks.pings(plan, server):
            yield Costed(task, cost.ping_cost(plan, family), plan)
    if plan.loads:
        yield Costed(tasks.throughput(plan, server), cost.load_cost(plan), plan)


def serialise(vantage: Vantage, of_vantage: list[Costed]) -> bytes:
    """Give the stored body of an assignment: its tasks, without revision or database. **Pure**.

    Of the month's traffic throughput may use what the other tasks leave.
    """
    left = 0.0
    if vantage.monthly_gb is not None and any(one.cost.throughput_bytes_per_day for one in of_vantage):
        whole = cost.total(one.cost for one in of_vantage)
        others = whole.bytes_per_day - whole.throughput_bytes_per_day
        left = max(vantage.monthly_gb * 1e9 - others * _LONGEST_MONTH_DAYS, 0.0)
    assignment = control_pb2.Assignment(tasks=[one.task for one in of_vantage], monthly_bytes=int(left))
    return assignment.SerializeToString(deterministic=True)


def nearest_by_hash(plan: str, server: str, codes: list[str], count: int | None) -> list[str]:
    """Give the `count` vantages that measure `server`: rendezvous hashing. **Pure**.

    A vantage that comes or goes moves only the servers that it takes or leaves.
    """
    if count is None or count >= len(codes):
        return codes
    return sorted(codes, key=lambda code: hashlib.sha256(f"{plan}\0{server}\0{code}".encode()).digest())[
        :count
    ]


def unreachable(plan: Plan, server: Server, ways: Sequence[Way]) -> bool:
    """Tell whether `server` has no address, name or profile that a plan could measure it by. **Pure**."""
    if plan.tunnels:
        return not ways_of(plan, ways)
    return "ping" in plan.checks and any(
        tasks.host_of(server, family) is None for family in plan.ping.families
    )
