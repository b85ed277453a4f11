"""What readers can't do: write, run long, run many, bring ingest down, or read every raw row."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.api import seed, seeded, serving
from support.postgres import Server
from support.programs import eventually

from sonde_collector.db.migrate import migrate
from sonde_collector.db.queries import parse
from sonde_collector.read.api.reader import WAITING_PER_CONNECTION, Connection, Reader

pytestmark = pytest.mark.postgres
QUERIES = Path(__file__).parents[2] / "collector/src/sonde_collector/sql/queries/api.sql"


@pytest.fixture(scope="module")
def url(postgres_server: Server) -> Iterator[str]:
    """Give a database with a small fleet."""
    with seeded(postgres_server, "api_limits") as url:
        yield url


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Keep everybody from a table: whoever reads it waits."""
    with psycopg.connect(url) as conn:
        conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        conn.rollback()


def test_a_slow_query_is_cut(url: str) -> None:
    """What takes longer than it may is a 503 that says when to come again; the next question is answered."""
    with serving(url, statement_timeout=0.3) as api:
        with locked(url, "sonde.health_states"):
            for path in ("/v1/health", "/v1/servers", "/metrics/targets"):
                answer = api.get(path)
                assert (answer.status_code, answer.json()["title"]) == (503, "Too slow")
                assert int(answer.headers["retry-after"]) > 0
        assert api.get("/v1/health").status_code == 200


def test_who_would_wait_long_is_sent_away(url: str) -> None:
    """So many wait and no more; others are told to come again, and what needs no reader goes on meanwhile."""
    with serving(url, statement_timeout=60.0, connections=1) as api, ThreadPoolExecutor(30) as clients:
        with locked(url, "sonde.health_states"):
            asked = [clients.submit(api.get, "/v1/health") for _ in range(30)]
            most = 1 + WAITING_PER_CONNECTION
            eventually(lambda: sum(each.done() for each in asked) == 30 - most, 60, "they are not sent away")
            for each in asked:
                if each.done():
                    assert (each.result().status_code, each.result().json()["title"]) == (503, "Busy")
            assert api.get("/healthz").text == "ok\n"
            assert api.get("/readyz").status_code in (200, 503)
            api.execute("INSERT INTO sonde.events (kind, subject, detail) VALUES ('meanwhile', 'x', 'x')")
            with psycopg.connect(url) as conn:
                row = conn.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sonde-collector api' "
                    "AND datname = current_database()"
                ).fetchone()
            assert row == (1,)
        answers = [each.result().status_code for each in asked]
    assert sorted(answers) == [200] * most + [503] * (30 - most)


async def test_readers_have_no_right_to_write(url: str) -> None:
    """A reader's connection is read only, of a role that may only read, and ends by itself."""
    reader = Reader(url, connections=1, timeout_s=5.0)

    def rights(conn: Connection) -> Any:
        return conn.execute(
            "SELECT current_user::text, current_setting('transaction_read_only'), "
            "current_setting('statement_timeout'), current_setting('max_parallel_workers_per_gather')"
        ).fetchone()

    try:
        assert await reader.run(rights) == ("pg_read_all_data", "on", "5s", "0")
        for statement in (
            "DELETE FROM servers",
            "SET default_transaction_read_only = off; DELETE FROM servers",
            "SELECT pg_read_file('/etc/passwd')",
            "COPY servers TO PROGRAM 'true'",
        ):

            def attempt(conn: Connection, statement: str = statement) -> None:
                conn.execute(statement.encode())

            with pytest.raises(psycopg.Error, match=r"read-only|permission denied"):
                await reader.run(attempt)
    finally:
        reader.close()


def test_a_database_that_is_away_is_a_503() -> None:
    """While PostgreSQL is down all that needs it is a 503, with a key too; when it is back, all is well."""
    server = Server(durable=True)  # what it said it has, it has after the kill
    try:
        server.start()
        url = server.create("away")
        with psycopg.connect(url, autocommit=True) as conn:
            migrate(conn)
        seed(url)
        with serving(url) as api:
            key = {"Authorization": f"Bearer {api.key('away')}"}
            assert api.get("/v1/servers", headers=key).status_code == 200
            server.kill9()

            eventually(
                lambda: api.get("/v1/servers", headers=key).status_code == 503,
                60,
                "it does not say that the database is away",
            )
            for path in ("/v1/ranking", "/metrics/targets"):
                answer = api.get(path)
                assert (answer.status_code, answer.json()["title"]) == (503, "Database away")
            assert api.get("/healthz").status_code == 200
            server.start()
            eventually(
                lambda: api.get("/v1/servers", headers=key).status_code == 200, 60, "it does not come back"
            )
            eventually(lambda: api.get("/metrics/targets").status_code == 200, 60, "it does not come back")
    finally:
        server.stop()


def test_no_query_reads_raw_rows(url: str) -> None:
    """No plan of the API's own queries touches a partition of raw rows: they read what is kept for them."""
    values: dict[str, Any] = dict.fromkeys(re.findall(r"%\((\w+)\)s", QUERIES.read_text()))
    values |= {
        "limit": 100,
        "id": 1,
        "key": "s1",
        "max_age_s": 86_400,
        "silent": 90,
        "metric": "ping_ms",
        "object": "server",
    }
    raw = (
        "performance_logs_",
        "endpoint_checks",
        "streaming_checks",
        "batches",
        "vantage_health",
        "missed_runs",
    )
    with psycopg.connect(url) as conn:
        for name, statement in parse(QUERIES.read_text()).items():
            if name in ("api_session", "api_read_only_role"):
                continue
            row = conn.execute(f"EXPLAIN (FORMAT JSON) {statement}".encode(), values).fetchone()
            assert row is not None
            names = set(re.findall(r'"Relation Name": "(\w+)"', json.dumps(row[0])))
            assert names, name
            assert not [each for each in names if each.startswith(raw)], name


def test_the_newest_check_is_found_without_reading_other_partitions(database_url: str) -> None:
    """When a minute is written, the lookup of its newest check touches that minute's partition alone."""
    seed(database_url)
    touched = """
        SELECT relname, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_user_tables
        WHERE relname LIKE 'endpoint_checks_%' ORDER BY relname"""
    with serving(database_url) as api, api.connect() as conn:
        conn.execute("SELECT sonde.cover('sonde.endpoint_checks', now() - interval '70 days')")
        conn.execute("SELECT pg_stat_force_next_flush()")
        before = dict(conn.execute(touched).fetchall())
        conn.execute(
            "UPDATE sonde.endpoint_minute SET checks = checks + 1 "
            "WHERE bucket = (SELECT max(bucket) FROM sonde.endpoint_minute)"
        )
        conn.execute("SELECT pg_stat_force_next_flush()")
        after = dict(conn.execute(touched).fetchall())
    changed = {name for name, count in after.items() if count != before.get(name, 0)}
    assert len(changed) == 1


def test_clients_that_leave_hurt_nobody(url: str) -> None:
    """A hundred clients that hang up before their answer leave no reader taken."""
    with serving(url, connections=2) as api:

        def leave() -> None:
            host, _, port = api.base.removeprefix("http://").rpartition(":")
            with socket.create_connection((host, int(port))) as sock:
                sock.sendall(b"GET /v1/ranking HTTP/1.1\r\nHost: localhost\r\n\r\n")

        threads = [threading.Thread(target=leave) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        eventually(lambda: api.get("/v1/ranking").status_code == 200, 60, "readers are taken")


def test_ten_readers_at_once_are_all_answered(url: str) -> None:
    """Ten clients who ask everything at once get the same as one alone."""
    paths = ("/v1/servers", "/v1/ranking", "/v1/matrix", "/v1/health", "/v1/servers/s1/trend?step=hour")
    with serving(url) as api, ThreadPoolExecutor(10) as clients:
        alone = {path: api.get(path).content for path in paths}

        def ask(n: int) -> bool:
            path = paths[n % len(paths)]
            return api.get(path).content == alone[path]

        assert all(clients.map(ask, range(200)))
