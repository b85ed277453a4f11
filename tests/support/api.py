"""A collector's HTTP port on loopback, a fleet to ask about, and clients."""

import contextlib
import datetime as dt
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
from support.postgres import Server, free_port
from support.programs import eventually

from sonde_collector.access import keys
from sonde_collector.config import Api, CollectorConfig, Database, Http
from sonde_collector.db import partitions
from sonde_collector.db import pool as pools
from sonde_collector.maintain import rollup
from sonde_collector.read.http import HttpPort
from sonde_collector.read.metrics import Metrics
from sonde_collector.read.probes import Readiness

SERVERS = 12
VANTAGES = ("ams1", "nyc1", "sin1")

INVENTORY = f"""
INSERT INTO countries (id, iso_code, name) VALUES (1, 'DE', 'Germany'), (2, 'NL', 'Netherlands');
INSERT INTO cities (id, country_id, name) VALUES (1, 1, 'Berlin'), (2, 2, 'Amsterdam');
INSERT INTO probe_locations (id, code, city_id) VALUES (1, 'ams1', 2), (2, 'nyc1', NULL), (3, 'sin1', 1);
INSERT INTO providers (id, name, slug) VALUES (1, 'Acme VPN', 'acme'), (2, 'Beta "quoted" \\ VPN', 'beta');
INSERT INTO servers (id, provider_id, city_id, hostname, is_active)
SELECT n, 1 + n % 2, 1 + n % 2, 'h' || n || '.example', n <> 12 FROM generate_series(1, {SERVERS}) AS n;
INSERT INTO sonde.server_keys (key, server_id) SELECT 's' || n, n FROM generate_series(1, {SERVERS - 1}) AS n;
INSERT INTO server_protocols (server_id, protocol_id) SELECT n, 1 FROM generate_series(1, {SERVERS}) AS n;
INSERT INTO server_protocols (server_id, protocol_id) SELECT n, 2 FROM generate_series(1, {SERVERS}, 3) AS n;
INSERT INTO sonde.targets (id, key, spec) VALUES
  (1, 'origin', '{{"kind": "http", "url": "https://origin.example/"}}'),
  (2, 'dns', '{{"kind": "dns", "host": "a.example"}}');
INSERT INTO streaming_platforms (id, slug, name) VALUES (1, 'netflix', 'Netflix'), (2, 'hulu', 'Hulu');
INSERT INTO sonde.health_states (object, key, state, since, reason, checked_at) VALUES
  ('server', 's1', 'HEALTHY', now() - interval '1 hour', '', now()),
  ('server', 's2', 'UNHEALTHY', now() - interval '2 hours', 'no handshake from ams1, nyc1', now()),
  ('target', 'origin', 'DEGRADED', now() - interval '1 day', 'slow from sin1', now());
INSERT INTO sonde.streams (probe_id, epoch) VALUES (1, decode(repeat('01', 16), 'hex'));
"""
MEASURED = """
INSERT INTO performance_logs (server_id, probe_id, protocol_id, family, measured_at, stream_id, seq, ping_ms,
  jitter_ms, packet_loss_pct, download_mbps, upload_mbps, connection_success, connection_time_ms)
SELECT s, v, CASE WHEN n % 2 = 0 THEN 1 END, 4, now() - n * interval '10 minutes', 1, n, 10 + s + v,
  0.5, CASE WHEN n % 3 = 0 THEN 1.5 ELSE 0 END, CASE WHEN n % 2 = 0 THEN 100 + s END, NULL, n % 2 = 0, 40
FROM generate_series(1, 11) AS s, generate_series(1, 3) AS v, generate_series(1, 20) AS n;
INSERT INTO sonde.endpoint_checks (target_id, probe_id, measured_at, stream_id, seq, kind, ok, connect_ms,
  first_byte_ms, total_ms, status, cert_not_after, failure)
SELECT 1, v, now() - n * interval '30 seconds', 1, n, 'http', v <> 3, 5,
  20, 30, CASE WHEN v <> 3 THEN 200 END, now() + interval '30 days', CASE WHEN v = 3 THEN 'timeout' END
FROM generate_series(1, 3) AS v, generate_series(1, 20) AS n;
INSERT INTO streaming_checks (server_id, platform_id, checked_at, stream_id, seq, probe_id, protocol_id,
  family, verdict, rule_version, region, via, level, fidelity, response_time_ms, exchanges, detail, evidence)
SELECT s, p, now() - n * interval '1 hour', 1, n, 1 + n % 3, 1 + n % 2, CASE WHEN s % 2 = 0 THEN 6 ELSE 4 END,
  (ARRAY['available', 'blocked', 'inconclusive', 'network_error'])[1 + (s + p + n) % 4], '1', 'NL', 'native',
  'title_page', 'browser_tls', 800, 3, 'licensed: og:video', '{"step": "licensed"}'
FROM generate_series(1, 11) AS s, generate_series(1, 2) AS p, generate_series(1, 6) AS n;
INSERT INTO streaming_checks (server_id, platform_id, is_unlocked) VALUES (1, 1, true);
INSERT INTO sonde.dirty_marks (series, hour, probe_id)
SELECT DISTINCT 'performance', date_trunc('hour', measured_at, 'UTC'), probe_id FROM performance_logs;
INSERT INTO sonde.dirty_marks (series, hour, probe_id)
SELECT DISTINCT 'endpoint', date_trunc('hour', measured_at, 'UTC'), probe_id FROM sonde.endpoint_checks;
"""


def seed(url: str) -> None:
    """Fills a migrated database with a small fleet that has measured for some hours."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(INVENTORY.encode())
        now = dt.datetime.now(dt.UTC)
        for table in ("performance_logs", "sonde.endpoint_checks", "streaming_checks", "sonde.canary_checks"):
            partitions.ensure(conn, table, now - dt.timedelta(days=2), now)
        conn.execute(MEASURED.encode())
        roll_up(conn)


def roll_up(conn: psycopg.Connection) -> None:
    """Does what the collector's rollups do."""
    for step in (*rollup.SOON, *rollup.PATIENT):
        while conn.execute(f"SELECT sonde.rollup_{step.name}()".encode()).fetchone() != (0,):
            continue


class Running:
    """One HTTP port that serves.

    Attributes:
        base: its URL.
        port: what serves.
    """

    def __init__(self, base: str, port: HttpPort, url: str) -> None:
        self.base = base
        self.port = port
        self.url = url
        self.client = httpx.Client(base_url=base, timeout=60, verify=False)

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Asks."""
        return self.client.get(path, **more)

    def key(self, name: str, rate: int = 100_000, expires_s: float | None = None) -> str:
        """A new key's token."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            made = keys.add(conn, name, rate_per_minute=rate, expires_s=expires_s)
        assert made is not None
        return str(made["token"])

    def connect(self) -> psycopg.Connection:
        """A connection to its database."""
        return psycopg.connect(self.url, autocommit=True)

    def execute(self, statement: str, *values: Any) -> None:
        """Changes the database."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(statement.encode(), values or None)


@contextlib.contextmanager
def serving(
    url: str, *, host: str = "127.0.0.1", tls: tuple[Path, Path] | None = None, **api: Any
) -> Iterator[Running]:
    """An HTTP port on a port of its own, ended at the end."""
    listen = f"{host}:{free_port()}"
    config = CollectorConfig(
        state_dir=Path(),
        database=Database(url=url),
        http=Http(listen=listen, tls_cert=tls and tls[0], tls_key=tls and tls[1]),
        api=Api(**api),
    )
    database = pools.Database(url)
    port = HttpPort(config, database, Metrics(database), Readiness(database, lambda: None))
    with port.listen() as listener, contextlib.closing(database), contextlib.closing(port):
        server = port.server()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        eventually(lambda: server.started, 30, "the HTTP port does not start")
        reachable = listen.replace("0.0.0.0", "127.0.0.1")
        running = Running(f"{'https' if tls else 'http'}://{reachable}", port, url)
        try:
            with running.client:
                yield running
        finally:
            server.should_exit = True
            thread.join(30)


@contextlib.contextmanager
def seeded(server: Server, name: str) -> Iterator[str]:
    """A database of that name with the small fleet."""
    url = server.create(name, "sonde_template")
    try:
        seed(url)
        yield url
    finally:
        server.drop(name)
