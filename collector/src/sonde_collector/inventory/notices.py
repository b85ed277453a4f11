"""What an operator should know of a fleet file, though it is no mistake. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from sonde_collector.control.assignments import unreachable
from sonde_collector.inventory import cost, fit
from sonde_collector.inventory.cost import DAY_S, Cost
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.references import chosen
from sonde_collector.inventory.roster import Roster
from sonde_collector.unlock import shipped

_AGENT_CONCURRENCY = 32  # an agent's default cap on runs under way
_MOST_TUNNELS = 16  # an agent's own cap on tunnels at once, whatever its memory
_BUSY = 0.7  # share of an account's sessions above which runs wait for one another often
_SHOWN = 3


def notices(roster: Roster, costs: Mapping[str, Cost], uses: Iterable[fit.Use]) -> Iterator[str]:
    """Give one line for each."""
    yield from _plans(roster)
    yield from _unlock(roster.fleet)
    for code, one in costs.items():
        if one.at_once > _AGENT_CONCURRENCY:
            yield (
                f"vantage {code}: {one.at_once:.0f} runs at once, and an agent allows "
                f"{_AGENT_CONCURRENCY} unless its limits.concurrency says more"
            )
        if one.tunnels_at_once > _MOST_TUNNELS:
            yield (
                f"vantage {code}: {one.tunnels_at_once:.0f} tunnels at once, and an agent opens "
                f"{_MOST_TUNNELS} at most unless its limits.tunnels says more"
            )
    for use in uses:
        share = use.session_s_per_day / (use.at_once * DAY_S)
        if _BUSY < share <= 1:
            yield (
                f"account {use.account.key}: {share:.0%} of its sessions are in use; runs will wait for one "
                "another"
            )


def _unlock(fleet: Fleet) -> Iterator[str]:
    known = shipped.shipped()
    watched = {
        slug
        for plan in fleet.plan
        if plan.asks_directly or plan.unlock.canary_servers
        for slug in cost.platforms(plan)
    }
    for plan in fleet.plan:
        named = cost.platforms(plan) if plan.unlocks else ()
        for slug in named:
            if slug not in known:
                near = " or ".join(f'"{each}"' for each in shipped.nearest(slug))
                yield (
                    f'plan {plan.key}: no rule for "{slug}" is shipped: it is checked only where an agent\'s '
                    f"own pack has one{near and f'; did you mean {near}?'}"
                )
        if blind := [slug for slug in named if slug not in watched]:
            yield (
                f"plan {plan.key} sets no unlock.canary for {_some(blind)}: nobody can tell a stale rule "
                "from a blocked exit"
            )


def _plans(roster: Roster) -> Iterator[str]:
    servers = {server.key: server for server in roster.fleet.server}
    for plan in roster.fleet.plan:
        if "ping" in plan.checks and plan.success is None and not plan.tunnels:
            yield f'plan {plan.key} pings: connection_success stays NULL, as success = "ping" is not set'
        if plan.tunnels and not plan.connection.handshake_only and plan.connection.exit_url is None:
            yield f"plan {plan.key} sets no connection.exit_url: nobody would notice a leak"
        without = [
            key
            for key in chosen(plan.servers, servers)
            if unreachable(plan, servers[key], roster.ways.get(key, ()))
        ]
        if without and plan.tunnels:
            yield f"plan {plan.key} can't reach {_some(without)}: no profile leads there"
        elif without:
            yield f"plan {plan.key} can't ping {_some(without)} in every family: no address or name for it"


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} and {len(keys) - _SHOWN} more"
