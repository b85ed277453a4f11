"""Who is where: the country of each address that may call, and what a platform is to be there. **Pure.**"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sonde_lab.topology import ORIGIN_ADDRESSES, SERVERS, SMART_CITY, Vantage


def addresses(people: Iterable[Vantage]) -> dict[str, str]:
    """Give the country of every address that can reach the world: exits, vantages and the proxy."""
    found = {address: server.city.country for server in SERVERS for address in server.exit}
    found |= {address: person.city.country for person in people for address in (person.ipv4, person.ipv6)}
    return found | dict.fromkeys(ORIGIN_ADDRESSES["smart-proxy"], SMART_CITY.country)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is other than the map says, while a lab runs.

    Attributes:
        addresses: address → country.
        countries: country → slug → behaviour.
    """

    addresses: Mapping[str, str] = field(default_factory=dict)
    countries: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read them as `written` wrote them.

        Raises:
            ValueError: it is something else.
        """
        said = json.loads(text)
        if not isinstance(said, dict) or set(said) - {"addresses", "countries"}:
            raise ValueError('changes have "addresses" and "countries", no more')
        return cls(said.get("addresses", {}), said.get("countries", {}))

    def written(self) -> str:
        """Give them as JSON."""
        return json.dumps({"addresses": dict(self.addresses), "countries": {**self.countries}}) + "\n"


@dataclass(frozen=True, slots=True)
class Atlas:
    """The map.

    Attributes:
        addresses: address → country.
        countries: country → slug → behaviour.
        default: slug → behaviour, in all other countries.
    """

    addresses: Mapping[str, str]
    countries: Mapping[str, Mapping[str, str]]
    default: Mapping[str, str]

    @classmethod
    def new(cls, document: Mapping[str, Any], homes: Mapping[str, str]) -> Self:
        """Make it from what world.yaml holds, and the addresses' countries."""
        return cls(dict(homes), document.get("countries", {}), document.get("default", {}))

    def country(self, address: str, changes: Changes) -> str:
        """Give where an address is; "" = nowhere on this map."""
        return changes.addresses.get(address) or self.addresses.get(address, "")

    def behaviours(self, country: str, changes: Changes) -> dict[str, str]:
        """Give what each platform is in a country: slug → behaviour."""
        return {**self.default, **self.countries.get(country, {}), **changes.countries.get(country, {})}
