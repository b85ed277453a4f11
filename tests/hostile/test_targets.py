"""A collector in foreign hands names what this agent may not touch, in every way there is."""

import pytest
from support import hostile_stage
from support.hostile_stage import PORT, WORLD, Stage

from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_LACK = hostile_stage.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("hostile"),
    pytest.mark.skipif(_LACK is not None, reason=f"a network of its own: {_LACK}"),
]

DENIED = [
    "127.0.0.1", "127.1", "0x7f.1", "2130706433", "017700000001", "0x7f000001", "0", "0.0.0.0", "127.0.0.1.",
    "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "::ffff:0:127.0.0.1",
    "10.9.9.9", "0xa090909", "167839497", "012.9.2313", "::ffff:a09:909", "64:ff9b:1::1", "fd00::9",
    "169.254.169.254", "2852039166", "fe80::1", "fe80::1%lo", "100.64.0.1", "192.168.1.1", "172.16.0.1",
    "224.0.0.1", "255.255.255.255", "ff02::1", "203.0.113.7", "3405803783", "::ffff:203.0.113.7",
    "\uff11\uff10.9.9.9", "10\u30029.9.9",
]  # fmt: skip
"""Addresses that are denied, and one network that the operator blocked."""
NAMES = ["localhost", "LOCALHOST.", "inside.example", "inside6.example", "mapped.example"]
"""Names that lead to denied addresses; nobody knows before they are looked up."""
BLOCKED = ["asked-to-stop.example", "blocked.example", "www.bank.example", "WWW.Bank.Example."]
ODD = [
    "-oProxyCommand=touch", "--help", "10.9.9.9\n", "10.9.9.9\0.world.example", "10.9.9.9#.world.example",
    "10.9.9.9/32", "user@10.9.9.9", "10.9.9.9:80:80", "[::1", "$(id)", "`id`", ";id", "..", "/etc/passwd",
    "unix:/tmp/x", "file:///etc/passwd", "a" * 300, "xn--", "\u202e1.1.1.1", "", " ", "10.9.9.9 ",
    "\t10.9.9.9",
]  # fmt: skip
"""No hosts at all, or hosts for somebody who reads them another way."""


def echo(host: str) -> control_pb2.PingSpec:
    """Two echoes."""
    return control_pb2.PingSpec(host=host, count=2, spacing_ms=10, wait_ms=200, payload_bytes=16)


def ways(host: str) -> list[control_pb2.Task]:
    """Every field of every kind of task that could lead an agent to `host`."""
    at = f"[{host}]" if ":" in host else host
    tasks: list[control_pb2.Task] = []

    def add(**spec: object) -> None:
        number = len(tasks)
        tasks.append(
            control_pb2.Task(
                key=f"{number} {host!r}", target="hostile", interval_ms=4000, timeout_ms=3000, **spec
            )
        )

    def endpoint(kind: pb.EndpointKind.ValueType, url: str, **more: object) -> None:
        add(endpoint=control_pb2.EndpointSpec(kind=kind, url=url, **more))

    here = f"{WORLD}:{PORT}"
    add(ping=echo(host))
    endpoint(pb.ENDPOINT_KIND_TCP, f"{at}:80")
    endpoint(pb.ENDPOINT_KIND_TLS, f"{at}:443")
    endpoint(pb.ENDPOINT_KIND_TLS, here, sni=host)
    for scheme in ("http", "https"):
        endpoint(pb.ENDPOINT_KIND_HTTP, f"{scheme}://{at}/")
        endpoint(pb.ENDPOINT_KIND_HTTP, f"{scheme}://world.example@{at}:80/", every_address=True)
        endpoint(pb.ENDPOINT_KIND_HTTP, f"http://{here}/to?url={scheme}://{at}/", max_redirects=5)
    endpoint(pb.ENDPOINT_KIND_HTTP, f"http://{here}/", connect_to=[WORLD, host])
    endpoint(pb.ENDPOINT_KIND_TCP, here, connect_to=[at])
    endpoint(pb.ENDPOINT_KIND_DNS, "world.example", dns_server=host)
    endpoint(pb.ENDPOINT_KIND_DNS, "world.example", dns_server=f"{at}:53")
    endpoint(77, f"{at}:80")  # type: ignore[arg-type]
    for engine in pb.Engine.values():
        add(
            throughput=control_pb2.ThroughputSpec(
                engine=engine, url=f"http://{at}/", server=f"{at}:5201", max_bytes=1000, seconds=1
            )
        )
        add(throughput=control_pb2.ThroughputSpec(engine=engine, upload_url=f"http://{at}/", max_bytes=1000))
    add(throughput=control_pb2.ThroughputSpec(engine=pb.ENGINE_NDT7, url=f"ws://{at}/", max_bytes=1000))
    for connection in (
        control_pb2.ConnectionSpec(direct_host=host),
        control_pb2.ConnectionSpec(exit_url=f"http://{at}/"),
        control_pb2.ConnectionSpec(place=control_pb2.Place(host=host, port=1)),
        control_pb2.ConnectionSpec(place=control_pb2.Place(host=host), handshake_only=True),
        control_pb2.ConnectionSpec(inside=[control_pb2.Task(timeout_ms=9, ping=echo(host))]),
    ):
        connection.credential, connection.profile, connection.protocol = "lab", "link.conf", "WireGuard"
        add(connection=connection)
    return tasks


def test_no_packet_goes_where_the_policy_forbids(stage: Stage) -> None:
    """However a denied host is written and wherever it stands, no packet is seen to it; the rest goes on."""
    tasks = [task for host in (*DENIED, *NAMES, *BLOCKED, *ODD) for task in ways(host)]
    for number, task in enumerate(tasks):
        task.key = f"{number} {task.key}"[:400].encode("unicode_escape").decode()
    stage.measure(*tasks, slots=6)
    stage.is_well()
    for result in stage.collector.results("hostile"):
        assert not result.performance.received, result
        assert not result.performance.down_bytes, result
        reached = result.endpoint.ok or result.endpoint.status == 200
        assert not reached or result.endpoint.address == WORLD, result


def test_what_is_denied_by_name_is_refused_with_the_reason(stage: Stage) -> None:
    """The collector reads which rule refused a task; what hides behind a name, it learns by the results."""
    tasks = [
        control_pb2.Task(key=host, target=host, interval_ms=1000, timeout_ms=900)
        for host in ("10.9.9.9", "203.0.113.7", "blocked.example", "192.0.2.66", "localhost", WORLD)
    ]
    for task in tasks:
        task.ping.CopyFrom(echo(task.key))
    never = control_pb2.Task(key="never", target="never-this", interval_ms=1000, timeout_ms=900)
    never.ping.CopyFrom(tasks[-1].ping)
    state = stage.measure(*tasks, never)
    refused = {one.task: one.reason for one in state.refused}
    assert refused == {
        "10.9.9.9": "10.9.9.9 is in 10.0.0.0/8, which policy.deny or the built-in list denies",
        "203.0.113.7": 'policy.block holds "203.0.113.0/24": asked us to stop',
        "blocked.example": 'policy.block holds "blocked.example": a competitor',
        "never": 'policy.deny_targets holds "never-this"',
    }
    stage.is_well()
    hidden = stage.collector.results("localhost")
    assert {result.performance.failure for result in hidden} == {pb.FAILURE_POLICY}
    for open_host in ("192.0.2.66", WORLD):  # the first one's block has ended
        assert any(result.performance.received for result in stage.collector.results(open_host))
