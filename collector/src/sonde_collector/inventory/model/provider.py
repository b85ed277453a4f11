"""[[provider]]: who runs servers, with which accounts we come, and the files that list its servers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs

from sonde_collector.inventory import countries as iso
from sonde_collector.inventory.model.health import ProviderHealth
from sonde_collector.inventory.model.rules import at_most, doubles, http_url, key, no_space
from sonde_collector.inventory.sources import pattern as patterns
from sonde_proto.toml_config import between, duration_between, not_empty
from sonde_proto.units import Duration

_LINGER = Duration(60.0)
Protocol = Literal["WireGuard", "OpenVPN-UDP", "OpenVPN-TCP", "IKEv2"]
_LISTS = (".csv", ".json")


@attrs.frozen
class Account:
    """What a provider allows one customer. Its secrets are files on the agents, under the same name.

    Attributes:
        key: what agent.toml calls it: [credential.KEY].
        sessions: connections at the same time, fleet-wide.
        logins_per_minute: new connections, fleet-wide; None = no limit of its own.
        same_key_twice: one WireGuard key may be in use at two places.
        linger: for how long the provider counts a session whose end it was not told.
    """

    key: Annotated[str, key(50)]
    sessions: Annotated[int, between(1, 10_000)]
    logins_per_minute: Annotated[int, between(1, 10_000)] | None = None
    same_key_twice: bool = False
    linger: Annotated[Duration, duration_between("0s", "1h")] = _LINGER


@attrs.frozen
class Source:
    """Files of a provider that list its servers, read anew at each apply.

    Attributes:
        path: a folder of profiles (.conf, .ovpn, .sswan), a .csv, or a .json as gluetun keeps it.
        account: key of the account that these servers are reached with.
        pattern: how a folder's file names tell country and city: a template such as "{country}-{city}-*", or
            a regular expression with the groups country and city.
        country, city: of all that the source lists; the name need not tell them then.
        countries, cities: what a name or list writes → the ISO code; the city's name.
        protocols: only these; None = all that the files have. Of a list one: its template speaks no other.
        template: of a list: the profile in the credential's folder that is used for each server; None = the
            template that the credential names.
        section: of a .json: which provider's list; None = this provider's key.
    """

    path: Path
    account: str
    pattern: Annotated[str, patterns.pattern] | None = None
    country: Annotated[str, iso.country] | None = None
    city: Annotated[str, at_most(100)] | None = None
    countries: dict[str, Annotated[str, iso.country]] = attrs.Factory(dict)
    cities: dict[str, Annotated[str, at_most(100)]] = attrs.Factory(dict)
    protocols: Annotated[tuple[Protocol, ...], not_empty] | None = None
    template: Annotated[str, no_space] | None = None
    section: Annotated[str, no_space] | None = None

    @property
    def is_list(self) -> bool:
        """Whether it is one file that lists servers, not a folder of profiles."""
        return self.path.suffix.lower() in _LISTS

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        for name in doubles(fields.get("protocols") or ()):
            yield "protocols", f'names "{name}" twice'
        path = fields.get("path")
        if path is None or "pattern" not in fields:
            return
        if path.suffix.lower() in _LISTS:
            if fields["pattern"] is not None:
                yield "pattern", "has no meaning for a list: it has columns for country and city"
            if "protocols" in fields and len(fields["protocols"] or ()) != 1:
                yield "protocols", "must name one for a list: the one that its template speaks"
        else:
            yield from _folder_problems(fields)
        if path.suffix.lower() != ".json" and fields.get("section") is not None:
            yield "section", "has a meaning for a .json alone"


def _folder_problems(fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if fields.get("template") is not None:
        yield "template", "has no meaning for a folder: each file of it is a profile"
    named = patterns.fields_of(fields["pattern"]) if fields["pattern"] is not None else frozenset()
    for name in ("country", "city"):
        if name not in fields:
            continue
        if fields[name] is None and name not in named:
            where = "pattern" if fields["pattern"] is not None else name
            advice = f'tells no {name}: write "{{{name}}}" where file names have it, or set {name} = "…"'
            yield where, advice if where == "pattern" else f"is required, or a pattern that tells the {name}"
        elif fields[name] is not None and name in named:
            yield name, "is what pattern tells too: choose one"


@attrs.frozen
class Provider:
    """Who runs servers."""

    key: Annotated[str, key(50)]
    name: Annotated[str, at_most(50)]
    website_url: Annotated[str, http_url] | None = None
    account: tuple[Account, ...] = ()
    source: tuple[Source, ...] = ()
    health: ProviderHealth = attrs.Factory(ProviderHealth)
