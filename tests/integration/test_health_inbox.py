"""What ingestion tells health of the rows it commits."""

from collections.abc import Iterator

import psycopg
import pytest
from support.builders import Spool, endpoint, health, inventory, missed, now_us, performance, stream_of
from support.ingest import connection, write_once
from support.leases import account

from sonde_collector.health.entries import family_of, protocol_of, unpack
from sonde_collector.maintain.judge import judge
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2

pytestmark = pytest.mark.postgres


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A database with two servers, two targets and an account."""
    with connection(database_url) as conn:
        inventory(conn, servers=("s1", "s2"), targets=("t1", "t2"))
        account(conn, "acme")
        yield conn


def told(conn: psycopg.Connection, kind: str) -> list[tuple[int, int, int, bool, int, int, float]]:
    """Verdicts in the inbox: object, protocol or series, family, ok, failure, status, ms (-1 = none)."""
    rows = conn.execute(
        "SELECT verdicts FROM sonde.health_inbox WHERE object = %s ORDER BY id", (kind,)
    ).fetchall()
    verdicts = unpack(row[0] for row in rows)
    return [
        (
            int(one["object"]),
            protocol_of(int(one["series"])) if kind == "server" else int(one["series"]) & ~7,
            family_of(int(one["series"])),
            bool(one["ok"]),
            int(one["failure"]),
            int(one["status"]),
            -1.0 if one["ms"] != one["ms"] else float(one["ms"]),
        )
        for one in verdicts
    ]


def test_each_row_that_says_whether_a_thing_works(conn: psycopg.Connection) -> None:
    """Handshakes, pings where the plan counts them, and checks; nothing doubtful, of our side, or held."""
    spool, at = Spool(), now_us() - 1_000_000
    stream_of(conn, spool)
    timeout = {"connection_success": False, "failure": results_pb2.FAILURE_TIMEOUT}
    results = [
        performance("s1", at, protocol="WireGuard", family=4, connection_time_ms=21.5),
        performance("s2", at + 1, protocol="IKEv2", family=6, connection_time_ms=None, **timeout),
        performance("s1", at + 2, quality=int(Quality.SUCCESS_BY_PING), ping_ms=7.5, family=4),
        performance("s1", at + 3, connection_success=None),
        performance("s1", at + 4, quality=int(Quality.NOT_READY), **timeout),
        performance("s1", at + 5, quality=int(Quality.CLOCK_STEPPED), **timeout),
        performance("s1", at + 6, connection_success=False, failure=results_pb2.FAILURE_PERMISSION),
        performance(
            "s1", at + 7, connection_success=False, failure=results_pb2.FAILURE_AUTH, credential="acme"
        ),
        performance("nobody", at + 8, **timeout),
        endpoint("t1", at + 9, address="192.0.2.1", family=4),
        endpoint("t2", at + 10, ok=False, status=503, failure=results_pb2.FAILURE_EXPECTATION),
        endpoint("t2", at + 11, ok=False, status=None, quality=int(Quality.NOT_READY)),
        health(at + 12),
        missed("s1", at + 13),
    ]
    batch = spool.batch(results)
    write_once(conn, [batch])
    assert told(conn, "server") == [
        (1, 1, 4, True, 0, 0, 21.5),
        (2, 4, 6, False, results_pb2.FAILURE_TIMEOUT, 0, -1.0),
        (1, 0, 4, True, 0, 0, 7.5),
    ]
    first, second = told(conn, "target")
    assert (first[0], *first[2:]) == (1, 4, True, 0, 200, 30.0)
    assert second == (2, 0, 0, False, results_pb2.FAILURE_EXPECTATION, 503, 30.0)
    (labels,) = conn.execute("SELECT labels FROM sonde.health_inbox WHERE object = 'target'").fetchall()
    assert labels == ({str(first[1] | first[2]): "192.0.2.1"},)
    before = len(told(conn, "server"))
    write_once(conn, [batch])
    assert len(told(conn, "server")) == before


def test_a_row_that_the_database_refuses_is_not_told(conn: psycopg.Connection) -> None:
    """In a careful write only the rows that got in are told of."""
    spool, at = Spool(), now_us() - 1_000_000
    stream_of(conn, spool)
    conn.execute("ALTER TABLE performance_logs ADD CONSTRAINT no_sixes CHECK (ping_ms <> 6)")
    results = [performance("s1", at + i, ping_ms=float(i), connection_time_ms=float(i)) for i in range(10)]
    write_once(conn, [spool.batch(results)], careful=True)
    assert [one[-1] for one in told(conn, "server")] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 8.0, 9.0]


def test_a_server_at_fault_is_told_of(conn: psycopg.Connection) -> None:
    """A refusal that was held is told of once it is known to be the server's fault."""
    spool, at = Spool(), now_us() - 600_000_000
    stream_of(conn, spool)
    refused = {"connection_success": False, "failure": results_pb2.FAILURE_AUTH, "credential": "acme"}
    let_in = performance(
        "s2", at + 1_000_000, protocol="OpenVPN-UDP", credential="acme", connection_time_ms=9.0
    )
    write_once(conn, [spool.batch([performance("s1", at, protocol="OpenVPN-UDP", **refused), let_in])])
    assert [one[0] for one in told(conn, "server")] == [2]
    assert judge(conn) == 1
    assert told(conn, "server")[1:] == [(1, 2, 0, False, results_pb2.FAILURE_AUTH, 0, -1.0)]
