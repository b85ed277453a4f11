"""Inventory → tasks: the same fleet gives the same tasks, spread steadily."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.control.assignments import assign, nearest_by_hash, serialise
from sonde_collector.inventory import cost, fit_interval
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import PingPlan, Plan, Provider, Server, Target, Vantage
from sonde_proto.units import Duration

CODES = st.lists(st.text("abcdef0123", min_size=1, max_size=6), min_size=1, max_size=12, unique=True)


def fleet(**plan: object) -> Fleet:
    """Give a fleet of two vantages and two servers, one of them known by IPv4 address alone."""
    place = {"city": "Amsterdam", "country": "NL"}
    return Fleet(
        vantage=(Vantage(code="ams1", **place), Vantage(code="lon1", **place)),
        provider=(Provider(key="acme", name="Acme"),),
        server=(
            Server(key="nl-1", provider="acme", hostname="nl1.test", **place),
            Server(key="de-1", provider="acme", ip_address="192.0.2.1", **place),
        ),
        target=(Target(key="site", kind="tcp", host="2001:db8::1", port=443),),
        plan=(Plan(**{"key": "core", "checks": ("ping",), "every": Duration(60), "servers": "*", **plan}),),
    )


def keys(of: Fleet) -> dict[str, list[str]]:
    """Give each vantage's task keys."""
    return {code: [one.task.key for one in tasks] for code, tasks in assign(of).items()}


def _bodies(of: Fleet) -> dict[str, bytes]:
    tasks = assign(of)
    return {vantage.code: serialise(vantage, tasks[vantage.code]) for vantage in of.vantage}


def test_globs_choose_by_key() -> None:
    """A plan's servers and vantages are chosen by key or glob."""
    assert keys(fleet(servers=("nl-*",), vantages=("ams1",))) == {"ams1": ["core/nl-1/4"], "lon1": []}


def test_a_family_without_an_address_has_no_task() -> None:
    """A server known by an IPv4 address alone is not pinged over IPv6."""
    both = keys(fleet(ping=PingPlan(families=(4, 6)), vantages=("ams1",)))
    assert both["ams1"] == ["core/de-1/4", "core/nl-1/4", "core/nl-1/6"]


def test_an_endpoint_is_asked_as_written() -> None:
    """A target becomes host:port, an IPv6 address in brackets."""
    of = fleet(checks=("endpoint",), servers=None, targets="*")
    (one,) = assign(of)["ams1"]
    assert one.task.endpoint.url == "[2001:db8::1]:443"


@given(codes=CODES, count=st.integers(1, 12))
def test_a_vantage_that_goes_moves_only_its_own_servers(codes: list[str], count: int) -> None:
    """Rendezvous hashing: without one vantage, the others keep every server that they had."""
    for server in ("a", "b", "c"):
        before = set(nearest_by_hash("plan", server, codes, count))
        after = set(nearest_by_hash("plan", server, codes[1:], count))
        assert len(before) == min(count, len(codes))
        assert before - {codes[0]} <= after


def test_the_order_of_the_file_does_not_matter() -> None:
    """Tasks are the same however the file is sorted, so that no revision is spent on it."""
    one = fleet()
    other = attrs.evolve(one, server=one.server[::-1], vantage=one.vantage[::-1])
    assert _bodies(one) == _bodies(other)


def test_cost_of_a_ping_is_exact() -> None:
    """10 echoes a minute are 28 800 packets a day of 44 bytes each."""
    plan = fleet().plan[0]
    one = cost.ping_cost(plan, 4)
    assert (one.runs_per_hour, one.packets_per_day, one.bytes_per_day) == (60, 28_800, 28_800 * 44)


@pytest.mark.parametrize(("every", "count"), [(5.0, 4), (2.0, 1), (1.0, None)])
def test_the_nearest_plan_that_fits_fits(every: float, count: int | None) -> None:
    """Both ways that a refusal names are accepted."""
    plan = attrs.evolve(fleet().plan[0], every=Duration(every))
    ((key, message),) = fit_interval.misfits(plan)
    assert key == "every"
    assert not list(fit_interval.misfits(attrs.evolve(plan, every=Duration(11))))
    assert 'every = "11s"' in message
    assert (f"ping.count = {count}" in message) is (count is not None)
    if count is not None:
        assert not list(fit_interval.misfits(attrs.evolve(plan, ping=PingPlan(count=count))))
