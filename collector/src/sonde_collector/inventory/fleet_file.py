"""fleet.toml: vantages, providers, servers, targets, plans and health as an operator writes them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from sonde_collector.inventory import references
from sonde_collector.inventory.model import (
    FleetHealth,
    Maintenance,
    Notify,
    OriginGroup,
    Plan,
    Provider,
    Server,
    Target,
    Vantage,
)
from sonde_proto.toml_config import ConfigError, load


@attrs.frozen
class Fleet:
    """All of fleet.toml."""

    vantage: tuple[Vantage, ...] = ()
    provider: tuple[Provider, ...] = ()
    server: tuple[Server, ...] = ()
    target: tuple[Target, ...] = ()
    plan: tuple[Plan, ...] = ()
    notify: tuple[Notify, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    origin_group: tuple[OriginGroup, ...] = ()
    health: FleetHealth = attrs.Factory(FleetHealth)

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what tables must satisfy together."""
        return references.problems(fields)


def load_fleet(path: Path) -> Fleet:
    """Read the fleet file at `path`.

    Raises:
        ConfigError: with every mistake.
    """
    fleet = load(path, Fleet)
    if fleet == Fleet():
        # An empty file would deactivate everything: far more often a wrong path or a failed template.
        raise ConfigError(["holds no vantage, server, target or plan"], path)
    return fleet
