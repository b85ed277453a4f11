"""All that is watched, and by whom: the inventory as health reads it. **Pure.**"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from attrs import field, frozen

from sonde_collector.health.entries import family_of, protocol_of
from sonde_collector.health.holds import Hold
from sonde_collector.health.lines import Gap, Line
from sonde_collector.health.settings import Settings, settle
from sonde_collector.health.states import PAUSED
from sonde_collector.inventory.model.origin_group import CODES, RETURN_AFTER

Kind = Literal["server", "target"]
KINDS: tuple[Kind, ...] = ("server", "target")
SILENT_S = 300.0
"""An agent that has not been heard for so long is silent. [s]"""


@frozen
class Thing:
    """A server or target.

    Attributes:
        provider: of a server; None for a target.
        owner: things of one owner may well fail together.
        split: a target whose addresses are judged one by one.
    """

    kind: Kind
    id: int
    key: str
    settings: Settings
    provider: int | None = None
    owner: int = 0
    split: bool = False
    labels: Mapping[str, str] = field(factory=dict)

    def label(self, series: int, protocols: Mapping[int, str]) -> str:
        """Give what a series is called."""
        family = family_of(series)
        if self.kind == "server":
            protocol = protocol_of(series)
            name = protocols.get(protocol, f"protocol {protocol}") if protocol else "ping"
            return f"{name}/IPv{family}" if family else name
        return self.labels.get(str(series)) or (f"IPv{family}" if family else "any address")


@frozen
class Vantage:
    """Who measures.

    Attributes:
        unfit: why it is not fit to judge; "" where it is.
    """

    id: int
    code: str
    unfit: str


@frozen
class Group:
    """An origin group.

    Attributes:
        members: keys of targets, the preferred one first.
        codes: statuses that count as a failure.
        timeout_ms: slower counts as one too.
        return_after: a preferred member must have been healthy for so long. [s]
    """

    key: str
    members: tuple[str, ...]
    codes: frozenset[int]
    timeout_ms: float | None
    return_after: float

    def bad(self, status: int, ms: float) -> bool:
        """Tell whether an answer meets the failover criteria."""
        return status in self.codes or (self.timeout_ms is not None and ms > self.timeout_ms)


@frozen
class Watched:
    """Everything, by id where it has one."""

    servers: Mapping[int, Thing]
    targets: Mapping[int, Thing]
    vantages: Mapping[int, Vantage]
    providers: Mapping[int, str]
    provider_settings: Mapping[int, Settings]
    protocols: Mapping[int, str]
    groups: tuple[Group, ...]
    holds: tuple[Hold, ...]
    lines: Mapping[int, Line]

    def things(self, kind: Kind) -> Mapping[int, Thing]:
        """Give the servers, or the targets."""
        return self.servers if kind == "server" else self.targets


def read(document: Mapping[str, Any], labels: Mapping[int, Mapping[str, str]]) -> Watched:
    """Give what query health_watched says.

    Args:
        document: its one value.
        labels: of targets by id: series → address.
    """
    layers = document["settings"]
    providers = {int(one): slug for one, slug in document["providers"].items()}
    fleet = layers.get("fleet")
    servers = {
        one: Thing(
            "server", one, key,
            settle(fleet, layers.get(f"provider/{providers[provider]}"), layers.get(f"server/{key}")),
            provider, provider,
        )
        for one, key, provider in document["servers"]
    }  # fmt: skip
    return Watched(
        servers,
        dict(_targets(document["targets"], fleet, labels)),
        {
            one: Vantage(one, code, PAUSED if paused else _unfit(ready, why, silent))
            for one, code, ready, why, silent, paused in document["vantages"]
        },
        providers,
        {one: settle(fleet, layers.get(f"provider/{slug}")) for one, slug in providers.items()},
        {int(one): name for one, name in document["protocols"].items()},
        tuple(_group(key, spec) for key, spec in sorted(document["groups"].items())),
        tuple(Hold(*hold) for hold in document["holds"]),
        {
            int(one): Line(last, tuple(Gap(start, end, ours) for start, end, ours in gaps))
            for one, (last, gaps) in document["lines"].items()
        },
    )


def _targets(
    rows: Iterable[tuple[int, str, Mapping[str, Any]]], fleet: Any, labels: Mapping[int, Mapping[str, str]]
) -> Iterable[tuple[int, Thing]]:
    owners: dict[str, int] = {}
    for one, key, spec in rows:
        host = urlsplit(spec["url"]).hostname if spec.get("url") else spec.get("host")
        # Providers have small numbers; those of hosts begin above them.
        owner = owners.setdefault(host or key, (1 << 20) + len(owners))
        split = bool(spec.get("connect_to") or spec.get("every_address"))
        mine = labels.get(one, {}) if split else {}
        yield one, Thing("target", one, key, settle(fleet, spec.get("health")), None, owner, split, mine)


def _unfit(ready: bool, why: str, silent_s: float | None) -> str:  # noqa: FBT001
    if silent_s is not None and silent_s > SILENT_S:
        return "is silent"
    return "" if ready else ": ".join(filter(None, ("is not ready", why)))


def _group(key: str, spec: Mapping[str, Any]) -> Group:
    timeout = spec.get("failover_timeout")
    return Group(
        key,
        tuple(spec["members"]),
        frozenset(spec.get("failover_codes", CODES)),
        None if timeout is None else timeout * 1000,
        spec.get("return_after", RETURN_AFTER),
    )
