"""A fleet whose results a test makes up, written as an agent's batches are, and what health says of it."""

from collections.abc import Iterable
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from support.builders import Spool, arrive, endpoint, inventory, now_us, performance, stream_of

from sonde_collector.db import partitions
from sonde_collector.health.evaluate import turn
from sonde_collector.ingest.prepared import prepare
from sonde_collector.ingest.settings import IngestSettings
from sonde_collector.ingest.transaction import write
from sonde_proto.v1 import results_pb2

SECOND_US = 1_000_000


class World:
    """Vantages, servers of several providers and targets; `begin_us` is the time of the first round.

    Args:
        conn: to a migrated database, in autocommit mode.
        servers: "PROVIDER/KEY".
    """

    def __init__(
        self,
        conn: psycopg.Connection,
        vantages: Iterable[str] = ("ams1", "lon1", "nyc1"),
        servers: Iterable[str] = ("acme/a1",),
        targets: Iterable[str] = (),
        rounds: int = 40,
    ) -> None:
        self.conn = conn
        self.begin_us = now_us() - rounds * 10 * SECOND_US
        self.round = 0
        self.vantages = list(vantages)
        keys = [name.partition("/")[2] for name in servers]
        inventory(conn, vantages=self.vantages, servers=keys, targets=list(targets))
        for name in servers:
            provider, _, key = name.partition("/")
            conn.execute(
                "INSERT INTO providers (name, slug) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (provider, provider),
            )
            conn.execute(
                "UPDATE servers SET provider_id = p.id FROM providers p, sonde.server_keys k"
                " WHERE p.slug = %s AND k.key = %s AND k.server_id = servers.id",
                (provider, key),
            )
        partitions.keep_ahead(conn, every="month", ahead=1)
        self.servers, self.targets = keys, list(targets)
        self.spools = {code: Spool(code) for code in self.vantages}
        for spool in self.spools.values():
            stream_of(conn, spool)

    def at_us(self, number: int | None = None) -> int:
        """When a round began."""
        return self.begin_us + (self.round if number is None else number) * 10 * SECOND_US

    def send(self, vantage: str, results: Iterable[results_pb2.Result]) -> None:
        """Commits results of one vantage."""
        write(
            self.conn, prepare([arrive(self.spools[vantage].batch(results))], IngestSettings()), by_row=True
        )

    def measure(self, down: Iterable[str] = (), **values: Any) -> None:
        """One round: every vantage measures all; down names things, "THING@VANTAGE" or "@VANTAGE"."""
        failing = set(down)
        for i, vantage in enumerate(self.vantages):
            results = []
            for j, key in enumerate([*self.servers, *self.targets]):
                ok = not failing & {key, f"{key}@{vantage}", f"@{vantage}"}
                at = self.at_us() + i * 1000 + j * 10_000
                results.append(self.result(key, at, ok=ok, **values))
            self.send(vantage, results)
        self.round += 1

    def result(self, key: str, at_us: int, *, ok: bool, **values: Any) -> results_pb2.Result:
        """One result of a server or target."""
        if key in self.targets:
            return target_result(key, at_us, ok=ok, **values)
        return server_result(key, at_us, ok=ok, **values)

    def turn(self, down: Iterable[str] = (), rounds: int = 1, **values: Any) -> None:
        """Rounds of measuring, each with a turn of health after it."""
        for _ in range(rounds):
            self.measure(down, **values)
            turn(self.conn)

    def state(self, key: str) -> str:
        """How a thing stands."""
        row = self.conn.execute("SELECT state FROM sonde.health_states WHERE key = %s", (key,)).fetchone()
        return row[0] if row else ""

    def states(self) -> dict[str, str]:
        """How all stand."""
        return dict(self.conn.execute("SELECT key, state FROM sonde.health_states ORDER BY key").fetchall())

    def told(self, kind: str = "health_changed") -> list[tuple[str, str, bool]]:
        """What was told, oldest first: subject, new state or detail, resolved."""
        return self.conn.execute(
            "SELECT subject, coalesce(data->>'to', detail), resolved FROM sonde.events WHERE kind = %s"
            " ORDER BY id",
            (kind,),
        ).fetchall()

    def group(self, key: str, **spec: Any) -> None:
        """An origin group as the fleet file says it."""
        self.conn.execute(
            "INSERT INTO sonde.origin_groups (key, spec) VALUES (%s, %s)"
            " ON CONFLICT (key) DO UPDATE SET spec = excluded.spec",
            (key, Jsonb(spec)),
        )

    def books(self) -> tuple[int, int, int]:
        """Results that count, those of them that failed, and those that wait as their provider is held."""
        row = self.conn.execute(
            "SELECT count(*), count(*) FILTER (WHERE NOT connection_success), (SELECT count(*)"
            " FROM sonde.performance_held WHERE held_because = 'provider held') FROM performance_logs"
        ).fetchone()
        assert row is not None
        return row

    def uptime(self, key: str) -> float | None:
        """The server's uptime of all hours, rolled up anew [%]; None = nothing of it counts."""
        self.conn.execute("CALL rollup_performance_logs()")
        row = self.conn.execute(
            "SELECT 100.0 * sum(connection_ok) / sum(connection_count) FROM performance_logs_hourly h"
            " JOIN sonde.server_keys k USING (server_id) WHERE k.key = %s",
            (key,),
        ).fetchone()
        return None if row is None or row[0] is None else float(row[0])

    def set(self, key: str, **spec: Any) -> None:
        """Settings of [health] tables: key is fleet, provider/KEY or server/KEY."""
        self.conn.execute(
            "INSERT INTO sonde.health_settings (key, spec) VALUES (%s, %s)"
            " ON CONFLICT (key) DO UPDATE SET spec = excluded.spec",
            (key, Jsonb(spec)),
        )


def server_result(key: str, at_us: int, *, ok: bool, **values: Any) -> results_pb2.Result:
    """A handshake that happened, or timed out."""
    filled: dict[str, Any] = {
        "connection_success": ok,
        "connection_time_ms": 20.0 if ok else None,
        "protocol": "WireGuard",
    }
    if not ok:
        filled |= {"failure": results_pb2.FAILURE_TIMEOUT, "stage": results_pb2.STAGE_HANDSHAKE}
    return performance(key, at_us, **(filled | values))


def target_result(key: str, at_us: int, *, ok: bool, **values: Any) -> results_pb2.Result:
    """A check that was well, or refused."""
    filled: dict[str, Any] = {"ok": ok, "status": 200 if ok else None, "total_ms": 30.0}
    if not ok:
        filled |= {"failure": results_pb2.FAILURE_REFUSED, "stage": results_pb2.STAGE_TRANSPORT}
    return endpoint(key, at_us, **(filled | values))
