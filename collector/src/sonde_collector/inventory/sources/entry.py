"""One entry of a list of servers, whoever wrote the list: its fields checked, its ways made. **Pure**."""

from collections.abc import Iterator, Sequence

import attrs

from sonde_collector.inventory.model.provider import Source
from sonde_collector.inventory.sources import place
from sonde_collector.inventory.way import Listed, Way
from sonde_proto.profiles import PROTOCOLS, values


@attrs.frozen
class Entry:
    """Fields of a list's entry as they are written; "" where there is none."""

    country: str = ""
    city: str = ""
    hostname: str = ""
    addresses: Sequence[str] = ()
    port: str = ""
    public_key: str = ""
    server_name: str = ""
    name: str = ""
    protocols: Sequence[str] = ()


def listed(provider: str, source: Source, origin: str, entry: Entry) -> Iterator[Listed]:
    """Give what an entry says, one for each protocol that the source wants.

    Raises:
        ValueError: it can't be used; the message says why.
    """
    country = place.country(entry.country, source) if entry.country else source.country
    if country is None:
        raise ValueError(place.unknown_country(entry.country) if entry.country else "has no country")
    city = (place.city(entry.city, source) if entry.city else None) or source.city
    if city is None:
        raise ValueError('has no city; where the list tells none, set city = "…" in the source')
    hostname = values.host(entry.hostname) if entry.hostname else None
    addresses = sorted(
        (values.address(text) for text in entry.addresses), key=lambda text: (":" in text, text)
    )
    if hostname is not None and (":" in hostname or hostname.replace(".", "").isdigit()):
        addresses, hostname = [hostname, *addresses], None
    if hostname is None and not addresses:
        raise ValueError("has neither a host name nor an address")
    address = addresses[0] if addresses else None
    for protocol in entry.protocols:
        if protocol not in PROTOCOLS:
            raise ValueError(f"{values.quoted(protocol)} is no protocol; known: {', '.join(PROTOCOLS)}")
        if source.protocols is None or protocol in source.protocols:
            way = _way(protocol, source, entry, address or hostname or "")
            name = entry.name or hostname or address or ""
            yield Listed(provider, origin, name, country, city, hostname, address, way)


def _way(protocol: str, source: Source, entry: Entry, host: str) -> Way:
    key = ""
    if protocol == "WireGuard":
        if not entry.public_key:
            raise ValueError("has no public key, and WireGuard needs the server's")
        try:
            values.wireguard_key(entry.public_key)
        except ValueError as error:
            raise ValueError(f"its public key {error}") from None
        key = entry.public_key
    return Way(
        protocol,
        source.account,
        source.template or "",
        host,
        values.port(entry.port) if entry.port else None,
        key,
        server_name=values.words(entry.server_name) if entry.server_name else "",
        placed=True,
    )
