"""Unlock checks from the wire to their rows: exactly once, in the right table, or set aside with a reason."""

import random
from collections.abc import Iterator

import psycopg
import pytest
from support.builders import Spool, inventory, stream_of, unlock
from support.ingest import Agent, collector, connection, expected, stored, write_once

from sonde_collector.unlock.voiding import void
from sonde_proto.v1 import ingest_pb2, results_pb2

pytestmark = pytest.mark.postgres
REJECTED = "SELECT seq, kind, reason, detail FROM sonde.rejected_results ORDER BY seq"


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with a vantage, two servers, two platforms."""
    with connection(database_url) as conn:
        inventory(conn, servers=("s1", "s2"), platforms=("netflix", "bbc-iplayer"))
        yield conn


def test_every_field_arrives(conn: psycopg.Connection) -> None:
    """A check of a server and one of the vantage itself hold in their columns what their messages said."""
    spool = Spool()
    stream_of(conn, spool)
    values = {
        "platform": "bbc-iplayer", "scope": "full", "region": "GB", "family": 6, "response_ms": 0.25,
        "level": results_pb2.EVIDENCE_LEVEL_PLAYBACK, "via": results_pb2.VIA_DNS_PROXY,
        "detail": "ms: 'vs-hls'",
        "fidelity": results_pb2.FIDELITY_BROWSER_TLS, "credential": "acme", "exchanges": 2, "quality": 1024,
        "evidence": '{"step": "ms", "status": 200, "name": "é"}',
    }  # fmt: skip
    tunnel = unlock("s2", protocol="WireGuard", **values)
    ours = unlock("s1", verdict=0, failure=results_pb2.FAILURE_AUTH, stage=results_pb2.STAGE_HANDSHAKE)
    write_once(conn, [spool.batch([tunnel, unlock("", **values), ours])])
    columns = (
        "platform_id, probe_id, verdict, scope, region, family, level, via, fidelity, response_time_ms,"
        " exchanges, detail, evidence, credential, rule_version, quality, failure, stage, seq"
    )
    said = (
        2, 1, "available", "full", "GB", 6, "playback", "dns_proxy", "browser_tls", 0.25,
        2, "ms: 'vs-hls'", {"step": "ms", "status": 200, "name": "é"}, "acme", "2026-11-28", 1024, None, None,
    )  # fmt: skip
    rows = conn.execute(
        f"SELECT server_id, protocol_id, is_unlocked, {columns} FROM streaming_checks ORDER BY seq".encode()
    ).fetchall()
    assert rows[0] == (2, 1, True, *said, 1)
    assert rows[1][:3] == (1, None, False)
    assert rows[1][5] is None
    assert rows[1][-3:] == ("auth", "handshake", 3)
    canary = conn.execute(f"SELECT {columns} FROM sonde.canary_checks".encode()).fetchall()
    assert canary == [(*said, 2)]
    assert stored(conn) == expected(spool)


@pytest.mark.parametrize("fk", ["row", "batch"])
def test_a_bad_row_costs_only_itself(conn: psycopg.Connection, fk: str) -> None:
    """An unknown platform or server, or evidence that is no JSON, is set aside; the rest is kept."""
    spool = Spool()
    stream_of(conn, spool)
    void(conn, "bbc-iplayer", "2026-11-28", "a marker was wrong")
    results = [
        unlock("s1"),
        unlock("s1", platform="netflicks"),
        unlock("nowhere"),
        unlock("s1", evidence="{"),
        unlock("", platform="bbc-iplayer"),
        unlock("s2", platform="bbc-iplayer"),
    ]
    outcome = write_once(conn, [spool.batch(results)], fk=fk)
    assert outcome.rejected == {"unknown_platform": 1, "unknown_target": 1, "not_a_json_object": 1}
    assert [(seq, kind, reason) for seq, kind, reason, _ in conn.execute(REJECTED)] == [
        (2, "unlock", "unknown_platform"),
        (3, "unlock", "unknown_target"),
        (4, "unlock", "not_a_json_object"),
    ]
    assert "platform 'netflicks'" in str(conn.execute(REJECTED).fetchall()[0][3])
    unlocked = conn.execute("SELECT seq, is_unlocked FROM streaming_checks ORDER BY seq").fetchall()
    assert unlocked == [(1, True), (6, False)]
    assert stored(conn) == expected(spool)


async def test_replays_and_races_count_once(conn: psycopg.Connection, database_url: str) -> None:
    """Batches sent again by new connections are each there exactly once, in either table."""
    spool = Spool()
    dice = random.Random(5)
    batches: list[ingest_pb2.Batch] = []
    async with collector(database_url) as running:
        for _ in range(6):
            results = [unlock(dice.choice(["s1", "s2", ""])) for _ in range(dice.randint(1, 30))]
            batches.append(spool.batch(results))
            async with Agent(running.address, spool) as agent:
                await agent.hello(0)
                for batch in batches:
                    await agent.send(batch)
                await agent.acked(spool.last_seq)
    assert stored(conn) == expected(spool)
