"""Results of a refused credential: held, and judged once it is known whose fault it was."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders import Spool, inventory, now_us, performance, stream_of
from support.ingest import connection, write_once
from support.leases import account

from sonde_collector.maintain.judge import judge, sweep
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2

pytestmark = pytest.mark.postgres
SERVERS = ("s1", "s2", "s3", "s4")
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A database with servers, and an account."""
    with connection(database_url) as conn:
        inventory(conn, servers=SERVERS)
        account(conn, "acme")
        yield conn


def refused(server: str, at_us: int, **values: Any) -> results_pb2.Result:
    """A run that the server turned away."""
    return performance(
        server, at_us, ping_ms=None, packet_loss_pct=None, sent=None, received=None, connection_success=False,
        failure=results_pb2.FAILURE_AUTH, stage=results_pb2.STAGE_AUTH, protocol="OpenVPN-UDP",
        **({"credential": "acme"} | values),
    )  # fmt: skip


def let_in(server: str, at_us: int, **values: Any) -> results_pb2.Result:
    """A run that the server let in."""
    return performance(
        server, at_us, download_mbps=99.5, direct_ping_ms=1.25, protocol="OpenVPN-UDP", backend="openvpn",
        **({"credential": "acme"} | values),
    )  # fmt: skip


def books(conn: psycopg.Connection) -> tuple[list[int], list[int]]:
    """Returns the seqs that count, and those that are held."""
    counted = conn.execute("SELECT seq FROM performance_logs ORDER BY 1").fetchall()
    held = conn.execute(
        "SELECT seq FROM sonde.performance_held WHERE held_because = 'credential refused' ORDER BY 1"
    ).fetchall()
    return [row[0] for row in counted], [row[0] for row in held]


def marks(conn: psycopg.Connection, series: str) -> int:
    """Returns how many marks of a series there are."""
    row = conn.execute("SELECT count(*) FROM sonde.dirty_marks WHERE series = %s", (series,)).fetchone()
    assert row is not None
    return int(row[0])


def test_what_is_held(conn: psycopg.Connection) -> None:
    """An authentication failure that names its credential is held; an unready vantage is held for that."""
    spool, at = Spool(), now_us()
    stream_of(conn, spool)
    nobody = refused("s1", at)
    nobody.performance.ClearField("credential")
    unready = refused("s1", at, quality=Quality.NOT_READY)
    write_once(conn, [spool.batch([refused("s1", at), nobody, unready, let_in("s2", at)])])
    assert books(conn) == ([2, 4], [1])
    assert conn.execute(
        "SELECT seq FROM sonde.performance_held WHERE held_because = 'vantage not ready'"
    ).fetchall() == [(3,)]


def test_a_server_at_fault_is_counted_once_with_all_it_said(conn: psycopg.Connection) -> None:
    """Let in elsewhere within the hour: the row moves as it is, once, and its hour is marked."""
    spool, at = Spool(), now_us() - 3 * HOUR_US
    stream_of(conn, spool)
    row = refused("s1", at, detail='wrong "pass\\word"', rtt_min_ms=0.1, down_bytes=2**60, exit_address="::1")
    write_once(conn, [spool.batch([row])])
    held = conn.execute("SELECT to_jsonb(h) - 'held_because' FROM sonde.performance_held h").fetchone()
    assert judge(conn) == 0
    write_once(conn, [spool.batch([let_in("s2", at + 59 * MINUTE_US)])])
    conn.execute("DELETE FROM sonde.dirty_marks WHERE series = 'performance'")
    assert judge(conn) == 1
    assert books(conn) == ([1, 2], [])
    assert conn.execute("SELECT to_jsonb(l) FROM performance_logs l WHERE seq = 1").fetchone() == held
    assert (marks(conn, "performance"), marks(conn, "held")) == (1, 0)
    assert judge(conn) == 0
    assert books(conn) == ([1, 2], [])


@pytest.mark.parametrize(
    ("server", "minutes", "credential"),
    [("s2", 61, "acme"), ("s2", -1, "acme"), ("s1", 5, "acme"), ("s2", 5, "other")],
)
def test_what_proves_nothing(conn: psycopg.Connection, server: str, minutes: int, credential: str) -> None:
    """A success an hour later, before it, on the same server or of another account leaves the row held."""
    spool, at = Spool(), now_us() - 3 * HOUR_US
    stream_of(conn, spool)
    write_once(
        conn,
        [spool.batch([refused("s1", at), let_in(server, at + minutes * MINUTE_US, credential=credential)])],
    )
    assert judge(conn) == 0
    assert books(conn)[1] == [1]


def test_an_expired_account_changes_no_servers_uptime(conn: psycopg.Connection) -> None:
    """What failed while the account was refused stays held, also after it was renewed and let in again."""
    spool, at = Spool(), now_us() - 3 * HOUR_US
    stream_of(conn, spool)
    write_once(conn, [spool.batch([refused(server, at + n) for n, server in enumerate(SERVERS)])])
    conn.execute("UPDATE sonde.accounts SET state = 'refused'")
    conn.execute("UPDATE sonde.accounts SET state = 'ok'")
    write_once(conn, [spool.batch([let_in("s4", at + 5 * MINUTE_US)])])
    assert judge(conn) == 0
    assert books(conn) == ([5], [1, 2, 3, 4])
    # A failure after the refusal is judged as any other.
    conn.execute("UPDATE sonde.refusals SET ended_at = to_timestamp(%s)", ((at + 2 * MINUTE_US) / 1_000_000,))
    write_once(conn, [spool.batch([refused("s1", at + 3 * MINUTE_US)])])
    assert judge(conn) == 1
    assert books(conn) == ([5, 6], [1, 2, 3, 4])


_RUNS = st.lists(
    st.tuples(st.sampled_from(SERVERS), st.integers(0, 150), st.booleans(), st.integers(0, 3)), max_size=12
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_RUNS)
def test_whatever_the_order_the_rule_holds(
    conn: psycopg.Connection, runs: list[tuple[str, int, bool, int]]
) -> None:
    """In whatever order results arrive and are judged between, the rule says what counts at the end."""
    conn.execute("DELETE FROM performance_logs")
    conn.execute("DELETE FROM sonde.performance_held")
    spool, begin = Spool(), (now_us() - 4 * HOUR_US) // HOUR_US * HOUR_US
    stream_of(conn, spool)
    moved = 0
    for server, minute, success, judged in runs:
        make = let_in if success else refused
        write_once(conn, [spool.batch([make(server, begin + minute * MINUTE_US)])])
        if not judged:
            moved += judge(conn)
    moved += judge(conn)
    at_fault = {
        seq
        for seq, (server, minute, success, _) in enumerate(runs, 1)
        if not success and any(ok and other != server and 0 < at - minute <= 60 for other, at, ok, _ in runs)
    }
    good = {seq for seq, run in enumerate(runs, 1) if run[2]}
    counted, held = books(conn)
    assert set(counted) == good | at_fault
    assert len(counted) + len(held) == len(runs)
    assert moved == len(at_fault)


def test_old_leases_are_swept(conn: psycopg.Connection) -> None:
    """Leases that ended hours ago are forgotten; what counts stays."""
    conn.execute(
        "INSERT INTO sonde.leases SELECT 'key', k, gen_random_uuid(), min(id), '', 's1', now() - age,"
        " now() - age, now() - age FROM probe_locations,"
        " (VALUES ('old', interval '2 hours'), ('new', interval '0')) v (k, age) GROUP BY k, age"
    )
    sweep(conn)
    assert conn.execute("SELECT name FROM sonde.leases").fetchall() == [("new",)]
