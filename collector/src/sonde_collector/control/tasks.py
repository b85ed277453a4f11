"""One task of the wire from one plan and what it measures. Pure."""

import ipaddress
from collections.abc import Iterator

from sonde_collector.inventory import cost
from sonde_collector.inventory.model import Plan, Server, Target
from sonde_collector.inventory.way import Way
from sonde_proto.v1 import control_pb2, results_pb2

_KINDS = {
    "dns": results_pb2.ENDPOINT_KIND_DNS,
    "tcp": results_pb2.ENDPOINT_KIND_TCP,
    "tls": results_pb2.ENDPOINT_KIND_TLS,
    "http": results_pb2.ENDPOINT_KIND_HTTP,
}
_ENGINES = {
    "http": results_pb2.ENGINE_HTTP,
    "iperf3": results_pb2.ENGINE_IPERF3,
    "speedtest": results_pb2.ENGINE_SPEEDTEST,
    "ndt7": results_pb2.ENGINE_NDT7,
}


def host_of(server: Server, family: int) -> str | None:
    """Give what is pinged of a server in a family: its address of that family, else its name. **Pure**."""
    if server.ip_address and ipaddress.ip_address(server.ip_address).version == family:
        return server.ip_address
    return server.hostname


def pings(plan: Plan, server: Server) -> Iterator[tuple[int, control_pb2.Task]]:
    """Give (family, task) for each family in which the server can be pinged directly. **Pure**."""
    for family in plan.ping.families:
        host = host_of(server, family)
        if host is not None:
            task = _task(plan, f"{plan.key}/{server.key}/{family}", server.key, cost.ping_timeout(plan))
            task.ping.CopyFrom(_ping(plan, host, family))
            yield family, task


def throughput(plan: Plan, server: Server) -> control_pb2.Task:
    """Give the task of a direct throughput run. **Pure**."""
    task = _task(plan, f"{plan.key}/{server.key}/throughput", server.key, cost.load_timeout(plan))
    task.throughput.CopyFrom(_load(plan, server))
    setattr(task, "class", control_pb2.TASK_CLASS_EXCLUSIVE)
    return task


def connection(plan: Plan, server: Server, way: Way) -> control_pb2.Task:
    """Give the task of a tunnel run: what goes through it stands inside. **Pure**."""
    key = f"{plan.key}/{server.key}/{way.protocol}"
    task = _task(plan, key, server.key, cost.connection_timeout(plan))
    if not plan.connection.handshake_only:
        # Tasks of several plans to one server by one protocol that are due together share one tunnel.
        task.group = f"{server.key}/{way.protocol}"
    spec = task.connection
    spec.protocol = way.protocol
    spec.credential = way.credential
    spec.profile = way.profile
    if way.placed:
        spec.place.host = way.host
        spec.place.port = way.port or 0
        spec.place.public_key = way.public_key
        spec.place.server_name = way.server_name
    spec.family = plan.connection.family or 0
    spec.handshake_ms = ms(plan.connection.handshake_timeout)
    spec.handshake_only = plan.connection.handshake_only
    spec.exit_url = plan.connection.exit_url or ""
    if "ping" in plan.checks:
        inside = spec.inside.add()
        inside.CopyFrom(_task(plan, f"{key}/ping", server.key, cost.ping_seconds(plan.ping) + cost.RESOLVE_S))
        inside.ping.CopyFrom(_ping(plan, plan.ping.host or "", plan.ping.families[0]))
    if plan.loads:
        inside = spec.inside.add()
        seconds = cost.load_seconds(plan.throughput) + cost.RESOLVE_S
        inside.CopyFrom(_task(plan, f"{key}/throughput", server.key, seconds))
        inside.throughput.CopyFrom(_load(plan, server))
        spec.direct_throughput = plan.throughput.direct
        setattr(task, "class", control_pb2.TASK_CLASS_EXCLUSIVE)
    if plan.unlocks:
        inside = spec.inside.add()
        inside.CopyFrom(_task(plan, f"{key}/unlock", server.key, cost.unlock_timeout(plan)))
        inside.unlock.CopyFrom(_unlock(plan))
    return task


def unlock(plan: Plan) -> control_pb2.Task:
    """Give the task of a direct unlock run: what platforms say to the vantage itself."""
    task = _task(plan, f"{plan.key}/unlock", "", cost.unlock_timeout(plan))
    task.unlock.CopyFrom(_unlock(plan))
    return task


def endpoint(plan: Plan, target: Target) -> control_pb2.Task:
    """Give the task of an endpoint run. **Pure**."""
    expect = target.expect
    task = _task(plan, f"{plan.key}/{target.key}", target.key, cost.endpoint_timeout(plan))
    task.endpoint.CopyFrom(
        control_pb2.EndpointSpec(
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
                max_total_ms=ms(expect.max_total or 0),
                min_cert_days=expect.min_cert_days or 0,
                answers=expect.answers,
                insecure=expect.insecure,
            ),
        )
    )
    return task


def ms(seconds: float) -> int:
    """Give milliseconds. **Pure**."""
    return round(seconds * 1000)


def _task(plan: Plan, key: str, target: str, timeout_s: float) -> control_pb2.Task:
    return control_pb2.Task(key=key, target=target, interval_ms=ms(plan.every), timeout_ms=ms(timeout_s))


def _ping(plan: Plan, host: str, family: int) -> control_pb2.PingSpec:
    return control_pb2.PingSpec(
        host=host,
        family=family,
        count=plan.ping.count,
        spacing_ms=ms(plan.ping.spacing),
        wait_ms=ms(plan.ping.wait),
        payload_bytes=plan.ping.payload,
        success=plan.success == "ping",
    )


def _load(plan: Plan, server: Server) -> control_pb2.ThroughputSpec:
    one = plan.throughput
    download, upload = one.directions
    host = server.hostname or server.ip_address or ""
    host = f"[{host}]" if ":" in host else host
    url, upload_url, at = (
        (text or "").replace("{host}", host) for text in (one.url, one.upload_url, one.server)
    )
    return control_pb2.ThroughputSpec(
        engine=_ENGINES[one.engine],
        url=url,
        upload_url=upload_url,
        server=at,
        download=download,
        upload=upload,
        seconds=round(one.seconds),
        ramp_ms=ms(cost.RAMP_S),
        streams=one.streams,
        max_bytes=one.max_bytes,
        rate_cap_mbps=one.rate_cap_mbps or 0,
        family=one.family or 0,
        ca_file=one.ca_file or "",
    )


def _unlock(plan: Plan) -> control_pb2.UnlockSpec:
    """The version is left to the agent: its pack has one of each rule."""
    rules = [control_pb2.UnlockRule(slug=slug) for slug in cost.platforms(plan)]
    return control_pb2.UnlockSpec(rules=rules, families=plan.unlock.families)


def _asked(target: Target) -> str:
    if target.url is not None:
        return target.url
    host = target.host or ""
    if target.kind == "dns":
        return host
    return f"[{host}]:{target.port}" if ":" in host else f"{host}:{target.port}"
