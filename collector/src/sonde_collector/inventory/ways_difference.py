"""Accounts, and ways to servers, against the database: what must change, which history it makes. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sonde_collector.inventory.change import Change, Current, added, changed
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.roster import Roster
from sonde_collector.inventory.way import Way

_ACCOUNT = ("provider", "sessions", "logins_per_minute", "same_key_twice", "linger_s", "is_active")
_PROFILE = ("credential", "profile", "host", "port", "public_key", "certificate", "placed", "is_active")
ENDS = ("host", "port", "public_key", "certificate")
"""Columns of a profile that say where its tunnel ends: a change of one begins another epoch."""


def accounts(fleet: Fleet, current: Current) -> Iterator[Change]:
    """Give the changes of accounts."""
    existing = {row["key"]: row for row in current["accounts"]}
    for provider in fleet.provider:
        for account in provider.account:
            old = existing.pop(account.key, None)
            new = {
                "key": account.key,
                "provider": provider.key,
                "sessions": account.sessions,
                "logins_per_minute": account.logins_per_minute,
                "same_key_twice": account.same_key_twice,
                "linger_s": float(account.linger),
                "is_active": True,
            }
            if old is None:
                yield Change("+", "account", account.key, added(new, _ACCOUNT[:-1]), new)
            elif fields := changed(old, new, _ACCOUNT):
                yield Change("~", "account", account.key, fields, new)
    for key, old in existing.items():
        if old["is_active"]:
            yield Change("-", "account", key, {"is_active": (True, False)}, dict(old))


def profiles(roster: Roster, current: Current) -> Iterator[Change]:
    """Give the changes of ways to servers: one object for each server and protocol."""
    existing = {(row["server"], row["protocol"]): row for row in current["profiles"]}
    for server, ways in roster.ways.items():
        for way in ways:
            old = existing.pop((server, way.protocol), None)
            new = _row(server, way)
            key = f"{server}/{way.protocol}"
            if old is None:
                yield Change("+", "profile", key, added(new, _PROFILE[:-2]), new)
            elif fields := changed(old, new, _PROFILE):
                yield Change("~", "profile", key, fields, new)
    for (server, protocol), old in existing.items():
        if old["is_active"]:
            yield Change("-", "profile", f"{server}/{protocol}", {"is_active": (True, False)}, dict(old))


def _row(server: str, way: Way) -> dict[str, Any]:
    return {
        "server": server,
        "protocol": way.protocol,
        "credential": way.credential,
        "profile": way.profile,
        "host": way.host,
        "port": way.port,
        "public_key": way.public_key or None,
        "certificate": way.certificate or None,
        "placed": way.placed,
        "is_active": True,
    }


def epochs(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Give a row of history for each address and key that changes.

    A server's new address stands there once, not once more for each protocol that is spoken at it.
    """
    rows: list[dict[str, Any]] = []
    moved: set[str] = set()
    for change in changes:
        if change.sign != "~" or change.kind not in ("server", "profile"):
            continue
        server = change.key if change.kind == "server" else change.row["server"]
        names = ("hostname", "ip_address") if change.kind == "server" else ENDS
        for name in names:
            before, after = change.fields.get(name, (None, None))
            if before is None or after is None or (name == "host" and server in moved):
                continue
            if change.kind == "server":
                moved.add(server)
            protocol = None if change.kind == "server" else change.row["protocol"]
            rows.append(
                {
                    "server": server,
                    "protocol": protocol,
                    "what": name,
                    "before": str(before),
                    "after": str(after),
                }
            )
    return rows


def shrunk(roster: Roster, current: Current, share: float) -> Iterator[str]:
    """Give, for each account that a source uses, that it lists far fewer servers than the database has of it.

    Args:
        roster: what the sources list now.
        current: what the database holds.
        share: of the known ones, how much may be missing, 0..1.
    """
    now, before = (
        _count(way.credential for ways in roster.ways.values() for way in ways),
        _count(row["credential"] for row in current["profiles"] if row["is_active"]),
    )
    for provider in roster.fleet.provider:
        for account in dict.fromkeys(source.account for source in provider.source):
            had, has = before.get(account, 0), now.get(account, 0)
            if has < had * (1 - share):
                yield (
                    f"the sources of account {account} list {has} ways to servers, and {had} are known: "
                    f"{had - has} would be deactivated"
                )


def _count(names: Iterable[str]) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
