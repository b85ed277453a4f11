"""The tables of fleet.toml: what each must satisfy in itself stands in its class."""

from sonde_collector.inventory.model.checks import ConnectionPlan, PingPlan, ThroughputPlan, UnlockPlan
from sonde_collector.inventory.model.health import FleetHealth, Health, ProviderHealth, TargetHealth
from sonde_collector.inventory.model.maintenance import Maintenance
from sonde_collector.inventory.model.notify import Notify
from sonde_collector.inventory.model.origin_group import OriginGroup
from sonde_collector.inventory.model.plan import Plan
from sonde_collector.inventory.model.provider import Account, Provider, Source
from sonde_collector.inventory.model.rules import Chosen, doubles
from sonde_collector.inventory.model.server import Server
from sonde_collector.inventory.model.target import Expect, Target
from sonde_collector.inventory.model.vantage import Vantage

__all__ = [
    "Account",
    "Chosen",
    "ConnectionPlan",
    "Expect",
    "FleetHealth",
    "Health",
    "Maintenance",
    "Notify",
    "OriginGroup",
    "PingPlan",
    "Plan",
    "Provider",
    "ProviderHealth",
    "Server",
    "Source",
    "Target",
    "TargetHealth",
    "ThroughputPlan",
    "UnlockPlan",
    "Vantage",
    "doubles",
]
