"""What a rule has to find from each address that can call. **Pure.**"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sonde_lab.topology import ORIGIN_ADDRESSES, SERVERS, SMART_OF, Vantage
from sonde_lab.world.atlas import Atlas, Changes
from sonde_lab.world.shelf import Shelf
from sonde_unlock.verdict import Verdict

FAMILIES = (4, 6)
_ACCESS = (Verdict.AVAILABLE, Verdict.PARTIAL)
_NOTHING = (Verdict.NETWORK_ERROR, Verdict.INCONCLUSIVE, Verdict.RATE_LIMITED)
SMART = f"{SMART_OF}-smart"
"""What stands for the way of those who have smart DNS."""


def known(shelf: Shelf, atlas: Atlas) -> str:
    """Give what the world knows, as JSON for whoever stands outside of it."""
    verdicts = {
        slug: {
            behaviour: {
                str(family): {"verdict": found.verdict, "scope": found.scope, "region": found.region}
                for family in FAMILIES
                if (found := shelf.expected(slug, behaviour, family)) is not None
            }
            for behaviour in behaviours
        }
        for slug, behaviours in shelf.behaviours().items()
    }
    return json.dumps(
        {
            "addresses": dict(atlas.addresses),
            "countries": {**atlas.countries},
            "default": {**atlas.default},
            "hosts": sorted({host for hosts in shelf.hosts.values() for host in hosts}),
            "v4_only": sorted(shelf.names_without_v6()),
            "verdicts": verdicts,
        }
    )


def of(found: Mapping[str, Any], changes: Changes, address: str) -> dict[str, dict[str, str]]:
    """Give what is true at an address: slug → verdict, scope, region, country and behaviour.

    Args:
        found: what `known` gave, read back.
        changes: of the world.
        address: of whoever calls; its family is the one that counts.
    """
    atlas = Atlas(found["addresses"], found["countries"], found["default"])
    country = atlas.country(address, changes)
    family = "6" if ":" in address else "4"
    true = {}
    for slug, behaviour in sorted(atlas.behaviours(country, changes).items()):
        verdict = found["verdicts"].get(slug, {}).get(behaviour, {}).get(family)
        if verdict is not None:
            true[slug] = {**verdict, "country": country, "behaviour": behaviour}
    return true


def everywhere(
    found: Mapping[str, Any], changes: Changes, people: Iterable[Vantage]
) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """Give what each platform is, by who asks and in which family.

    Args:
        found: what `known` gave, read back.
        changes: of the world.
        people: the vantages, which ask directly.

    Returns:
        Key of a server, `SMART` or code of a vantage → "4" or "6" → slug → verdict, scope, region, via, and
        the country and behaviour that make it so. via is "native", "dns_proxy", or "unknown": there is no
        access to ask about, or what trusted answers lead to tells nothing.
    """
    places = {server.key: server.exit for server in SERVERS} | {
        one.code: (one.ipv4, one.ipv6) for one in people
    }
    true = {key: _at(found, changes, pair, pair) for key, pair in places.items()}
    true[SMART] = _at(found, changes, ORIGIN_ADDRESSES["smart-proxy"], places[SMART_OF])
    return true


def _at(
    found: Mapping[str, Any], changes: Changes, seen: tuple[str, str], own: tuple[str, str]
) -> dict[str, dict[str, dict[str, str]]]:
    """Give what is true of an exit: the world sees `seen`, and with trusted answers `own`."""
    true = {}
    for family, one, other in zip(FAMILIES, seen, own, strict=True):
        with_trusted = of(found, changes, other)
        true[str(family)] = {
            slug: verdict | {"via": _via(verdict, with_trusted.get(slug, {}))}
            for slug, verdict in of(found, changes, one).items()
        }
    return true


def _via(verdict: Mapping[str, str], trusted: Mapping[str, str]) -> str:
    if verdict["verdict"] not in _ACCESS or trusted.get("verdict", _NOTHING[0]) in _NOTHING:
        return "unknown"
    same = all(verdict[part] == trusted[part] for part in ("verdict", "region"))
    return "native" if same else "dns_proxy"
