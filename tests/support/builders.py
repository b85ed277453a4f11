"""Results, batches and the inventory they name, as small as a test can say them."""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from sonde_collector.ingest.arrival import Arrival, take_in
from sonde_proto import columns
from sonde_proto.v1 import ingest_pb2, results_pb2

MINUTE_US = 60_000_000


def now_us() -> int:
    """This moment. [us since 1970]"""
    return time.time_ns() // 1000


def performance(target: str = "s1", at_us: int | None = None, **values: Any) -> results_pb2.Result:
    """One ping result of a server; values are fields of Performance."""
    filled = {
        "ping_ms": 12.5,
        "packet_loss_pct": 0.0,
        "sent": 10,
        "received": 10,
        "connection_success": True,
    } | values
    return results_pb2.Result(
        measured_at_us=now_us() if at_us is None else at_us,
        target=target,
        performance=results_pb2.Performance(**filled),
    )


def endpoint(target: str = "t1", at_us: int | None = None, **values: Any) -> results_pb2.Result:
    """One HTTP result of a target; values are fields of Endpoint."""
    filled = {"kind": results_pb2.ENDPOINT_KIND_HTTP, "ok": True, "status": 200, "total_ms": 30.0} | values
    return results_pb2.Result(
        measured_at_us=now_us() if at_us is None else at_us,
        target=target,
        endpoint=results_pb2.Endpoint(**filled),
    )


def health(at_us: int | None = None, **values: Any) -> results_pb2.Result:
    """One health result; values are fields of Health."""
    filled = {"ready": True, "cpu_pct": 1.5} | values
    return results_pb2.Result(
        measured_at_us=now_us() if at_us is None else at_us, health=results_pb2.Health(**filled)
    )


def missed(target: str = "", at_us: int | None = None, **values: Any) -> results_pb2.Result:
    """One record of missed slots; values are fields of Missed."""
    at_us = now_us() if at_us is None else at_us
    filled = {"task": "p/s1", "reason": results_pb2.MISS_REASON_LATE, "slots": 3, "until_us": at_us} | values
    return results_pb2.Result(measured_at_us=at_us, target=target, missed=results_pb2.Missed(**filled))


def unlock(target: str = "s1", at_us: int | None = None, **values: Any) -> results_pb2.Result:
    """One unlock check of a server, or of the vantage itself (""); values are fields of Unlock."""
    filled = {
        "platform": "netflix", "rule_version": "2026-11-28", "verdict": results_pb2.VERDICT_AVAILABLE,
        "family": 4, "response_ms": 812.5, "exchanges": 3, "evidence": '{"step": "lic", "status": 200}',
    } | values  # fmt: skip
    return results_pb2.Result(
        measured_at_us=now_us() if at_us is None else at_us,
        target=target,
        unlock=results_pb2.Unlock(**filled),
    )


class Spool:
    """What an agent's spool would hand to its uplink: a stream's batches, numbered and chained."""

    def __init__(self, vantage: str = "ams1") -> None:
        self.vantage = vantage
        self.epoch = os.urandom(16)
        self.instance = os.urandom(16)
        self.last_seq = 0
        self.chain = bytes(32)
        self.chains = {0: b""}

    def hello(self, acked_seq: int = 0, **values: Any) -> ingest_pb2.Batch:
        """The first message of a connection of an agent that thinks it is acked so far."""
        filled = {
            "vantage": self.vantage, "epoch": self.epoch, "instance": self.instance, "first_seq": acked_seq,
            "chain": self.chains[acked_seq], "agent_version": "0.1.0", "sent_at_us": now_us(),
        } | values  # fmt: skip
        return ingest_pb2.Batch(**filled)

    def batch(
        self, results: Iterable[results_pb2.Result | ingest_pb2.GapReason.ValueType] = (), **values: Any
    ) -> ingest_pb2.Batch:
        """The next batch: a result takes one seq, a gap reason in its place loses one."""
        first = self.last_seq + 1
        rows: list[tuple[int, results_pb2.Result]] = []
        gaps: list[ingest_pb2.Gap] = []
        for item in results:
            self.last_seq += 1
            if isinstance(item, results_pb2.Result):
                rows.append((self.last_seq, item))
                self._link(self.last_seq.to_bytes(8, "little") + item.SerializeToString())
            else:
                gaps.append(ingest_pb2.Gap(first_seq=self.last_seq, last_seq=self.last_seq, reason=item))
                self._link(b"gap" + self.last_seq.to_bytes(8, "little") * 2)
        filled = {
            "vantage": self.vantage, "epoch": self.epoch, "instance": self.instance, "first_seq": first,
            "last_seq": self.last_seq, "chain": self.chain, "agent_version": "0.1.0", "config_revision": 1,
            "sent_at_us": now_us(), "gaps": gaps,
        } | values  # fmt: skip
        return columns.encode(ingest_pb2.Batch(**filled), rows)

    def _link(self, data: bytes) -> None:
        self.chain = hashlib.sha256(self.chain + data).digest()
        self.chains[self.last_seq] = self.chain


def arrive(batch: ingest_pb2.Batch, session: int = 0, received_at_us: int | None = None) -> Arrival:
    """A batch as the service hands it to the writer."""
    received_at_us = now_us() if received_at_us is None else received_at_us
    return take_in(
        batch,
        vantage=batch.vantage,
        session=session,
        received_at_us=received_at_us,
        size=batch.ByteSize(),
    )


def inventory(
    conn: psycopg.Connection,
    *,
    vantages: Sequence[str] = ("ams1",),
    servers: Sequence[str] = ("s1",),
    targets: Sequence[str] = ("t1",),
    platforms: Sequence[str] = (),
) -> None:
    """The least that results can name."""
    conn.execute("INSERT INTO countries (iso_code, name) VALUES ('NL', 'Netherlands') ON CONFLICT DO NOTHING")
    conn.execute(
        "INSERT INTO cities (country_id, name) SELECT id, 'Amsterdam' FROM countries WHERE iso_code = 'NL'"
        " ON CONFLICT DO NOTHING"
    )
    conn.execute("INSERT INTO providers (name, slug) VALUES ('Example', 'example') ON CONFLICT DO NOTHING")
    conn.execute(
        "INSERT INTO probe_locations (code, city_id) SELECT v, c.id FROM unnest(%s::text[]) v, cities c",
        (list(vantages),),
    )
    conn.execute(
        "WITH made AS (INSERT INTO servers (provider_id, city_id, hostname)"
        " SELECT p.id, c.id, k FROM unnest(%s::text[]) k, cities c, providers p RETURNING id, hostname)"
        " INSERT INTO sonde.server_keys (key, server_id) SELECT hostname, id FROM made",
        (list(servers),),
    )
    conn.execute(
        "INSERT INTO sonde.targets (key, spec) SELECT k, '{}' FROM unnest(%s::text[]) k", (list(targets),)
    )
    conn.execute(
        "INSERT INTO streaming_platforms (slug, name) SELECT k, k FROM unnest(%s::text[]) k",
        (list(platforms),),
    )


def stream_of(conn: psycopg.Connection, spool: Spool) -> int:
    """Makes the stream of a spool without a connection, with session 0; returns its id."""
    row = conn.execute(
        "INSERT INTO sonde.streams (probe_id, epoch)"
        " SELECT id, %s FROM probe_locations WHERE code = %s RETURNING id",
        (spool.epoch, spool.vantage),
    ).fetchone()
    assert row is not None
    return int(row[0])
