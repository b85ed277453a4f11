"""Agents of frozen versions against this collector: all that they do works, what they measured is kept."""

import json
from collections.abc import Iterator

import grpc
import psycopg
import pytest
from support.frozen import VERSIONS, Wire, later, wire
from support.identity import House
from support.old_agent import OldAgent
from support.postgres import Server
from support.programs import eventually

from sonde_collector.versions import OLDEST

pytestmark = pytest.mark.postgres
PLATFORM = "old-tv"


@pytest.fixture(scope="module")
def house(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A collector with an authority, and an inventory."""
    with House(tmp_path_factory.mktemp("house"), postgres_server) as house:
        with psycopg.connect(house.url) as conn:
            conn.execute("INSERT INTO streaming_platforms (slug, name) VALUES (%s, %s)", (PLATFORM, PLATFORM))
        yield house


def served() -> list[str]:
    """The frozen versions that this collector serves."""
    return [name for name in VERSIONS if tuple(int(part) for part in name.split(".")) >= OLDEST]


@pytest.mark.parametrize("future", [False, True], ids=["as frozen", "as a later one that says more"])
@pytest.mark.parametrize("version", served())
async def test_an_agent_of_that_version_works(house: House, version: str, *, future: bool) -> None:
    """It enrols, hears its tasks, takes a lease and delivers a row of every kind; each is there once."""
    files = wire(version)
    old = Wire(later(files) if future else files)
    vantage = "nyc1" if future else "ams1"
    collector = house.collectors[0]
    agent = OldAgent(old, f"{version}.0", vantage, house.pki.ca_cert, future=future)
    await agent.enrol(collector.enroll, collector.token(vantage))
    async with agent.channel(collector.grpc) as channel:
        told = await agent.assignment(channel)
        kinds = {task.WhichOneof("spec") for task in told.tasks}
        assert kinds == {"ping", "endpoint"}
        granted, renewed, _ = await agent.lease(channel, "closed1")
        assert granted.lease
        assert renewed.ttl_ms > 0
        number = old.number
        rows = [
            ("performance", "s1", {"ping_ms": 12.5, "sent": 10, "received": 9, "connection_success": True}),
            ("performance", "s2", {"failure": number("FAILURE_TIMEOUT"), "stage": number("STAGE_HANDSHAKE")}),
            ("endpoint", "closed1", {"kind": number("ENDPOINT_KIND_TCP"), "ok": True, "total_ms": 30.25}),
            ("health", "", {"ready": True, "cpu_pct": 1.5}),
            ("missed", "s1", {"task": "p/s1", "reason": number("MISS_REASON_LATE"), "slots": 3}),
            ("unlock", "s1", {"platform": PLATFORM, "rule_version": "1", "family": 4,
                              "verdict": number("VERDICT_AVAILABLE")}),
        ]  # fmt: skip
        rows[4][2]["until_us"] = 1_700_000_000_000_000
        assert await agent.deliver(channel, rows, told.database_id) == len(rows) + 1
        assert await agent.deliver(channel, rows[:1], told.database_id) == len(rows) + 3
    assert _stored(house, agent.epoch) == {
        "performance_logs": 3, "sonde.endpoint_checks": 1, "sonde.vantage_health": 1,
        "sonde.missed_runs": 1, "streaming_checks": 1, "sonde.gaps": 2, "sonde.rejected_results": 0,
    }  # fmt: skip
    first = house.rows(
        "SELECT ping_ms, connection_success FROM performance_logs JOIN sonde.streams s ON s.id = stream_id "
        "WHERE epoch = %s AND seq = 1",
        agent.epoch,
    )
    assert first == [(12.5, True)]


def _stored(house: House, epoch: bytes) -> dict[str, int]:
    tables = (
        "performance_logs", "sonde.endpoint_checks", "sonde.vantage_health", "sonde.missed_runs",
        "streaming_checks", "sonde.gaps", "sonde.rejected_results",
    )  # fmt: skip
    query = "SELECT count(*) FROM {} JOIN sonde.streams s ON s.id = stream_id WHERE epoch = %s"
    return {table: house.rows(query.format(table), epoch)[0][0] for table in tables}


async def test_versions_that_do_not_fit_are_told(house: House) -> None:
    """A newer agent waits with its results, an older one is served; `agents` and the log say which."""
    collector = house.collectors[0]
    agent = OldAgent(Wire(wire(VERSIONS[-1])), "99.0.1", "ams1", house.pki.ca_cert)
    await agent.enrol(collector.enroll, collector.token("ams1"))
    row = [("performance", "s1", {"ping_ms": 1.0})]
    async with agent.channel(collector.grpc) as channel:
        assert (await agent.assignment(channel)).tasks, "it hears its tasks all the same"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await agent.deliver(channel, row, bytes(16))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
        details = refused.value.details() or ""
        assert "collectors are upgraded first; its results wait in its spool" in details
        assert "agent_refused" in collector.program.tail(5000)
        eventually(lambda: _marks(house, "too new"), 20, "agents does not say so")
        agent.version = "0.0.7"
        await agent.assignment(channel)
        assert await agent.deliver(channel, row, bytes(16)) > 0
        assert "agent_too_old" in collector.program.tail(5000)
        eventually(lambda: _marks(house, "too old"), 20, "agents does not say so")
    assert "0.0.7 (too old)" in collector.command("agents")


def _marks(house: House, mark: str) -> bool:
    found = json.loads(house.collectors[0].command("agents", "--json"))
    return any(row["vantage"] == "ams1" and row["version_is"] == mark for row in found)
