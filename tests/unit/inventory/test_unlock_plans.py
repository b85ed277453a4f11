"""Plans with unlock checks: their tasks, their cost, and what an operator is told of them."""

import pytest

from sonde_collector.control.assignments import assign
from sonde_collector.inventory import cost, fit_interval
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import ConnectionPlan, Plan, Provider, Server, UnlockPlan, Vantage
from sonde_collector.inventory.notices import notices
from sonde_collector.inventory.references import choices
from sonde_collector.inventory.roster import roster
from sonde_collector.inventory.unlock_difference import canaries, platforms
from sonde_collector.inventory.way import Way
from sonde_collector.unlock import shipped
from sonde_proto.units import Duration
from sonde_proto.v1 import control_pb2

PLACE = {"city": "London", "country": "GB"}
WAY = Way("WireGuard", "acc", "f", "h", 1)
NOTHING: dict[str, list[object]] = {"platforms": [], "canaries": []}


def fleet(
    *unlocks: UnlockPlan, checks: tuple[str, ...] = ("connection", "unlock"), every: float = 3600
) -> Fleet:
    """Give a fleet of two vantages and three servers, with a plan for each of `unlocks`."""
    tunnels = "connection" in checks
    return Fleet(
        vantage=tuple(Vantage(code=code, **PLACE) for code in ("ams1", "lon1")),
        provider=(Provider("acme", "Acme"),),
        server=tuple(
            Server(key, "acme", hostname=f"{key}.test", **PLACE) for key in ("de-1", "gb-1", "gb-2")
        ),
        plan=tuple(
            Plan(
                key=f"p{number}",
                checks=checks,  # type: ignore[arg-type]
                every=Duration(every),
                servers=("gb-*",) if tunnels else None,
                unlock=unlock,
                connection=ConnectionPlan(exit_url="http://ip.test/") if tunnels else ConnectionPlan(),
            )
            for number, unlock in enumerate(unlocks)
        ),
    )


def tasks(of: Fleet) -> dict[str, list[control_pb2.Task]]:
    """Give each vantage's tasks; one way leads to each server."""
    made = assign(of, {server.key: (WAY,) for server in of.server})
    return {code: [one.task for one in costed] for code, costed in made.items()}


def told(of: Fleet) -> list[str]:
    """Give what an operator is told."""
    whole = roster(of, (), {"servers": [], "profiles": []})
    return [line for line in notices(whole, {}, ()) if "unlock" in line or "rule" in line]


def test_rules_are_asked_inside_the_tunnel() -> None:
    """A tunnel task holds the rules and families as the plan names them, and the time for all of them."""
    of = fleet(UnlockPlan(platforms=("netflix", "hulu"), families=(4, 6)))
    for made in tasks(of).values():
        assert [task.key for task in made] == ["p0/gb-1/WireGuard", "p0/gb-2/WireGuard"]
        (inside,) = made[0].connection.inside
        assert (inside.key, inside.target) == ("p0/gb-1/WireGuard/unlock", "gb-1")
        assert [(rule.slug, rule.version) for rule in inside.unlock.rules] == [("netflix", ""), ("hulu", "")]
        assert list(inside.unlock.families) == [4, 6]
        assert inside.timeout_ms == (4 * 15 + 5) * 1000
        # name 5, handshake 15, set-up 3, unlock 60
        assert made[0].timeout_ms == 83_000


@pytest.mark.parametrize(
    ("checks", "canary", "direct"),
    [
        (("unlock",), None, True),
        (("unlock",), "direct", True),
        (("connection", "unlock"), None, False),
        (("connection", "unlock"), ("gb-1",), False),
        (("connection", "unlock"), "direct", True),
    ],
)
def test_who_asks_directly(checks: tuple[str, ...], canary: object, *, direct: bool) -> None:
    """Every vantage asks by itself, of no server, where the plan has no tunnel or wants a direct canary."""
    of = fleet(UnlockPlan(platforms=("netflix",), canary=canary), checks=checks)  # type: ignore[arg-type]
    for made in tasks(of).values():
        own = [task for task in made if task.key == "p0/unlock"]
        assert [(task.target, task.WhichOneof("spec")) for task in own] == [("", "unlock")] * direct


def test_enabled_is_what_is_shipped_and_on() -> None:
    """The word enabled stands for the shipped rules that are on; one that is off is asked by its name."""
    heads = shipped.shipped()
    on = {slug for slug, head in heads.items() if head.enabled}
    off = next(slug for slug, head in heads.items() if not head.enabled)
    of = fleet(UnlockPlan(platforms="enabled"), UnlockPlan(platforms=(off,)), checks=("unlock",))
    first, second = tasks(of)["ams1"]
    assert {rule.slug for rule in first.unlock.rules} == on >= {"netflix", "disney-plus", "bbc-iplayer"}
    assert [rule.slug for rule in second.unlock.rules] == [off]


def test_the_cost_grows_with_rules_families_and_tunnels() -> None:
    """Bytes follow the results of a run; a tunnel asks twice; a run that can't fit is refused."""
    one, four = (
        fleet(UnlockPlan(platforms=names, families=families), checks=("unlock",)).plan[0]
        for names, families in ((("netflix",), (4,)), (("netflix", "hulu"), (4, 6)))
    )
    assert cost.unlock_cost(four).bytes_per_day == 4 * cost.unlock_cost(one).bytes_per_day > 0
    (tunnel,) = fleet(UnlockPlan(platforms=("netflix",))).plan
    bare = fleet(UnlockPlan(), checks=("connection",)).plan[0]
    assert (
        cost.connection_cost(tunnel).bytes_per_day - cost.connection_cost(bare).bytes_per_day
        == 2 * cost.unlock_cost(one).bytes_per_day
    )
    assert cost.tunnel_seconds(tunnel) > cost.tunnel_seconds(bare)
    many = tuple(f"p{number}" for number in range(300))
    assert [at for at, _ in fit_interval.misfits(fleet(UnlockPlan(platforms=many)).plan[0])] == ["every"]
    fast = fleet(UnlockPlan(platforms=("netflix",) * 8, fast=True), every=40).plan[0]
    assert list(fit_interval.misfits(fast)) == []


def test_what_an_operator_is_told() -> None:
    """A slug without a rule is told with the nearest; a platform without a canary in any plan is, too."""
    (line,) = told(fleet(UnlockPlan(platforms=("netflicks",), canary="direct")))
    assert line == (
        'plan p0: no rule for "netflicks" is shipped: it is checked only where an agent\'s own pack has one; '
        'did you mean "netflix"?'
    )
    seen = UnlockPlan(platforms=("hulu",), canary=("gb-1",))
    blind = fleet(UnlockPlan(platforms=("netflix", "hulu")), seen)
    assert told(blind) == [
        "plan p0 sets no unlock.canary for netflix: nobody can tell a stale rule from a blocked exit"
    ]


def test_canary_servers_are_the_plans_own() -> None:
    """A pattern that matches none of the plan's servers is a mistake."""
    of = fleet(UnlockPlan(platforms=("netflix",), canary=("de-*", "gb-3")))
    ways = {server.key: (WAY,) for server in of.server}
    assert list(choices(of, ways)) == [
        'plan[0].unlock.canary[0]: "de-*" matches no [[server]] of this plan',
        'plan[0].unlock.canary[1]: "gb-3" is no [[server]] of this plan; did you mean "gb-2"?',
    ]


def test_what_the_database_needs() -> None:
    """Platforms get their rules' names, else slugs; servers are good for their plans' platforms."""
    of = fleet(
        UnlockPlan(platforms=("bbc-iplayer", "our-tv"), canary=("gb-*",)),
        UnlockPlan(platforms=("netflix",), canary=("gb-1",)),
    )
    assert [change.row for change in platforms(of, {**NOTHING, "platforms": ["netflix"]})] == [
        {"slug": "bbc-iplayer", "name": "BBC iPlayer"},
        {"slug": "our-tv", "name": "our-tv"},
    ]
    current = {
        **NOTHING,
        "canaries": [{"server": "gb-2", "platforms": []}, {"server": "de-1", "platforms": ["x"]}],
    }
    assert [
        (change.sign, change.row["server"], change.row["platforms"]) for change in canaries(of, current)
    ] == [
        ("+", "gb-1", ["bbc-iplayer", "netflix", "our-tv"]),
        ("~", "gb-2", ["bbc-iplayer", "our-tv"]),
        ("-", "de-1", []),
    ]
