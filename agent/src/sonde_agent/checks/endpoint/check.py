"""The check `endpoint`: which addresses to measure, each in a worker thread, all under one deadline."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from sonde_agent.checks.base import CheckImpossible, Context
from sonde_agent.checks.endpoint import expect
from sonde_agent.checks.endpoint.dns_probe import DNS_PORT, DnsProbe
from sonde_agent.checks.endpoint.failures import End, Trouble, classify
from sonde_agent.checks.endpoint.http_probe import HttpProbe
from sonde_agent.checks.endpoint.probe import Probe, TcpProbe, TlsProbe
from sonde_agent.checks.endpoint.pure import parse_host_port, parse_url
from sonde_agent.net import resolve, stamps
from sonde_agent.net.dial import Deadline
from sonde_agent.net.resolve import Resolved
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

MAX_THREADS = 64  # more than the default cap on concurrent runs: a run with several addresses takes several
MAX_EDGES = 64  # of a name, whatever its owner answers
EARLIER = 0.95
"""Our own deadline, as part of the runner's: it knows the stage, and keeps what other addresses gave."""

_PROBES: dict[pb.EndpointKind.ValueType, type[Probe]] = {
    pb.ENDPOINT_KIND_DNS: DnsProbe,
    pb.ENDPOINT_KIND_TCP: TcpProbe,
    pb.ENDPOINT_KIND_TLS: TlsProbe,
    pb.ENDPOINT_KIND_HTTP: HttpProbe,
}


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=MAX_THREADS, thread_name_prefix="endpoint")


class EndpointCheck:
    """Measures a DNS server, a TCP port, a TLS service or a URL."""

    kind = "endpoint"

    async def run(self, task: control_pb2.Task, context: Context) -> list[pb.Result]:
        """Measure once; one result for each address, see `Check.run`."""
        spec, at_us = task.endpoint, context.wall_us()
        deadline = Deadline(task.timeout_ms / 1000 * EARLIER)
        stamps.keep_on()
        try:
            host = measured_host(spec)
        except ValueError as error:
            raise CheckImpossible(str(error)) from None
        if reason := expect.bad_pattern(spec.expect):
            raise CheckImpossible(reason)
        loop = asyncio.get_running_loop()
        try:
            if spec.connect_to or resolve.family_of(host):
                edges = _edges(spec, host, deadline)  # addresses: nobody needs to be asked
            else:
                edges = await loop.run_in_executor(_workers(), _edges, spec, host, deadline)
        except (OSError, Trouble) as error:
            end = classify(error, pb.STAGE_RESOLVE)
            if end is None:
                raise
            return [_result(task, at_us, _unresolved(spec, end))]
        deadlines = [deadline.share() for _ in edges]
        runs = [
            loop.run_in_executor(_workers(), _PROBES[spec.kind](spec, context, own).run, address, resolved)
            for own, (address, resolved) in zip(deadlines, edges, strict=True)
        ]
        try:
            return [_result(task, at_us, await run) for run in runs]
        finally:
            for own in deadlines:
                own.cancel()

    def failed(
        self,
        task: control_pb2.Task,
        failure: pb.Failure.ValueType,
        stage: pb.Stage.ValueType,
        at_us: int,
    ) -> pb.Result:
        """The result of a run that ended before it could say anything itself. **Pure.**"""
        return _result(
            task, at_us, pb.Endpoint(kind=task.endpoint.kind, ok=False, failure=failure, stage=stage)
        )


def measured_host(spec: control_pb2.EndpointSpec) -> str:
    """The name or address that a spec connects to. **Pure.**

    Raises:
        ValueError: when the spec can't be run, saying why.
    """
    if spec.kind == pb.ENDPOINT_KIND_HTTP:
        return parse_url(spec.url).host
    if spec.kind in (pb.ENDPOINT_KIND_TCP, pb.ENDPOINT_KIND_TLS):
        return parse_host_port(spec.url)[0]
    if spec.kind == pb.ENDPOINT_KIND_DNS:
        server = spec.dns_server or resolve.system_servers()[0]
        return server if resolve.family_of(server) else parse_host_port(server, DNS_PORT)[0]
    raise ValueError("this agent does not know the kind of endpoint: is it older than the collector?")


def _edges(spec: control_pb2.EndpointSpec, host: str, deadline: Deadline) -> list[tuple[str, Resolved]]:
    if spec.connect_to and spec.kind != pb.ENDPOINT_KIND_DNS:
        families = [(address, resolve.family_of(address)) for address in spec.connect_to]
        if names := [address for address, family in families if not family]:
            raise Trouble(
                pb.FAILURE_LOCAL, f"connect_to holds {names[0]!r}, which is no address", pb.STAGE_NONE
            )
        addresses = [address for address, family in families if spec.family in (0, family)]
        if not addresses:
            raise Trouble(pb.FAILURE_NO_ADDRESS, f"connect_to holds no IPv{spec.family} address")
        return [(address, Resolved([address], None)) for address in addresses]
    resolved = resolve.resolve(host, spec.family, deadline)
    return [(address, resolved) for address in resolved.addresses[: MAX_EDGES if spec.every_address else 1]]


def _unresolved(spec: control_pb2.EndpointSpec, end: End) -> pb.Endpoint:
    return pb.Endpoint(kind=spec.kind, ok=False, failure=end.failure, stage=end.stage, mismatch=end.words)


def _result(task: control_pb2.Task, at_us: int, endpoint: pb.Endpoint) -> pb.Result:
    return pb.Result(measured_at_us=at_us, target=task.target, endpoint=endpoint)
