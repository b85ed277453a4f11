"""[[plan]]: who runs what how often."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import attrs

from sonde_collector.inventory.model.checks import ConnectionPlan, PingPlan, ThroughputPlan, UnlockPlan
from sonde_collector.inventory.model.provider import Protocol
from sonde_collector.inventory.model.rules import Chosen, Key, doubles
from sonde_proto.toml_config import between, duration_between, not_empty
from sonde_proto.units import Duration, format_duration

Check = Literal["ping", "endpoint", "connection", "throughput", "unlock"]
ON_SERVERS = ("ping", "connection", "throughput")
"""Checks that measure servers; "endpoint" measures targets, "unlock" is beside "connection" or alone."""
_HOUR = 3600.0


@attrs.frozen
class Plan:
    """Who runs what how often.

    With "connection" in checks a run is a tunnel to a server by one of its protocols: "ping" and "throughput"
    run inside, and their direct baseline beside it; "unlock" runs inside. Without it they run directly, and
    "unlock" is what the platforms say to the vantages themselves.
    """

    key: Key
    checks: Annotated[tuple[Check, ...], not_empty]
    every: Annotated[Duration, duration_between("1s", "7d")]
    servers: Chosen | None = None
    targets: Chosen | None = None
    vantages: Chosen = "*"
    vantages_per_server: Annotated[int, between(1, 10_000)] | None = None
    protocols: Annotated[tuple[Protocol, ...], not_empty] | None = None
    timeout: Annotated[Duration, duration_between("100ms", "1h")] | None = None
    success: Literal["ping"] | None = None
    ping: PingPlan = attrs.Factory(PingPlan)
    connection: ConnectionPlan = attrs.Factory(ConnectionPlan)
    throughput: ThroughputPlan = attrs.Factory(ThroughputPlan)
    unlock: UnlockPlan = attrs.Factory(UnlockPlan)

    @property
    def tunnels(self) -> bool:
        """Whether its runs go through a tunnel, or try to."""
        return "connection" in self.checks

    @property
    def loads(self) -> bool:
        """Whether its runs measure throughput."""
        return "throughput" in self.checks

    @property
    def unlocks(self) -> bool:
        """Whether its runs ask streaming platforms."""
        return "unlock" in self.checks

    @property
    def asks_directly(self) -> bool:
        """Whether its vantages ask streaming platforms themselves, without a tunnel."""
        return self.unlocks and (not self.tunnels or self.unlock.canary == "direct")

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        checks = fields.get("checks")
        for name in doubles(checks or ()):
            yield "checks", f'names "{name}" twice'
        for name in doubles(fields.get("protocols") or ()):
            yield "protocols", f'names "{name}" twice'
        if checks is None:
            return
        yield from _chosen(fields, checks)
        yield from _needs(fields, checks)
        if "connection" in checks:
            yield from _tunnel(fields, checks)
        if "throughput" in checks and "throughput" in fields:
            yield from _load(fields, checks)
        if "unlock" in checks:
            yield from _unlock(fields, checks)


def _chosen(fields: Mapping[str, Any], checks: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    """Give what is wrong with the choice of what is measured."""
    measures = {"servers": ON_SERVERS, "targets": ("endpoint",)}
    for name, kinds in measures.items():
        having = next((check for check in checks if check in kinds), None)
        if name in fields and having and fields[name] is None:
            yield name, f'is required for checks = ["{having}"]: "*" or a list of {name}'
        if name in fields and not having and fields[name] is not None:
            yield name, f"has no meaning without {_or(kinds)} in checks"


def _needs(fields: Mapping[str, Any], checks: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    """Give the keys that mean nothing beside these checks."""
    if fields.get("success") == "ping" and "ping" not in checks:
        yield "success", 'can\'t be "ping" without "ping" in checks'
    if fields.get("vantages_per_server") is not None and not set(checks) & set(ON_SERVERS):
        yield "vantages_per_server", f"has no meaning without {_or(ON_SERVERS)} in checks"
    if fields.get("protocols") is not None and "connection" not in checks:
        yield "protocols", 'has no meaning without "connection" in checks'
    defaults = (("connection", ConnectionPlan()), ("throughput", ThroughputPlan()), ("unlock", UnlockPlan()))
    for name, default in defaults:
        if fields.get(name, default) != default and name not in checks:
            yield name, f'has no meaning without "{name}" in checks'
    ping = fields.get("ping", PingPlan())
    if ping.host and not {"ping", "connection"} <= set(checks):
        yield "ping.host", 'has no meaning without "ping" and "connection" in checks: it is pinged inside'


def _tunnel(fields: Mapping[str, Any], checks: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    """Give what can't go through a tunnel."""
    if "endpoint" in checks:
        yield "checks", '"endpoint" and "connection" need a plan each: endpoints are measured directly'
    if fields.get("success") == "ping":
        yield "success", 'can\'t be "ping" beside "connection": a handshake is what counts there'
    if "ping" in checks and len(fields.get("ping", PingPlan()).families) > 1:
        yield "ping.families", 'can be one only, with "connection": a tunnel run has one headline'
    connection = fields.get("connection", ConnectionPlan())
    if connection.handshake_only:
        others = [f'"{check}"' for check in checks if check in ("ping", "throughput", "unlock")]
        if others:
            yield "connection.handshake_only", f"makes no tunnel that {' or '.join(others)} could go through"
        if connection.exit_url:
            yield "connection.exit_url", "has no meaning with handshake_only: there is no exit"


def _load(fields: Mapping[str, Any], checks: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    """Give what a throughput run lacks."""
    throughput = fields["throughput"]
    where = throughput.asked
    if where is None and throughput.engine in ("http", "iperf3"):
        name = "server" if throughput.engine == "iperf3" else "url"
        yield f"throughput.{name}", f'is required for engine = "{throughput.engine}"'
    if "connection" in checks or not where or "{host}" in where:
        return
    servers = fields.get("servers")
    # One server that is named has one place; several would all be said to have the speed of that place.
    if isinstance(servers, str) or (servers and (len(servers) > 1 or set("*?[") & set(servers[0]))):
        name = "server" if throughput.engine == "iperf3" else "url"
        yield (
            f"throughput.{name}",
            f'must hold "{{host}}", each server\'s own, or the plan choose one server: not "{where}"',
        )


def _unlock(fields: Mapping[str, Any], checks: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    """Give what unlock checks lack, or can't be beside."""
    if "connection" not in checks and len(checks) > 1:
        yield "checks", '"unlock" goes through tunnels beside "connection", or directly in a plan of its own'
    if "unlock" not in fields:
        return
    unlock = fields["unlock"]
    if unlock.platforms is None:
        what = 'slugs such as "netflix", or "enabled" for those that are shipped and on'
        yield "unlock.platforms", f'is required for checks = ["unlock"]: {what}'
    if "connection" not in checks and unlock.canary_servers is not None:
        yield (
            "unlock.canary",
            'names servers, and without "connection" in checks there are none: it is direct',
        )
    every = fields.get("every")
    if every is not None and every < _HOUR and not unlock.fast:
        why = f'real platforms answer, not "{format_duration(every)}"; a lab says unlock.fast = true'
        yield "every", f'must be at least "1h" for unlock checks, which {why}'


def _or(checks: tuple[str, ...]) -> str:
    quoted = [f'"{check}"' for check in checks]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
