"""Targets: endpoints that are measured directly."""

from typing import Any

from sonde_collector.read.api.cursor import Order
from sonde_collector.read.api.fields import Field, Object
from sonde_collector.read.api.operation import Operation, Values
from sonde_collector.read.api.reader import Connection
from sonde_collector.read.api.resources.common import HEALTH, TARGET_KEY, active, named
from sonde_collector.read.lookup import rows

_KINDS = ("http", "tcp", "tls", "dns")
_TARGET = (
    Field("key", "text", "Stable, of the inventory"),
    Field("kind", "text", words=_KINDS),
    Field("address", "text", "URL, host or name asked for"),
    Field("is_active", "flag", "The inventory names it now"),
    *HEALTH,
    Field("measured_at", "time", "Newest check from any vantage", null=True),
    Field("vantages_up", "integer", "Vantages whose newest check went well"),
    Field("vantages", "integer", "Vantages that have checked it"),
)
_LATEST = Object(
    "TargetLatest",
    (
        Field("vantage", "text"),
        Field("kind", "text"),
        Field("measured_at", "time"),
        Field("ok", "flag", "It answered as it must"),
        Field("address", "text", "The one asked; of several one that failed, if any did", null=True),
        Field("family", "integer", "4 or 6", null=True),
        Field("resolve_ms", "number", null=True),
        Field("connect_ms", "number", null=True),
        Field("tls_ms", "number", null=True),
        Field("first_byte_ms", "number", null=True),
        Field("total_ms", "number", null=True),
        Field("status", "integer", "HTTP", null=True),
        Field("cache_status", "text", null=True),
        Field("cert_not_after", "time", "When its certificate ends", null=True),
        Field("mismatch", "text", "What it answered that it must not", null=True),
        Field("failure", "text", null=True),
        Field("stage", "text", "Where it failed", null=True),
    ),
)


def _one(conn: Connection, values: Values) -> dict[str, Any] | None:
    found = rows(conn, "api_target", values)
    if not found:
        return None
    (target,) = found
    return {**target, "latest": rows(conn, "api_target_latest", {"id": target["_id"]})}


OPERATIONS = (
    Operation(
        "listTargets",
        "/v1/targets",
        "Targets by key",
        Object("Target", _TARGET),
        named("api_targets"),
        (active(),),
        (Order("key", "text"),),
    ),
    Operation(
        "getTarget",
        "/v1/targets/{key}",
        "The newest check of one target from each vantage",
        Object("TargetDetail", (_TARGET[0], Field("latest", _LATEST, "By vantage", many=True))),
        _one,
        (TARGET_KEY,),
        missing="target",
    ),
)
