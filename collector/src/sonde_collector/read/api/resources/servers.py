"""VPN servers: the inventory, and what is known of each."""

from typing import Any

from sonde_collector.read.api.cursor import Order
from sonde_collector.read.api.fields import Field, Object
from sonde_collector.read.api.operation import Operation, Values
from sonde_collector.read.api.reader import Connection
from sonde_collector.read.api.resources.common import (
    COUNTRY,
    HEALTH,
    PROTOCOL,
    PROVIDER,
    SERVER_KEY,
    active,
)
from sonde_collector.read.lookup import rows

_SERVER = (
    Field("key", "text", "Stable, of the inventory"),
    Field("provider", "text", "Its key"),
    Field("provider_name", "text"),
    Field("country", "text", "ISO 3166-1"),
    Field("city", "text"),
    Field("hostname", "text", null=True),
    Field("ip_address", "text", null=True),
    Field("is_active", "flag", "The inventory names it now"),
    Field("protocols", "text", many=True),
    *HEALTH,
)
_LATEST = Object(
    "ServerLatest",
    (
        Field("vantage", "text"),
        Field("protocol", "text", "null = direct, without a tunnel", null=True),
        Field("family", "integer", "4 or 6; null = not told", null=True),
        Field("measured_at", "time", "Newest run"),
        Field("ping_ms", "number", "Median RTT", null=True),
        Field("ping_at", "time", "When that was measured", null=True),
        Field("jitter_ms", "number", "RFC 3550", null=True),
        Field("jitter_at", "time", null=True),
        Field("packet_loss_pct", "number", null=True),
        Field("packet_loss_at", "time", null=True),
        Field("download_mbps", "number", null=True),
        Field("download_at", "time", null=True),
        Field("upload_mbps", "number", null=True),
        Field("upload_at", "time", null=True),
        Field(
            "connection_success", "flag", "A protocol handshake happened; null = none was tried", null=True
        ),
        Field("connection_at", "time", null=True),
        Field("connection_time_ms", "number", null=True),
        Field("connection_time_at", "time", null=True),
        Field("failure", "text", "Of the newest run; null = it did not fail", null=True),
        Field("stage", "text", "Where it failed", null=True),
    ),
)


def find(conn: Connection, key: str) -> dict[str, Any] | None:
    """Give one server by its key, or None."""
    values = dict.fromkeys(("country", "provider", "protocol", "active", "after_key", "after_id"))
    found = rows(conn, "api_servers", {**values, "server": key, "limit": 1})
    return found[0] if found else None


def _one(conn: Connection, values: Values) -> dict[str, Any] | None:
    server = find(conn, values["key"])
    if server is None:
        return None
    return {**server, "latest": rows(conn, "api_server_latest", {"id": server["_id"]})}


def _list(conn: Connection, values: Values) -> list[dict[str, Any]]:
    return rows(conn, "api_servers", {**values, "server": None})


OPERATIONS = (
    Operation(
        "listServers",
        "/v1/servers",
        "Servers by key",
        Object("Server", _SERVER),
        _list,
        (COUNTRY, PROVIDER, PROTOCOL, active()),
        (Order("key", "text"), Order("_id", "integer")),
    ),
    Operation(
        "getServer",
        "/v1/servers/{key}",
        "One server and the last known value of each of its metrics",
        Object(
            "ServerDetail", (*_SERVER, Field("latest", _LATEST, "By vantage, protocol and family", many=True))
        ),
        _one,
        (SERVER_KEY,),
        missing="server",
    ),
)
