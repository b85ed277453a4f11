"""[[server]]: a VPN server that is written by hand, or that a source lists."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import attrs

from sonde_collector.inventory import countries
from sonde_collector.inventory.model import rules
from sonde_collector.inventory.model.health import Health
from sonde_collector.inventory.model.rules import Key, at_most, doubles


@attrs.frozen
class Server:
    """A VPN server."""

    key: Key
    provider: str
    city: Annotated[str, at_most(100)]
    country: Annotated[str, countries.country]
    hostname: Annotated[str, rules.hostname] | None = None
    ip_address: Annotated[str, rules.address] | None = None
    protocols: tuple[Annotated[str, at_most(30)], ...] | None = None
    health: Health = attrs.Factory(Health)

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        if fields.keys() >= {"hostname", "ip_address"} and not (fields["hostname"] or fields["ip_address"]):
            yield "hostname", "is required, or ip_address"
        for name in doubles(fields.get("protocols") or ()):
            yield "protocols", f'names "{name}" twice'
