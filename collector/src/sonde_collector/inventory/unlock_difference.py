"""What unlock checks need in the database: their platforms, and the servers known good. **Pure**."""

from collections.abc import Iterator

from sonde_collector.inventory import cost
from sonde_collector.inventory.change import Change, Current, added
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.references import chosen
from sonde_collector.unlock import shipped


def platforms(fleet: Fleet, current: Current) -> Iterator[Change]:
    """Give the platforms to add. Those that are there keep their names: somebody may have chosen them."""
    known = set(current["platforms"])
    for slug in dict.fromkeys(slug for plan in fleet.plan if plan.unlocks for slug in cost.platforms(plan)):
        if slug not in known:
            row = {"slug": slug, "name": shipped.name(slug)}
            yield Change("+", "platform", slug, added(row, ("name",)), row)


def canaries(fleet: Fleet, current: Current) -> Iterator[Change]:
    """Give the servers that become known good for some platforms, or are no more."""
    existing = {row["server"]: row["platforms"] for row in current["canaries"]}
    for server, wanted in sorted(_canaries(fleet).items()):
        old = existing.pop(server, None)
        if old != wanted:
            row = {"server": server, "platforms": wanted}
            yield Change("+" if old is None else "~", "canary", server, {"platforms": (old, wanted)}, row)
    for server in existing:
        yield Change("-", "canary", server, {}, {"server": server, "platforms": []})


def _canaries(fleet: Fleet) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for plan in (plan for plan in fleet.plan if plan.unlocks):
        mine = chosen(plan.servers, [server.key for server in fleet.server])
        for server in chosen(plan.unlock.canary_servers, mine):
            found.setdefault(server, set()).update(cost.platforms(plan))
    return {server: sorted(slugs) for server, slugs in found.items()}
