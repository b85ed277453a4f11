"""Running the endpoint check as the runner does, in as few words as a test needs."""

from pathlib import Path
from typing import Any

from sonde_agent.checks.base import Context
from sonde_agent.checks.kinds import KINDS
from sonde_agent.net.icmp import Engines
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

HTTP, TLS, TCP, DNS = (
    pb.ENDPOINT_KIND_HTTP,
    pb.ENDPOINT_KIND_TLS,
    pb.ENDPOINT_KIND_TCP,
    pb.ENDPOINT_KIND_DNS,
)


async def every(
    kind: pb.EndpointKind.ValueType,
    url: str,
    *,
    timeout_ms: int = 5000,
    context: Context | None = None,
    **fields: Any,
) -> list[pb.Endpoint]:
    """Run the check once; what each address gave."""
    if isinstance(expect := fields.pop("expect", None), dict):
        fields["expect"] = control_pb2.Expectations(**expect)
    fields = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
    spec = control_pb2.EndpointSpec(kind=kind, url=url, **fields)
    task = control_pb2.Task(key="k", target="t", timeout_ms=timeout_ms, endpoint=spec)
    results = await KINDS["endpoint"].run(task, context or Context(icmp=Engines()))
    assert {result.target for result in results} == {"t"}
    return [result.endpoint for result in results]


async def one(kind: pb.EndpointKind.ValueType, url: str, **fields: Any) -> pb.Endpoint:
    """As `every`, where there is one address."""
    [endpoint] = await every(kind, url, **fields)
    return endpoint


def ended(endpoint: pb.Endpoint) -> tuple[str, str]:
    """Failure and stage in words."""
    return (
        pb.Failure.Name(endpoint.failure).removeprefix("FAILURE_"),
        pb.Stage.Name(endpoint.stage).removeprefix("STAGE_"),
    )
