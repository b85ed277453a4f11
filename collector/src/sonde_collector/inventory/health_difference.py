"""The [health] tables of a fleet file against those of the database. **Pure.**"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sonde_collector.inventory.change import Change, Row
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import Health
from sonde_collector.inventory.spec import spec_of


def health(fleet: Fleet, rows: Iterable[Row]) -> Iterator[Change]:
    """Give the changes of what is kept in sonde.health_settings; those of targets stand in their own spec."""
    existing = {row["key"]: row["spec"] for row in rows if row["is_active"]}
    for key, spec in _wanted(fleet).items():
        old = existing.pop(key, None)
        if old != spec:
            names = sorted({*(old or {}), *spec})
            fields = {name: ((old or {}).get(name), spec.get(name)) for name in names}
            fields = {name: pair for name, pair in fields.items() if pair[0] != pair[1]}
            row = {"key": key, "spec": spec, "is_active": True}
            yield Change("+" if old is None else "~", "health", key, fields, row)
    for key, spec in existing.items():
        yield Change("-", "health", key, {"is_active": (True, False)}, {"key": key, "spec": spec})


def _wanted(fleet: Fleet) -> Mapping[str, dict[str, Any]]:
    tables: list[tuple[str, Health]] = [("fleet", fleet.health)]
    tables += [(f"provider/{one.key}", one.health) for one in fleet.provider]
    tables += [(f"server/{one.key}", one.health) for one in fleet.server]
    return {key: spec for key, table in tables if (spec := spec_of(table))}
