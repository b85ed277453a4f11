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
ALL: Mapping[str, Any] = dict.fromkeys(
    (
        "server", "vantage", "platform", "country", "provider", "verdict", "limit",
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
    return rows(conn, "unlock_matrix", values)


def rules(conn: psycopg.Connection) -> list[Row]:
    """Give each rule version that canaries use, and what they say of it: fine, stale or unknown."""
    return rows(conn, "unlock_rules", {})
