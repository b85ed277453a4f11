"""Which tasks become one run, and what that run does."""

from hypothesis import given
from hypothesis import strategies as st

from sonde_agent import grouping
from sonde_proto.v1 import control_pb2


def inside(kind: str, key: str, **fields: int | str) -> control_pb2.Task:
    """A task for inside a tunnel."""
    task = control_pb2.Task(key=key, target="se1", timeout_ms=1000)
    getattr(task, kind).SetInParent()
    for name, value in fields.items():
        setattr(getattr(task, kind), name, value)
    return task


def tunnel(
    key: str, *tasks: control_pb2.Task, group: str = "se1/WireGuard", **fields: str | bool
) -> control_pb2.Task:
    """A connection task of a plan."""
    spec = control_pb2.ConnectionSpec(protocol="WireGuard", credential="acme", profile="a.conf", inside=tasks)
    for name, value in fields.items():
        setattr(spec, name, value)
    return control_pb2.Task(key=key, target="se1", timeout_ms=10_000, group=group, connection=spec)


PING = inside("ping", "ping", count=5)
LONG_PING = inside("ping", "ping", count=20)
LOAD = inside("throughput", "throughput", seconds=8)
PAGE = inside("endpoint", "page", url="http://origin.example/")


def test_only_the_same_tunnel_of_one_group_is_shared() -> None:
    """Other inside tasks join; another profile, family, exit or group, or no group, does not."""
    name = grouping.run_key(tunnel("a", PING))
    assert grouping.run_key(tunnel("b", LOAD, direct_throughput=True)) == name
    others = [
        tunnel("c", profile="b.conf"), tunnel("d", exit_url="http://x.example/"),
        tunnel("e", handshake_only=True), tunnel("f", group="se2/WireGuard"), tunnel("g", group=""),
    ]  # fmt: skip
    names = {grouping.run_key(other) for other in others}
    assert len(names) == len(others)
    assert name not in names
    assert grouping.run_key(tunnel("g", group="")) == "g"


def test_a_joined_run_does_what_each_asks_for_once_and_quiet_things_first() -> None:
    """Ping before the load, the longer ping for both, each page once, keys of their own, time for all."""
    whole = grouping.joined([tunnel("a", LOAD, LONG_PING), tunnel("b", PING, PAGE, direct_throughput=True)])
    assert [one.WhichOneof("spec") for one in whole.connection.inside] == ["ping", "endpoint", "throughput"]
    assert whole.connection.inside[0].ping.count == 20
    assert len({one.key for one in whole.connection.inside}) == 3
    assert whole.connection.direct_throughput
    assert whole.timeout_ms == 20_000
    assert grouping.joined([tunnel("a", PAGE), tunnel("b", PAGE)]).connection.inside[0].endpoint.url


def test_unlock_comes_after_ping_and_before_the_load() -> None:
    """Rules are asked while the line is quiet; what two plans ask alike is asked once, what differs twice."""
    rules = inside("unlock", "unlock")
    rules.unlock.rules.add(slug="netflix")
    more = inside("unlock", "more")
    more.unlock.rules.add(slug="hulu")
    whole = grouping.joined([tunnel("a", LOAD, rules, PING), tunnel("b", rules, more)])
    kinds = [one.WhichOneof("spec") for one in whole.connection.inside]
    assert kinds == ["ping", "unlock", "unlock", "throughput"]


def test_what_a_run_needs_leases_of() -> None:
    """A session of the account, its key, and the target where it is loaded; a ping needs none."""
    assert grouping.wants(PING, "") == []
    assert [want.WhichOneof("resource") for want in grouping.wants(tunnel("a", PING), "00ff")] == [
        "credential", "key",
    ]  # fmt: skip
    loaded = grouping.wants(tunnel("a", PING, LOAD), "")
    assert loaded == [control_pb2.Want(credential="acme"), control_pb2.Want(target="se1")]
    assert grouping.wants(LOAD, "") == [control_pb2.Want(target="se1")]
    assert len(grouping.loads(tunnel("a", LOAD, direct_throughput=True))) == 2


@given(st.lists(st.lists(st.sampled_from([PING, LONG_PING, LOAD, PAGE]), max_size=4), min_size=1, max_size=4))
def test_joining_loses_no_kind_and_doubles_none(plans: list[list[control_pb2.Task]]) -> None:
    """Whatever is joined: each kind that any asks for runs exactly once."""
    whole = grouping.joined([tunnel(str(number), *tasks) for number, tasks in enumerate(plans)])
    asked = {one.WhichOneof("spec") for tasks in plans for one in tasks}
    runs = [one.WhichOneof("spec") for one in whole.connection.inside]
    if len(plans) > 1:
        assert sorted(runs, key=str) == sorted(asked, key=str)
    assert set(runs) == asked


def test_only_openvpn_over_udp_settles() -> None:
    """Its server keeps a session for 5 s after the goodbye; the others end with it."""
    spec = control_pb2.ConnectionSpec
    assert grouping.settle_s(control_pb2.Task(connection=spec(protocol="OpenVPN-UDP"))) > 5
    for protocol in ("OpenVPN-TCP", "IKEv2", "WireGuard"):
        assert grouping.settle_s(control_pb2.Task(connection=spec(protocol=protocol))) == 0
