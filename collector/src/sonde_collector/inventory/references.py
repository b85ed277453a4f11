"""What the tables of fleet.toml must satisfy together: unique keys, known references, runs that fit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from sonde_collector.inventory import fit_interval
from sonde_collector.inventory.model import Chosen, Plan, Server
from sonde_collector.inventory.way import Way
from sonde_collector.unlock.shipped import enabled

Problem = tuple[str, str]
_GLOB = frozenset("*?[")


def problems(fields: Mapping[str, Any]) -> Iterator[Problem]:
    """Give (path, mistake) of everything wrong between the tables that were read well. **Pure**."""
    yield from _unique(fields, "vantage", "code", lambda one: one.code.lower())
    yield from _unique(fields, "provider", "key", lambda one: one.key)
    yield from _unique(fields, "provider", "name", lambda one: one.name)
    yield from _unique(fields, "server", "key", lambda one: one.key)
    yield from _unique(
        fields, "server", "hostname", lambda one: one.hostname and (one.provider, one.hostname)
    )
    yield from _unique(fields, "server", "ip_address", _only_by_address)
    yield from _unique(fields, "target", "key", lambda one: one.key)
    for table in ("plan", "notify", "maintenance", "origin_group"):
        yield from _unique(fields, table, "key", lambda one: one.key)
    yield from _servers(fields)
    yield from _sources(fields)
    yield from _members(fields)
    known = {
        table: dict.fromkeys(getattr(one, key) for one in fields[table])
        for table, key in (("server", "key"), ("target", "key"), ("vantage", "code"))
        if table in fields
    }
    for i, plan in enumerate(fields.get("plan", ())):
        yield from _plan(f"plan[{i}]", plan, fields, known)


def chosen(choice: Chosen | None, keys: Iterable[str]) -> list[str]:
    """Give which of `keys` a plan chooses: all for "*", none for None, else by key or glob. **Pure**."""
    if choice is None:
        return []
    patterns = ("*",) if isinstance(choice, str) else choice
    exact = {pattern for pattern in patterns if not _GLOB & set(pattern)}
    globs = [pattern for pattern in patterns if _GLOB & set(pattern)]
    if len(exact) == 1 and not globs and isinstance(keys, Mapping):  # a plan for each of 10 000 vantages
        return [key for key in exact if key in keys]
    return [key for key in keys if key in exact or any(fnmatchcase(key, glob) for glob in globs)]


def _only_by_address(server: Server) -> object:
    # Several names may share an address; without a name the address is all there is to tell servers apart.
    return None if server.hostname else server.ip_address and (server.provider, server.ip_address)


def _unique(
    fields: Mapping[str, Any], table: str, name: str, by: Callable[[Any], object]
) -> Iterator[Problem]:
    first: dict[object, int] = {}
    for i, one in enumerate(fields.get(table, ())):
        value = by(one)
        if value and first.setdefault(value, i) != i:
            yield f"{table}[{i}].{name}", f'"{getattr(one, name)}" is used by {table}[{first[value]}] already'


def _servers(fields: Mapping[str, Any]) -> Iterator[Problem]:
    targets = {one.key for one in fields.get("target", ())}
    providers = [one.key for one in fields["provider"]] if "provider" in fields else None
    for i, server in enumerate(fields.get("server", ())):
        if providers is not None and server.provider not in providers:
            yield (
                f"server[{i}].provider",
                f'"{server.provider}" is no [[provider]] key{_near(server.provider, providers)}',
            )
        if server.key in targets:
            yield (
                f"server[{i}].key",
                f'"{server.key}" is a [[target]] key already; results are told apart by key',
            )


def choices(fleet: Any, ways: Mapping[str, Sequence[Way]]) -> Iterator[str]:
    """Give what plans choose wrongly once all servers are known, those of sources too. **Pure**.

    Args:
        fleet: with every server.
        ways: of each server by its key.
    """
    keys = dict.fromkeys(server.key for server in fleet.server)
    for i, plan in enumerate(fleet.plan):
        for at, message in _reference(f"plan[{i}].servers", plan.servers, keys, "[[server]]"):
            yield f"{at}: {message}"
        mine = chosen(plan.servers, keys)
        for at, message in _reference(
            f"plan[{i}].unlock.canary", plan.unlock.canary_servers, mine, "[[server]] of this plan"
        ):
            yield f"{at}: {message}"
        if plan.tunnels and mine and not any(ways_of(plan, ways.get(key, ())) for key in mine):
            what = " or ".join(plan.protocols) if plan.protocols else "any protocol"
            yield (
                f"plan[{i}].servers: no profile leads to any of them by {what}: tunnels are made of the "
                "profiles of a [[provider.source]]"
            )


def ways_of(plan: Plan, ways: Sequence[Way]) -> list[Way]:
    """Give the ways that a plan uses. **Pure**."""
    return [way for way in ways if plan.protocols is None or way.protocol in plan.protocols]


def _plan(
    at: str, plan: Plan, fields: Mapping[str, Any], known: Mapping[str, Mapping[str, None]]
) -> Iterator[Problem]:
    tables = [("targets", "target"), ("vantages", "vantage")]
    if not any(provider.source for provider in fields.get("provider", ())):
        tables.insert(0, ("servers", "server"))  # else they are known when the sources were read
    for name, table in tables:
        if table in known:
            yield from _reference(f"{at}.{name}", getattr(plan, name), known[table], f"[[{table}]]")
    if plan.loads and "vantage" in fields:
        codes = chosen(plan.vantages, known["vantage"])
        unpaid = [one.code for one in fields["vantage"] if one.monthly_gb is None and one.code in codes]
        if unpaid:
            yield (
                f"{at}.vantages",
                (
                    f'"{unpaid[0]}" has no monthly_gb, and throughput is measured only where it is said how '
                    "much traffic it may use: set it, or choose other vantages"
                ),
            )
    if plan.unlock.platforms == "enabled" and not enabled():
        yield f"{at}.unlock.platforms", '"enabled" is none: no rule is shipped that is on; name some'
    yield from ((f"{at}.{name}" if name else at, message) for name, message in fit_interval.misfits(plan))


def _members(fields: Mapping[str, Any]) -> Iterator[Problem]:
    if "target" not in fields:
        return
    known = [one.key for one in fields["target"]]
    for i, group in enumerate(fields.get("origin_group", ())):
        for j, member in enumerate(group.members):
            if member not in known:
                yield (
                    f"origin_group[{i}].members[{j}]",
                    f'"{member}" is no [[target]] key{_near(member, known)}',
                )


def _sources(fields: Mapping[str, Any]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for i, provider in enumerate(fields.get("provider", ())):
        for j, account in enumerate(provider.account):
            at = f"provider[{i}].account[{j}]"
            if first.setdefault(account.key, at) != at:
                yield f"{at}.key", f'"{account.key}" is used by {first[account.key]} already'
        known = [account.key for account in provider.account]
        for j, source in enumerate(provider.source):
            if source.account not in known:
                near = _near(source.account, known)
                yield (
                    f"provider[{i}].source[{j}].account",
                    f'"{source.account}" is no [[provider.account]] of this provider{near}',
                )


def _reference(at: str, choice: Chosen | None, keys: Iterable[str], what: str) -> Iterator[Problem]:
    if choice is None or isinstance(choice, str):
        return
    known = keys if isinstance(keys, Mapping) else dict.fromkeys(keys)
    for i, pattern in enumerate(choice):
        if _GLOB & set(pattern):
            if not chosen((pattern,), known):
                yield f"{at}[{i}]", f'"{pattern}" matches no {what}'
        elif pattern not in known:
            yield f"{at}[{i}]", f'"{pattern}" is no {what}{_near(pattern, list(known))}'


def _near(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
