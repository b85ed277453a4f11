"""The unlock matrix: the newest check of each server, platform, family and protocol; how the rules are."""

from collections.abc import Mapping
from typing import Any

import psycopg

from sonde_collector.read.lookup import Row, like, rows

VERDICTS = (
    "available",
    "partial",
    "not_in_region",
    "proxy_detected",
    "blocked",
    "rate_limited",
    "unsupported_family",
    "network_error",
    "inconclusive",
    "not_configured",
)
MAX_AGE_S = 7 * 86_400
"""How far back one looks unless told otherwise: no plan runs less often. [s]"""
_SERVERS = 25
"""Of how many the first look at a page is."""
ALL: Mapping[str, Any] = dict.fromkeys(
    (
        "servers", "platforms", "server", "vantage", "country", "provider", "verdict", "limit",
        "after_server", "after_id", "after_platform", "after_family", "after_protocol",
    )
)  # fmt: skip
"""What the query of the matrix takes beside `max_age_s`, of somebody who asks for all."""


def matrix(conn: psycopg.Connection, asked: Mapping[str, Any]) -> list[Row]:
    """Give the cells that `asked` asks for, by server, platform, family and protocol.

    Args:
        conn: to read with.
        asked: any of server and vantage (globs), platform, country, provider, verdict, max_age_s, limit, and
            the place to begin after; others are left alone.
    """
    values = {**ALL, "max_age_s": MAX_AGE_S, **asked}
    values |= {name: like(values[name]) for name in ("server", "vantage")}
    if (slug := asked.get("platform")) is not None:
        values["platforms"] = [row["id"] for row in rows(conn, "unlock_platform", {"slug": slug})]
    if values["limit"] is None:
        return rows(conn, "unlock_matrix", values)
    with conn.transaction():
        return _page(conn, values, values["limit"])


def _page(conn: psycopg.Connection, values: Mapping[str, Any], most: int) -> list[Row]:
    """Ask for some servers, then for twice as many: of all together every cell would be reckoned."""
    servers = [row["id"] for row in rows(conn, "unlock_servers", dict(values))]
    found: list[Row] = []
    at, step = 0, _SERVERS
    while at < len(servers) and len(found) < most:
        asked = {**values, "servers": servers[at : at + step], "limit": most - len(found)}
        found += rows(conn, "unlock_matrix", asked)
        at, step = at + step, step * 2
    return found


def rules(conn: psycopg.Connection) -> list[Row]:
    """Give each rule version that canaries use, and what they say of it: fine, stale or unknown."""
    return rows(conn, "unlock_rules", {})
