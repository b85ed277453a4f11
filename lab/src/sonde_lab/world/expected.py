"""What a rule has to find from each address that can call. **Pure.**"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sonde_lab.world.atlas import Atlas, Changes
from sonde_lab.world.shelf import Shelf

FAMILIES = (4, 6)


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


def proxied(own: Mapping[str, Mapping[str, str]], other: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Give what is true where smart DNS leads to a proxy: its verdicts, and `via`.

    Args:
        own: what is true at the exit itself.
        other: at the proxy.
    """
    return {
        slug: {**verdict, "via": "native" if _seen(verdict) == _seen(own.get(slug, {})) else "dns_proxy"}
        for slug, verdict in other.items()
    }


def native(true: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Give what is true at an exit that leads nowhere else."""
    return {slug: {**verdict, "via": "native"} for slug, verdict in true.items()}


def _seen(verdict: Mapping[str, str]) -> Iterable[str]:
    return tuple(verdict.get(part, "") for part in ("verdict", "scope", "region"))
