"""What sources list, joined with the fleet file's own servers: every server, and the ways to it. Pure.

A server's key is for ever: results carry it. A listed server therefore keeps the key under which the database
knows its file, or else its name or address; only a new one gets a key, made of the provider and the file's
name.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import Server
from sonde_collector.inventory.way import Listed, Reading, Way

Row = Mapping[str, Any]
_LONGEST_KEY = 100
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9._-]+")
_PROTOCOLS = ("WireGuard", "OpenVPN-UDP", "OpenVPN-TCP", "IKEv2")


@attrs.frozen
class Roster:
    """All servers and how they are reached.

    Attributes:
        fleet: the fleet file with what its sources list as further servers.
        ways: by server key, in the order of protocols; each protocol once.
        unmatched: "FILE: why" of what nothing places in a country and city.
        second: "FILE: why" of what is left out, as the server has such a way already.
    """

    fleet: Fleet
    ways: Mapping[str, tuple[Way, ...]]
    unmatched: tuple[str, ...] = ()
    second: tuple[str, ...] = ()


def roster(fleet: Fleet, readings: Sequence[Reading], current: Mapping[str, Any]) -> Roster:
    """Join fleet file and sources.

    Args:
        fleet: as read.
        readings: of its sources.
        current: what the database holds: its servers and profiles decide over keys.
    """
    groups: dict[tuple[str, str], list[Listed]] = {}
    for reading in readings:
        for one in reading.listed:
            groups.setdefault(one.identity, []).append(one)
    ours = _by_hand(fleet)
    by_hand = {identity: ours[identity] for identity in groups if identity in ours}
    placed = {
        identity: kept
        for identity, group in groups.items()
        if identity not in by_hand and (kept := [one for one in group if one.country and one.city])
    }
    unmatched = [
        f"{one.origin}: {one.unplaced}"
        for identity, group in groups.items()
        for one in group
        if identity not in by_hand and not (one.country and one.city)
    ]
    profiles = _profiles(current)
    keys = _Keys(current, profiles, {server.key for server in fleet.server}).give(placed)
    joined: dict[str, list[Listed]] = {}
    for identity, server in by_hand.items():
        joined.setdefault(server.key, []).extend(groups[identity])
    joined.update((keys[identity], group) for identity, group in placed.items())
    ways: dict[str, tuple[Way, ...]] = {}
    second: list[str] = []
    for key, group in joined.items():
        ways[key], left = _ways(group, profiles.by_server.get(key, {}))
        second += left
    servers = [
        _protocols_of(server, ways.get(server.key, ())) if server.protocols is None else server
        for server in fleet.server
    ]
    servers += sorted(
        (_server(keys[identity], group, ways) for identity, group in placed.items()), key=lambda one: one.key
    )
    whole = attrs.evolve(fleet, server=tuple(servers))
    return Roster(whole, ways, tuple(unmatched), tuple(second))


def _by_hand(fleet: Fleet) -> dict[tuple[str, str], Server]:
    """Give the fleet file's own servers by what a source would call them."""
    found: dict[tuple[str, str], Server] = {}
    for server in fleet.server:
        for name in (server.hostname, server.ip_address):
            if name:
                found.setdefault((server.provider, name), server)
    return found


def _protocols_of(server: Server, ways: Iterable[Way]) -> Server:
    names = tuple(way.protocol for way in ways)
    return attrs.evolve(server, protocols=names) if names else server


def _server(key: str, group: Sequence[Listed], ways: Mapping[str, tuple[Way, ...]]) -> Server:
    first = group[0]
    assert first.country is not None
    assert first.city is not None
    address = next((one.address for one in group if one.address), None)
    protocols = tuple(way.protocol for way in ways[key])
    return Server(key, first.provider, first.city, first.country, first.hostname, address, protocols)


@attrs.frozen
class _Profiles:
    """What the database knows of ways."""

    by_server: dict[str, dict[str, Row]]
    by_file: dict[tuple[str, str], Row]


def _profiles(current: Mapping[str, Any]) -> _Profiles:
    by_server: dict[str, dict[str, Row]] = {}
    by_file: dict[tuple[str, str], Row] = {}
    for row in current["profiles"]:
        by_server.setdefault(row["server"], {})[row["protocol"]] = row
        if not row["placed"]:
            by_file[row["credential"], row["profile"]] = row
    return _Profiles(by_server, by_file)


def _ways(group: Sequence[Listed], known: Mapping[str, Row]) -> tuple[tuple[Way, ...], list[str]]:
    """Give one way for each protocol, the one that was used before where it is still listed."""
    chosen: dict[str, Listed] = {}
    left: list[str] = []
    for one in group:
        way = one.way
        old, other = known.get(way.protocol), chosen.get(way.protocol)
        was_used = old is not None and (old["credential"], old["profile"]) == (way.credential, way.profile)
        if other is None or (was_used and not way.placed):
            chosen[way.protocol] = one
            one, other = (other or one), one  # noqa: PLW2901 -- the one that lost is told
        if one is not other:
            left.append(f"{one.origin}: {way.protocol} to {one.identity[1]} is in {other.origin} already")
    return tuple(chosen[name].way for name in _PROTOCOLS if name in chosen), left


class _Keys:
    """Gives each listed server its key, each key once."""

    def __init__(self, current: Mapping[str, Any], profiles: _Profiles, taken: set[str]) -> None:
        self._by_file = profiles.by_file
        self._taken = taken
        self._given: dict[tuple[str, str], str] = {}
        keyed = [row for row in current["servers"] if row["key"] is not None]
        self._by_identity = {
            (row["provider"], (row["hostname"] or row["ip_address"] or "").lower()): row["key"]
            for row in keyed
        }

    def give(self, groups: Mapping[tuple[str, str], list[Listed]]) -> dict[tuple[str, str], str]:
        """Give the key of each group.

        Who is known by file and host comes first, then by file, then by name or address; so that one that is
        split or joined anew takes no other's key.
        """
        waiting = list(groups.items())
        for claim in (self._by_file_and_host, self._by_file_alone, self._by_name):
            left = []
            for identity, group in waiting:
                key = claim(identity, group)
                if key is None or key in self._taken:
                    left.append((identity, group))
                else:
                    self._take(identity, key)
            waiting = left
        for identity, group in waiting:
            self._take(identity, next(key for key in _made(group) if key not in self._taken))
        return self._given

    def _take(self, identity: tuple[str, str], key: str) -> None:
        self._taken.add(key)
        self._given[identity] = key

    def _by_file_and_host(self, identity: tuple[str, str], group: list[Listed]) -> str | None:
        key = self._by_file_alone(identity, group)
        return key if key is not None and self._by_identity.get(identity) == key else None

    def _by_file_alone(self, _: tuple[str, str], group: list[Listed]) -> str | None:
        for one in group:
            row = self._by_file.get((one.way.credential, one.way.profile))
            if row is not None and not one.way.placed:
                return str(row["server"])
        return None

    def _by_name(self, identity: tuple[str, str], _: list[Listed]) -> str | None:
        return self._by_identity.get(identity)


def _made(group: Sequence[Listed]) -> Iterable[str]:
    """Give keys that a new server may have, the plainest first; without end."""
    provider, stem = group[0].provider, _NOT_IN_KEYS.sub("-", group[0].name).strip("-._") or "server"
    plain = stem if stem.startswith(f"{provider}-") else f"{provider}-{stem}"
    yield _short(plain)
    yield _short(f"{plain}-{group[0].way.protocol.lower()}")
    number = 2
    while True:
        yield _short(f"{plain}-{number}")
        number += 1


def _short(key: str) -> str:
    if len(key) <= _LONGEST_KEY:
        return key
    return f"{key[: _LONGEST_KEY - 9]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
