"""What plans cost, and what can't fit: refused with the nearest that does."""

import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.control.assignments import assign, serialise
from sonde_collector.inventory import cost, fit
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import (
    Account,
    ConnectionPlan,
    PingPlan,
    Plan,
    Provider,
    Server,
    ThroughputPlan,
    Vantage,
)
from sonde_collector.inventory.way import Way
from sonde_proto.units import Duration, Size, parse_duration, parse_size
from sonde_proto.v1 import control_pb2

LOADED = ("connection", "throughput")
LOAD = ThroughputPlan(url="http://speed.test/", max_bytes=Size(10**8))


def fleet(*plans: Plan, servers: int = 3, vantages: int = 2, sessions: int = 5, gb: float = 1000) -> Fleet:
    """Give a fleet of one account."""
    place = {"city": "Berlin", "country": "DE"}
    return Fleet(
        vantage=tuple(Vantage(code=f"v{i}", monthly_gb=gb, **place) for i in range(vantages)),
        provider=(Provider("acme", "Acme", account=(Account("acc", sessions),)),),
        server=tuple(Server(f"s{i}", "acme", hostname=f"s{i}.test", **place) for i in range(servers)),
        plan=plans,
    )


def plan(
    key: str = "p", every: float = 3600, checks: tuple[str, ...] = ("connection",), **more: object
) -> Plan:
    """Give a plan over all servers."""
    return Plan(key=key, checks=checks, every=Duration(every), servers="*", **more)  # type: ignore[arg-type]


def told(of: Fleet, *, own_keys: bool = True, protocol: str = "WireGuard") -> list[str]:
    """Give what does not fit."""
    ways = {
        server.key: (Way(protocol, "acc", "f", "h", 1, own_key=server.key.encode() if own_keys else b"one"),)
        for server in of.server
    }
    tasks = assign(of, ways)
    return fit.misfits(of, tasks, {v.code: serialise(v, tasks[v.code]) for v in of.vantage})


def test_a_tunnel_task_holds_everything_and_the_time_for_it() -> None:
    """Inside stand ping and throughput; the run is exclusive, and its deadline covers every part."""
    of = fleet(
        plan(checks=("connection", "ping", "throughput"), throughput=LOAD, ping=PingPlan(host="192.0.2.1"))
    )
    way = Way("WireGuard", "acc", "", "192.0.2.9", None, "KEY", server_name="n", placed=True)
    (one,) = assign(of, {"s0": (way,)})["v0"]
    task, spec = one.task, one.task.connection
    assert (task.key, task.group) == ("p/s0/WireGuard", "s0/WireGuard")
    assert getattr(task, "class") == control_pb2.TASK_CLASS_EXCLUSIVE
    assert (spec.place.host, spec.place.port, spec.place.public_key) == ("192.0.2.9", 0, "KEY")
    assert [inside.key for inside in spec.inside] == ["p/s0/WireGuard/ping", "p/s0/WireGuard/throughput"]
    assert spec.inside[0].ping.host == "192.0.2.1"
    assert spec.direct_throughput
    # name 5, handshake 15, set-up 3, ping 11, throughput 9.5 twice
    assert task.timeout_ms == 53_000


def test_a_probe_makes_no_tunnel() -> None:
    """A handshake-only plan joins no tunnel run, and opens none."""
    of = fleet(plan(connection=ConnectionPlan(handshake_only=True)))
    (one,) = assign(of, {"s0": (Way("WireGuard", "acc", "f", "h", 1),)})["v0"]
    assert one.task.group == ""
    assert one.cost.tunnel_s_per_day == 0


def test_throughput_may_use_what_the_others_leave() -> None:
    """monthly_bytes is monthly_gb without the traffic of the other tasks, and 0 where nothing measures it."""
    of = fleet(
        plan(checks=("throughput",), throughput=attrs.evolve(LOAD, url="http://{host}/")),
        plan("q", checks=("ping",)),
    )
    tasks = assign(of)["v0"]
    assert tasks[0].task.throughput.url == "http://s0.test/"
    assignment = control_pb2.Assignment.FromString(serialise(of.vantage[0], tasks))
    pings = 3 * 24 * 10 * 2 * 44 * 31
    assert assignment.monthly_bytes == 10**12 - pings
    pure = control_pb2.Assignment.FromString(
        serialise(of.vantage[0], [one for one in tasks if not one.plan.loads])
    )
    assert pure.monthly_bytes == 0


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (fleet(plan(every=60), servers=500), "account acc: "),
        (fleet(plan(checks=LOADED, throughput=LOAD), gb=10), "vantage v0: up to "),
        (
            fleet(plan(every=60, checks=LOADED, throughput=LOAD), servers=9, gb=10**6, vantages=1),
            "vantage v0: throughput runs take ",
        ),
        (
            fleet(plan(every=300, checks=LOADED, throughput=LOAD), servers=1, gb=10**6, vantages=30),
            "server s0: throughput runs of all vantages take ",
        ),
    ],
)
def test_what_can_not_fit_is_refused_and_the_nearest_fits(of: Fleet, said: str) -> None:
    """Sessions, month, day and link each have their words, and the plan that they name is taken."""
    lines = told(of)
    assert any(line.startswith(said) for line in lines)
    for _ in range(4):  # one plan may break several bounds, one after the other
        every = parse_duration(re.findall(r'every = "([0-9a-z]+)"', lines[0])[0])
        of = attrs.evolve(of, plan=(attrs.evolve(of.plan[0], every=every),))
        lines = told(of)
        if not lines:
            return
    pytest.fail(f"still refused: {lines}")


def test_one_key_for_all_is_one_session() -> None:
    """Five sessions are worth one where all profiles hold the same WireGuard key."""
    of = fleet(plan(every=60, checks=("connection", "ping")), servers=4, vantages=2)
    assert told(of) == []
    assert "1 key(s), each in use once" in told(of, own_keys=False)[0]


def test_without_keys_every_vantage_may_have_a_session() -> None:
    """OpenVPN has no key that is in use once: two sessions are worth two, however few the servers."""
    of = fleet(plan(every=60, checks=("connection", "ping")), servers=1, vantages=20, sessions=2)
    assert "2 session(s) give 48" in told(of, protocol="OpenVPN-UDP")[0]


def test_smaller_runs_fit_as_well() -> None:
    """The max_bytes that is named in place of a longer interval fits."""
    of = fleet(plan(checks=("connection", "throughput"), throughput=LOAD), gb=100)
    (line, _) = told(of)
    size = parse_size(re.findall(r'max_bytes = "([0-9A-Z]+)"', line)[0])
    smaller = attrs.evolve(of.plan[0], throughput=attrs.evolve(LOAD, max_bytes=size))
    assert told(attrs.evolve(of, plan=(smaller,))) == []


@given(
    seconds=st.lists(st.floats(0, 1e6), min_size=1, max_size=5),
)
def test_the_sum_of_costs_is_the_sum_of_each_figure(seconds: list[float]) -> None:
    """Every figure of every task is added."""
    whole = cost.total(cost.Cost(1, busy_s_per_day=one, tunnel_s_per_day=2 * one) for one in seconds)
    assert whole.tasks == len(seconds)
    assert whole.busy_s_per_day == pytest.approx(sum(seconds))
    assert whole.tunnel_s_per_day == pytest.approx(2 * sum(seconds))
    assert cost.total([]) == cost.Cost()
