"""A day of a small fleet's results, by the transaction that agents' batches take, rolled up and judged."""

import datetime as dt

import psycopg
from support.builders import (
    Spool,
    endpoint,
    health,
    inventory,
    missed,
    now_us,
    performance,
    stream_of,
    unlock,
)
from support.ingest import write_once
from support.measured import roll

from sonde_collector.db import partitions
from sonde_collector.db.partitions import PARTITIONED
from sonde_collector.health.evaluate import turn
from sonde_proto.v1 import ingest_pb2, results_pb2

VANTAGES = ("ams1", "nyc1")
SERVERS = ("nl-1", "nl-2")
TARGETS = ("origin", "edge")
_MINUTE_US = 60_000_000
_AGENT = """
INSERT INTO sonde.agents (probe_id, instance, version, revision, started_at, last_seen, clock_offset_ms,
  ready, reason, spool_rows, spool_bytes, last_error, capabilities, refused)
SELECT id, '', '0.1.0', 1, now(), now(), 0.5, true, '', 0, 4096, '', '{}', '[]' FROM probe_locations
"""


def fill(conn: psycopg.Connection) -> None:
    """Fills a migrated database; the months before and after have partitions too, which hold nothing."""
    inventory(conn, vantages=VANTAGES, servers=SERVERS, targets=TARGETS, platforms=("netflix", "dazn"))
    now = dt.datetime.now(dt.UTC)
    for each in PARTITIONED:
        partitions.ensure(conn, each.table, now - dt.timedelta(days=35), now + dt.timedelta(days=31))
    for place, vantage in enumerate(VANTAGES):
        spool = Spool(vantage)
        stream_of(conn, spool)
        write_once(conn, [spool.batch(_results(place))])
    roll(conn)
    while turn(conn, certificates=True).more:
        continue
    conn.execute(_AGENT)


def _results(place: int) -> list[results_pb2.Result | ingest_pb2.GapReason.ValueType]:
    """What one vantage measured: a server that works, one that fails, targets, platforms, itself."""
    out: list[results_pb2.Result | ingest_pb2.GapReason.ValueType] = [ingest_pb2.GAP_REASON_SPOOL_FULL]
    for number in range(48):
        at_us = now_us() - number * 40 * _MINUTE_US - _MINUTE_US
        out += [
            performance("nl-1", at_us, protocol="WireGuard", family=4, download_mbps=80.0 + number,
                        upload_mbps=20.0, connection_time_ms=40.0, ping_ms=20.0 + place,
                        direct_ping_ms=12.0, jitter_ms=0.3),
            performance("nl-2", at_us, protocol="OpenVPN-UDP", connection_success=False, ping_ms=None,
                        received=0, packet_loss_pct=None, sent=0, failure=results_pb2.FAILURE_TIMEOUT,
                        stage=results_pb2.STAGE_HANDSHAKE),
            unlock("nl-1", at_us, protocol="WireGuard", region="NL",
                   platform=("netflix", "dazn")[number % 2]),
            unlock("", at_us, platform="netflix"),
            health(at_us, clock_offset_ms=0.5),
            missed("nl-1", at_us),
        ]  # fmt: skip
    for number in range(120):
        at_us = now_us() - number * _MINUTE_US - _MINUTE_US
        out += [
            endpoint("edge", at_us, address="192.0.2.7", resolve_ms=1.0, connect_ms=8.0, tls_ms=9.0,
                     first_byte_ms=15.0, transfer_ms=2.0, cache_status="hit" if number % 3 else "miss",
                     pop=("AMS", "EWR")[place], cert_not_after_us=now_us() + 20 * 1440 * _MINUTE_US),
            endpoint("origin", at_us, ok=False, status=503, mismatch="status 503"),
        ]  # fmt: skip
    out.append(performance("nobody", now_us() - _MINUTE_US))
    return out
