"""Inventory → what each vantage is told to run. Pure: the same fleet gives the same tasks, key by key."""

import hashlib
import ipaddress
from collections.abc import Iterator

import attrs

from sonde_collector.inventory import cost
from sonde_collector.inventory.cost import Cost
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import Plan, Server, Target
from sonde_collector.inventory.references import chosen
from sonde_proto.v1 import control_pb2, results_pb2

_KINDS = {
    "dns": results_pb2.ENDPOINT_KIND_DNS,
    "tcp": results_pb2.ENDPOINT_KIND_TCP,
    "tls": results_pb2.ENDPOINT_KIND_TLS,
    "http": results_pb2.ENDPOINT_KIND_HTTP,
}


@attrs.frozen
class Costed:
    """A task and what it costs its vantage."""

    task: control_pb2.Task
    cost: Cost


def assign(fleet: Fleet) -> dict[str, list[Costed]]:
    """Give the tasks of every vantage by its code, ordered by task key. **Pure**."""
    out: dict[str, list[Costed]] = {vantage.code: [] for vantage in fleet.vantage}
    servers = {server.key: server for server in fleet.server}
    targets = {target.key: target for target in fleet.target}
    for plan in fleet.plan:
        codes = chosen(plan.vantages, out)
        for key in chosen(plan.servers, servers):
            tasks = list(_pings(plan, servers[key]))
            for code in nearest_by_hash(plan.key, key, codes, plan.vantages_per_server):
                out[code] += tasks
        for key in chosen(plan.targets, targets):
            task = _endpoint(plan, targets[key])
            for code in codes:
                out[code].append(task)
    for tasks in out.values():
        tasks.sort(key=lambda one: one.task.key)
    return out


def serialise(tasks: list[Costed]) -> bytes:
    """Give the stored body of an assignment: its tasks, without revision or database. **Pure**."""
    assignment = control_pb2.Assignment(tasks=[one.task for one in tasks])
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


def unreachable(plan: Plan, server: Server) -> list[int]:
    """Give the families of the plan in which `server` has nothing to be pinged at. **Pure**."""
    return [family for family in plan.ping.families if _host(server, family) is None]


def _host(server: Server, family: int) -> str | None:
    if server.ip_address and ipaddress.ip_address(server.ip_address).version == family:
        return server.ip_address
    return server.hostname


def _pings(plan: Plan, server: Server) -> Iterator[Costed]:
    for family in plan.ping.families:
        host = _host(server, family)
        if host is None:
            continue
        yield Costed(
            control_pb2.Task(
                key=f"{plan.key}/{server.key}/{family}",
                target=server.key,
                interval_ms=_ms(plan.every),
                timeout_ms=_ms(cost.ping_timeout(plan)),
                ping=control_pb2.PingSpec(
                    host=host,
                    family=family,
                    count=plan.ping.count,
                    spacing_ms=_ms(plan.ping.spacing),
                    wait_ms=_ms(plan.ping.wait),
                    payload_bytes=plan.ping.payload,
                    success=plan.success == "ping",
                ),
            ),
            cost.ping_cost(plan, family),
        )


def _endpoint(plan: Plan, target: Target) -> Costed:
    expect = target.expect
    task = control_pb2.Task(
        key=f"{plan.key}/{target.key}",
        target=target.key,
        interval_ms=_ms(plan.every),
        timeout_ms=_ms(cost.endpoint_timeout(plan)),
        endpoint=control_pb2.EndpointSpec(
            kind=_KINDS[target.kind],
            url=_asked(target),
            family=target.family or 0,
            connect_to=target.connect_to,
            every_address=target.every_address,
            sni=target.sni or "",
            host=(target.host or "") if target.kind == "http" else "",
            method="" if target.method == "GET" else target.method,
            header_files=target.header_files,
            ca_file=target.ca_file or "",
            client_cert_file=target.client_cert_file or "",
            client_key_file=target.client_key_file or "",
            max_redirects=target.max_redirects,
            max_body_bytes=target.max_body or 0,
            dns_server=target.dns_server or "",
            dns_type=target.dns_type or "",
            expect=control_pb2.Expectations(
                status=expect.status,
                body_contains=expect.body_contains or "",
                body_regex=expect.body_regex or "",
                header_regex=expect.header_regex,
                max_total_ms=_ms(expect.max_total or 0),
                min_cert_days=expect.min_cert_days or 0,
                answers=expect.answers,
                insecure=expect.insecure,
            ),
        ),
    )
    return Costed(task, cost.endpoint_cost(plan, target))


def _asked(target: Target) -> str:
    if target.url is not None:
        return target.url
    host = target.host or ""
    if target.kind == "dns":
        return host
    return f"[{host}]:{target.port}" if ":" in host else f"{host}:{target.port}"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
