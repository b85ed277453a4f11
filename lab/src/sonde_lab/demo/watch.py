"""What the demo sees in PostgreSQL, by plain SQL as any other client would."""

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import class_row

# One line per vantage and server or edge: how many results since the start, and the newest.
_PING = """
SELECT DISTINCT ON (v.code, k.key)
       v.code AS vantage, k.key AS target,
       count(*) OVER pair AS rows, p.measured_at, p.ping_ms, p.jitter_ms, p.packet_loss_pct,
       p.failure, p.stage
FROM performance_logs p
JOIN probe_locations v ON v.id = p.probe_id
JOIN sonde.server_keys k USING (server_id)
WHERE p.measured_at >= %(since)s AND p.protocol_id IS NULL
WINDOW pair AS (PARTITION BY p.probe_id, p.server_id)
ORDER BY v.code, k.key, p.measured_at DESC
"""

# One line per vantage, server and protocol: all runs since the start together, and how the newest ended. On a
# busy host an agent is now and then not fit to judge: what it measured meanwhile is held, and came as well.
_TUNNEL = """
SELECT v.code AS vantage, k.key AS target, r.name AS protocol, count(*) AS rows,
       count(*) FILTER (WHERE p.connection_success) AS connected, max(p.measured_at) AS measured_at,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY p.ping_ms) AS ping_ms,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY p.direct_ping_ms) AS direct_ping_ms,
       coalesce(sum(p.sent), 0) AS sent, coalesce(sum(p.received), 0) AS received,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY p.connection_time_ms) AS connection_time_ms,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY p.download_mbps)::float8 AS download_mbps,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY p.upload_mbps)::float8 AS upload_mbps,
       (array_agg(p.failure ORDER BY p.measured_at DESC))[1] AS failure,
       (array_agg(p.stage ORDER BY p.measured_at DESC))[1] AS stage
FROM (
  SELECT server_id, probe_id, protocol_id, measured_at, connection_success, ping_ms, direct_ping_ms,
         sent, received, connection_time_ms, download_mbps, upload_mbps, failure, stage
  FROM performance_logs WHERE measured_at >= %(since)s
  UNION ALL
  SELECT server_id, probe_id, protocol_id, measured_at, connection_success, ping_ms, direct_ping_ms,
         sent, received, connection_time_ms, download_mbps, upload_mbps, failure, stage
  FROM sonde.performance_held WHERE measured_at >= %(since)s
) p
JOIN probe_locations v ON v.id = p.probe_id
JOIN sonde.server_keys k USING (server_id)
JOIN protocols r ON r.id = p.protocol_id
GROUP BY v.code, k.key, r.name
ORDER BY k.key, r.name, v.code
"""

_ENDPOINT = """
SELECT DISTINCT ON (v.code, t.key, e.address)
       v.code AS vantage, t.key AS target, e.address, count(*) OVER edge AS rows, e.measured_at, e.ok,
       e.status, e.connect_ms, e.tls_ms, e.first_byte_ms, e.total_ms,
       e.pop, e.cache_status, e.failure, e.stage
FROM sonde.endpoint_checks e
JOIN probe_locations v ON v.id = e.probe_id
JOIN sonde.targets t ON t.id = e.target_id
WHERE e.measured_at >= %(since)s
WINDOW edge AS (PARTITION BY e.probe_id, e.target_id, e.address)
ORDER BY v.code, t.key, e.address, e.measured_at DESC
"""

# The newest unlock check of each vantage, server and platform by IPv4; without a server it asked directly.
# A network error says nothing of a platform, as the server may just be down: other answers go before it.
_UNLOCK = """
SELECT DISTINCT ON (target, p.slug, v.code)
       v.code AS vantage, c.target, p.slug AS platform, c.checked_at AS measured_at, c.verdict, c.scope,
       c.region, c.via
FROM (
  SELECT k.key AS target, s.probe_id, s.platform_id, s.checked_at, s.verdict, s.scope, s.region, s.via
  FROM streaming_checks s JOIN sonde.server_keys k USING (server_id)
  WHERE s.checked_at >= %(since)s AND s.family = 4 AND s.failure IS NULL
  UNION ALL
  SELECT NULL, probe_id, platform_id, checked_at, verdict, scope, region, via
  FROM sonde.canary_checks WHERE checked_at >= %(since)s AND family = 4 AND failure IS NULL
) c
JOIN probe_locations v ON v.id = c.probe_id
JOIN streaming_platforms p ON p.id = c.platform_id
ORDER BY target, p.slug, v.code, c.verdict = 'network_error', c.checked_at DESC
"""

_COUNTS = """
SELECT v.code AS vantage, c.name AS table, c.rows
FROM (
  SELECT probe_id, 'performance_logs' AS name, count(*) AS rows FROM performance_logs
  WHERE measured_at >= %(since)s GROUP BY probe_id
  UNION ALL
  SELECT probe_id, 'sonde.performance_held', count(*) FROM sonde.performance_held
  WHERE measured_at >= %(since)s GROUP BY probe_id
  UNION ALL
  SELECT probe_id, 'sonde.endpoint_checks', count(*) FROM sonde.endpoint_checks
  WHERE measured_at >= %(since)s GROUP BY probe_id
  UNION ALL
  SELECT probe_id, 'streaming_checks', count(*) FROM streaming_checks
  WHERE checked_at >= %(since)s GROUP BY probe_id
  UNION ALL
  SELECT probe_id, 'sonde.canary_checks', count(*) FROM sonde.canary_checks
  WHERE checked_at >= %(since)s GROUP BY probe_id
  UNION ALL
  SELECT probe_id, 'sonde.vantage_health', count(*) FROM sonde.vantage_health
  WHERE measured_at >= %(since)s GROUP BY probe_id
  UNION ALL
  SELECT probe_id, 'sonde.missed_runs', count(*) FROM sonde.missed_runs
  WHERE measured_at >= %(since)s GROUP BY probe_id
) c
JOIN probe_locations v ON v.id = c.probe_id
ORDER BY v.code, c.name
"""

_REJECTED = "SELECT count(*) FROM sonde.rejected_results WHERE rejected_at >= %(since)s"


@dataclass(frozen=True, slots=True)
class Ping:
    """The newest ping result of one vantage and server."""

    vantage: str
    target: str
    rows: int
    measured_at: datetime
    ping_ms: float | None
    jitter_ms: float | None
    packet_loss_pct: float | None
    failure: str | None
    stage: str | None


@dataclass(frozen=True, slots=True)
class Tunnel:
    """All runs of one vantage through one server by one protocol; figures are medians of the runs."""

    vantage: str
    target: str
    protocol: str
    rows: int
    connected: int
    measured_at: datetime
    ping_ms: float | None
    direct_ping_ms: float | None
    sent: int
    received: int
    connection_time_ms: float | None
    download_mbps: float | None
    upload_mbps: float | None
    failure: str | None
    stage: str | None

    @property
    def loss_pct(self) -> float | None:
        """Of all echoes sent through it [%]; None where none was."""
        return 100 * (self.sent - self.received) / self.sent if self.sent else None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The newest endpoint result of one vantage, target and address."""

    vantage: str
    target: str
    address: str | None
    rows: int
    measured_at: datetime
    ok: bool
    status: int | None
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None
    total_ms: float | None
    pop: str | None
    cache_status: str | None
    failure: str | None
    stage: str | None


@dataclass(frozen=True, slots=True)
class Unlock:
    """The newest answer of one platform to one vantage; `target` is None where it asked directly."""

    vantage: str
    target: str | None
    platform: str
    measured_at: datetime
    verdict: str
    scope: str | None
    region: str | None
    via: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of one vantage in one table."""

    vantage: str
    table: str
    rows: int


@dataclass(frozen=True, slots=True)
class View:
    """What is in the database at one moment.

    Attributes:
        pings: by vantage and server, direct.
        tunnels: by server, protocol and vantage.
        endpoints: by vantage, target and address.
        unlocks: by server, platform and vantage, IPv4 alone.
        counts: by vantage and table; a table without rows is left out.
        rejected: results that could not become rows.
        now: the database's clock.
    """

    pings: list[Ping]
    tunnels: list[Tunnel]
    endpoints: list[Endpoint]
    unlocks: list[Unlock]
    counts: list[Count]
    rejected: int
    now: datetime

    @property
    def rows(self) -> int:
        """Rows of all vantages in all tables."""
        return sum(count.rows for count in self.counts)

    @property
    def newest(self) -> datetime | None:
        """When the newest result was measured; None before the first."""
        lines: tuple[Ping | Tunnel | Endpoint | Unlock, ...] = (
            *self.pings,
            *self.tunnels,
            *self.endpoints,
            *self.unlocks,
        )
        return max((line.measured_at for line in lines), default=None)


def look(connection: psycopg.Connection, since: datetime) -> View:
    """Read what was measured since `since`, in one snapshot."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        given = {"since": since}
        rejected = connection.execute(_REJECTED, given).fetchone()
        now = connection.execute("SELECT clock_timestamp()").fetchone()
        return View(
            pings=connection.cursor(row_factory=class_row(Ping)).execute(_PING, given).fetchall(),
            tunnels=connection.cursor(row_factory=class_row(Tunnel)).execute(_TUNNEL, given).fetchall(),
            endpoints=connection.cursor(row_factory=class_row(Endpoint)).execute(_ENDPOINT, given).fetchall(),
            unlocks=connection.cursor(row_factory=class_row(Unlock)).execute(_UNLOCK, given).fetchall(),
            counts=connection.cursor(row_factory=class_row(Count)).execute(_COUNTS, given).fetchall(),
            rejected=rejected[0] if rejected else 0,
            now=now[0] if now else since,
        )
