"""Fleet file against database: what must change. Pure, so that a dry run shows what a real one does."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from sonde_collector.inventory import health_difference, unlock_difference, ways_difference
from sonde_collector.inventory.change import Change, Current, Row, added, changed
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import Server
from sonde_collector.inventory.roster import Roster
from sonde_collector.inventory.spec import spec_of
from sonde_proto.toml_config import ConfigError


def compare(roster: Roster, current: Current) -> list[Change]:
    """Give the changes that make `current` what `roster` says, in an order that can be written. **Pure**.

    What the fleet file leaves out of a table (a website, a hostname, the protocols) is not its own, and stays
    as it is. Servers, vantages and providers that no fleet file ever named are left alone.

    Raises:
        ConfigError: the file can't be applied to this database; with every mistake.
    """
    fleet = roster.fleet
    mistakes: list[str] = []
    changes = [
        *_vantages(fleet, current),
        *_providers(fleet, current),
        *ways_difference.accounts(fleet, current),
        *_servers(fleet, current, mistakes),
        *ways_difference.profiles(roster, current),
        *_specs("target", fleet.target, current["targets"]),
        *_specs("plan", fleet.plan, current["plans"]),
        *_specs("notify", fleet.notify, current["notify"]),
        *_specs("maintenance", fleet.maintenance, current["maintenance"]),
        *_specs("origin_group", fleet.origin_group, current["origin_groups"]),
        *health_difference.health(fleet, current["health"]),
        *unlock_difference.platforms(fleet, current),
        *unlock_difference.canaries(fleet, current),
    ]
    if mistakes:
        raise ConfigError(mistakes)
    return changes


def unmanaged(fleet: Fleet, current: Current, changes: Sequence[Change]) -> dict[str, int]:
    """Give how many rows of each kind the fleet file does not speak of and leaves alone. **Pure**."""
    touched = {(change.kind, change.row.get("id")) for change in changes}
    codes = {vantage.code for vantage in fleet.vantage}
    counts = {
        "server": sum(
            row["key"] is None and ("server", row["id"]) not in touched for row in current["servers"]
        ),
        "vantage": sum(not row["managed"] and row["code"] not in codes for row in current["vantages"]),
    }
    return {kind: count for kind, count in counts.items() if count}


def _place(row: dict[str, Any], old: Row | None) -> dict[str, Any]:
    """Keep the database's spelling of a city that differs in nothing but capitals."""
    same = old is not None and row["country"] == old["country"] and old["city"] is not None
    if same and old is not None and row["city"].casefold() == old["city"].casefold():
        row["city"] = old["city"]
    return row


def _vantages(fleet: Fleet, current: Current) -> Iterator[Change]:
    existing = {row["code"]: row for row in current["vantages"]}
    owned = ("city", "country", "provider", "monthly_gb", "weight", "is_active")
    for vantage in fleet.vantage:
        old = existing.pop(vantage.code, None)
        new = _place({**attrs.asdict(vantage), "is_active": True}, old)
        if old is None:
            yield Change("+", "vantage", vantage.code, added(new, owned[:-1]), new)
            continue
        new["id"] = old["id"]
        new["provider"] = new["provider"] or old["provider"]
        fields = changed(old, new, owned)
        if fields or not old["managed"]:
            yield Change("~", "vantage", vantage.code, fields or {"managed": (False, True)}, new)
    for code, old in existing.items():
        if old["managed"] and old["is_active"]:
            yield Change("-", "vantage", code, {"is_active": (True, False)}, dict(old))


def _providers(fleet: Fleet, current: Current) -> Iterator[Change]:
    existing = {row["key"]: row for row in current["providers"]}
    owned = ("name", "website_url", "is_active")
    for provider in fleet.provider:
        old = existing.pop(provider.key, None)
        new = {
            "key": provider.key,
            "name": provider.name,
            "website_url": provider.website_url,
            "is_active": True,
        }
        if old is None:
            yield Change("+", "provider", provider.key, added(new, owned[:-1]), new)
            continue
        new["id"] = old["id"]
        new["website_url"] = new["website_url"] or old["website_url"]
        if fields := changed(old, new, owned):
            yield Change("~", "provider", provider.key, fields, new)
    for key, old in existing.items():
        if old["managed"] and old["is_active"]:
            yield Change("-", "provider", key, {"is_active": (True, False)}, dict(old))


def _specs(kind: str, wanted: Iterable[Any], rows: Iterable[Row]) -> Iterator[Change]:
    existing = {row["key"]: row for row in rows}
    for one in wanted:
        old = existing.pop(one.key, None)
        new = {"key": one.key, "spec": spec_of(one), "is_active": True}
        if old is None:
            yield Change(
                "+", kind, one.key, {name: (None, value) for name, value in new["spec"].items()}, new
            )
            continue
        names = sorted(old["spec"].keys() | new["spec"].keys())
        fields = {name: (old["spec"].get(name), new["spec"].get(name)) for name in names}
        fields = {name: pair for name, pair in fields.items() if pair[0] != pair[1]}
        fields |= changed(old, new, ["is_active"])
        if fields:
            yield Change("~", kind, one.key, fields, new)
    for key, old in existing.items():
        if old["is_active"]:
            yield Change("-", kind, key, {"is_active": (True, False)}, dict(old))


_SERVER_FIELDS = ("provider", "city", "country", "hostname", "ip_address", "protocols", "is_active")


def _servers(fleet: Fleet, current: Current, mistakes: list[str]) -> Iterator[Change]:
    rows = _Rows(current["servers"])
    known = current["protocols"]
    wanted: list[tuple[Server, Row | None, dict[str, Any]]] = []
    for i, server in enumerate(fleet.server):
        mistakes += [
            f'server[{i}].protocols: "{name}" is no protocol; known: {", ".join(sorted(known))}'
            for name in server.protocols or ()
            if name not in known
        ]
        old = rows.by_key.get(server.key) or rows.unkeyed(server)
        wanted.append((server, old, _server_row(server, old)))
    mistakes += _hostname_conflicts(wanted, rows)
    for server, old, new in wanted:
        if old is None:
            yield Change("+", "server", server.key, added(new, _SERVER_FIELDS[:-1]), new)
            continue
        fields = changed(old, new, _SERVER_FIELDS)
        if old["key"] is None:
            fields = {"key": (None, server.key), **fields}
        if fields:
            yield Change("~", "server", server.key, fields, {**new, "id": old["id"]})
    keys = {server.key for server in fleet.server}
    for old in current["servers"]:
        if old["key"] is not None and old["key"] not in keys and old["is_active"]:
            yield Change("-", "server", old["key"], {"is_active": (True, False)}, dict(old))


class _Rows:
    """The database's servers, found by key, and those without one by name or address."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.by_key = {row["key"]: row for row in rows if row["key"] is not None}
        self.by_name = {(row["provider"], row["hostname"].lower()): row for row in rows if row["hostname"]}
        self._unkeyed: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            if row["key"] is None and row["ip_address"]:
                self._unkeyed.setdefault((row["provider"], row["ip_address"]), []).append(row)

    def unkeyed(self, server: Server) -> Row | None:
        """Give the row of this server from before any fleet file: by name, else by an address of its own."""
        named = self.by_name.get((server.provider, server.hostname or ""))
        if named is not None:
            return named if named["key"] is None else None
        same = self._unkeyed.get((server.provider, server.ip_address or ""), [])
        # One address may carry several names: it decides only where no two names contradict it.
        if len(same) == 1 and not (same[0]["hostname"] and server.hostname):
            return same[0]
        return None


def _server_row(server: Server, old: Row | None) -> dict[str, Any]:
    new: dict[str, Any] = _place({**attrs.asdict(server), "is_active": True}, old)
    new["protocols"] = None if server.protocols is None else sorted(server.protocols)
    if old is None:
        return new
    for name in ("hostname", "ip_address", "protocols"):
        if new[name] is None:
            new[name] = old[name]
    if new["hostname"] and old["hostname"] and new["hostname"].lower() == old["hostname"].lower():
        new["hostname"] = old["hostname"]
    return new


def _hostname_conflicts(
    wanted: Sequence[tuple[Server, Row | None, dict[str, Any]]], rows: _Rows
) -> Iterator[str]:
    """Give a mistake for each name that some other server keeps; a name that its holder gives up is free."""
    becomes = {old["id"]: new for _, old, new in wanted if old is not None}
    for i, (server, old, new) in enumerate(wanted):
        holder = rows.by_name.get((new["provider"], (new["hostname"] or "").lower()))
        if holder is None or (old is not None and holder["id"] == old["id"]):
            continue
        later = becomes.get(holder["id"])
        if later is not None and (later["provider"], later["hostname"]) != (
            holder["provider"],
            holder["hostname"],
        ):
            continue
        if holder["key"] is None:
            known = f"row {holder['id']} of table servers, which has no key"
            advice = "give that row another hostname, or this server another key"
        else:
            known = f'server "{holder["key"]}" of this provider'
            advice = f'keys are for ever, results are told apart by them: write key = "{holder["key"]}"'
        yield f'server[{i}].hostname: "{server.hostname}" belongs to {known}; {advice}'


def freed(changes: Sequence[Change]) -> list[int]:
    """Give the ids of servers that change name or provider: they let go before others take. **Pure**."""
    moved = ("hostname", "provider")
    return [
        change.row["id"]
        for change in changes
        if change.kind == "server" and change.sign == "~" and any(name in change.fields for name in moved)
    ]
