"""How much one tunnel may be asked to move, by the helper's own copy of the limits."""

import pytest

from sonde_agent.limits import Limits
from sonde_agent.tunnel.helper_request import Refused, judge
from sonde_agent.tunnel.helper_rules import Rules
from sonde_proto.units import Size
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

LOW = Rules(limits=Limits(throughput_day=Size(5000), echoes_per_s=1, bodies_hour=Size(1000)))


def load(max_bytes: int) -> control_pb2.Task:
    """A transfer."""
    spec = control_pb2.ThroughputSpec(url="http://192.0.2.1/", max_bytes=max_bytes)
    return control_pb2.Task(key="t", timeout_ms=1000, throughput=spec)


def page() -> control_pb2.Task:
    """A page of a megabyte at most."""
    spec = control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_HTTP, url="http://192.0.2.1/")
    return control_pb2.Task(key="p", timeout_ms=1000, endpoint=spec)


def echoes(count: int) -> control_pb2.Task:
    """A ping."""
    return control_pb2.Task(key="e", timeout_ms=1000, ping=control_pb2.PingSpec(count=count, spacing_ms=10))


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ([load(5001)], "limits.throughput_day"),
        ([load(2501), load(2500)], "limits.throughput_day"),
        ([load(0)], "limits.throughput_day"),
        ([page()], "limits.bodies_hour"),
        ([echoes(11)], "limits.echoes_per_s"),
    ],
)
def test_one_tunnel_beyond_the_limits_is_refused(inside: list[control_pb2.Task], words: str) -> None:
    """What one request asks for is held against the helper's own file, whatever the agent thinks."""
    with pytest.raises(Refused, match=words) as refused:
        judge(tunnel_pb2.OpenTunnel(credential="lab", inside=inside), LOW)
    assert refused.value.failure == pb.FAILURE_POLICY


def test_what_is_within_passes_on_to_the_profile() -> None:
    """Within the limits the next thing that is looked at is the account."""
    request = tunnel_pb2.OpenTunnel(credential="lab", inside=[load(5000), echoes(10)])
    with pytest.raises(Refused, match=r"no \[credential"):
        judge(request, LOW)
