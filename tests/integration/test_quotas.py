"""One stolen certificate against a whole collector: it is slowed and told, and the others notice nothing."""

import asyncio
import contextlib
import json
import ssl
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.builders import Spool, performance
from support.fleet import fleet_toml
from support.hostile import Flood, channel, ended
from support.identity import House
from support.ingest import Agent
from support.leases import Agent as Asker
from support.postgres import Server
from support.programs import eventually

from sonde_proto.v1 import control_pb2, control_pb2_grpc, ingest_pb2_grpc

pytestmark = pytest.mark.postgres

ROWS, AHEAD = 1000, 100_000
LIMITS = f"""
[limits]
rows = {ROWS}
rows_ahead = {AHEAD}
calls = 5
calls_ahead = 150
streams = 4
new_streams = 6
rejected = "100kB"
leases = 3
lease_time = "1m"
"""
HOSTILE = ("flood", "caller", "maker", "spoiler", "holder")
"""A vantage for each test, so that none meets what another has spent."""
FLOOD_S = 12.0
LATE_S = 10.0
"""Results are there within a second or two where nothing else runs; this is for a busy machine. [s]"""


@pytest.fixture(scope="module")
def house(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One collector with small limits."""
    with House(tmp_path_factory.mktemp("house"), postgres_server, more=LIMITS) as house:
        vantages = [f'[[vantage]]\ncode = "{code}"\ncity = "Oslo"\ncountry = "NO"\n' for code in HOSTILE]
        file = house.folder / "fleet.toml"
        file.write_text("".join(vantages) + fleet_toml())
        house.collectors[0].command("apply", str(file))
        yield house


def error_of(house: House, vantage: str) -> str:
    """What `agents` shows as its last error."""
    rows = json.loads(house.collectors[0].command("agents", "--json"))
    (found,) = [row["last_error"] for row in rows if row["vantage"] == vantage]
    return str(found or "")


def metric(house: House, limit: str) -> float:
    """How often the collector says that this limit was met."""
    context = ssl.create_default_context(cafile=str(house.pki.ca_cert))
    url = f"https://localhost:{house.collectors[0].http}/metrics"
    with urllib.request.urlopen(url, context=context, timeout=20) as answer:
        text = answer.read().decode()
    name = f'sonde_limits_met_total{{limit="{limit}"}}'
    (line,) = [each for each in text.splitlines() if each.startswith(name)]
    return float(line.rpartition(" ")[2])


def told(house: House, vantage: str) -> list[str]:
    """The details of the events that say so."""
    return [
        str(row[0])
        for row in house.rows(
            "SELECT detail FROM sonde.events WHERE topic = %s AND NOT resolved", f"agent_limited/{vantage}"
        )
    ]


def peak_kb(house: House) -> int:
    """The most memory that the collector has had. [kB]"""
    process = house.collectors[0].program.process
    assert process is not None
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(found)


async def test_a_flood_makes_nobody_late_and_loses_nothing(house: House) -> None:
    """Four streams send all they can: an agent's results stay fresh; the flood is slowed, told and whole."""
    agent = house.enrolled("ams1")
    agent.program.start()
    await asyncio.to_thread(house.delivers, agent)
    late: list[float] = []

    def look() -> float:
        ((age,),) = house.rows(
            "SELECT extract(epoch FROM now() - max(measured_at))::float8 FROM performance_logs"
            " WHERE probe_id = (SELECT id FROM probe_locations WHERE code = 'ams1')"
        )
        return float(age)

    async with channel(house, "flood") as through:
        floods = [Flood(through, "flood", 5000) for _ in range(4)]
        begun = time.monotonic()
        tasks = [asyncio.create_task(each.run()) for each in floods]
        while time.monotonic() - begun < FLOOD_S:
            late.append(await asyncio.to_thread(look))
            await asyncio.sleep(0.1)
        assert all(each.open for each in floods), "results are slowed, not refused"
        acked, passed = sum(each.acked for each in floods), time.monotonic() - begun
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in floods:
            each.close()
    assert max(late) < LATE_S, sorted(late)[-5:]
    assert acked > AHEAD, "what may come at once was not even taken"
    assert acked <= AHEAD + ROWS * passed + len(floods) * 5000
    assert sum(each.sent for each in floods) > acked
    found = house.rows(
        "SELECT s.epoch, s.acked_seq, count(DISTINCT p.seq), count(*), max(p.seq)"
        " FROM sonde.streams s LEFT JOIN performance_logs p ON p.stream_id = s.id"
        " WHERE s.probe_id = (SELECT id FROM probe_locations WHERE code = 'flood') GROUP BY s.id"
    )
    assert {bytes(row[0]) for row in found} == {each.epoch for each in floods}
    for each in floods:
        ((_, cursor, seqs, rows, last),) = [row for row in found if bytes(row[0]) == each.epoch]
        assert cursor == seqs == rows == last >= each.acked, (
            "exactly once, and nothing that was acked is missing"
        )
    eventually(lambda: told(house, "flood"), 30, "no event")
    assert "flood sends more results" in told(house, "flood")[0]
    assert "flood sends more results" in await asyncio.to_thread(error_of, house, "flood")
    assert metric(house, "rows") > 0
    house.delivers(agent)
    assert agent.program.stop() == 0
    assert told(house, "ams1") == []


async def test_calls_are_bounded_by_how_many_and_how_often(house: House) -> None:
    """Of a certificate: so many calls that stay, silent ones too; short calls and words at a rate."""
    async with channel(house, "caller") as through:
        ingest, control = ingest_pb2_grpc.IngestStub(through), control_pb2_grpc.ControlStub(through)
        silent: list[Any] = [ingest.Stream() for _ in range(3)]
        watch: Any = control.Watch()
        await watch.write(control_pb2.AgentState(vantage="caller", instance=bytes(16)))
        assert (await watch.read()).clock.received_at_us > 0
        status, words = await ended(ingest.Stream())
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "caller has 4 streams open" in words
        for each in silent:
            each.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await asyncio.gather(*(control.Renew(control_pb2.RenewRequest(lease="none")) for _ in range(300)))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "calls more often" in (error.value.details() or "")
        # The stream that stands is slowed: twenty words take four seconds, and all are answered.
        begun = time.monotonic()
        for _ in range(20):
            await watch.write(control_pb2.AgentState(vantage="caller", instance=bytes(16)))
        for _ in range(20):
            assert await watch.read() is not grpc.aio.EOF
        assert time.monotonic() - begun > 2.5
        watch.cancel()
    eventually(lambda: told(house, "caller"), 30, "no event")
    assert metric(house, "calls") > 0
    assert metric(house, "streams") > 0


async def test_a_huge_word_costs_no_more_than_a_usual_one(house: House) -> None:
    """Megabytes about itself are cut before anything keeps them; the agent is answered."""
    state = control_pb2.AgentState(
        vantage="holder", instance=bytes(16), last_error="x" * (1 << 20), revision=3
    )
    for _ in range(40_000):
        state.refused.add(task="t" * 50, reason="r" * 50)
    async with channel(house, "holder") as through:
        watch: Any = control_pb2_grpc.ControlStub(through).Watch()
        await watch.write(state)
        assert (await watch.read()).clock.received_at_us > 0
        watch.cancel()
    (kept,) = eventually(
        lambda: house.rows(
            "SELECT pg_column_size(refused), octet_length(last_error) FROM sonde.agents"
            " JOIN probe_locations p ON p.id = probe_id WHERE p.code = 'holder'"
        ),
        30,
        "nothing was kept",
    )
    assert 0 < kept[0] < 256 << 10
    assert kept[1] == 2000


async def test_new_streams_end_and_known_ones_go_on(house: House) -> None:
    """After so many spools in a day the next is told to wait; those that exist are taken as before."""
    async with channel(house, "maker") as through:
        spools = [Spool("maker") for _ in range(7)]
        for spool in spools[:6]:
            agent = Agent("", spool, through)
            assert (await agent.hello()).acked_seq == 0
            agent._call.cancel()
        agent = Agent("", spools[6], through)
        await agent.send(spools[6].hello())
        status, words = await agent.status()
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "began 6 streams within a day" in words
        agent = Agent("", spools[0], through)
        await agent.hello()
        await agent.send(spools[0].batch([performance()]))
        assert (await agent.acked(1)).acked_seq == 1
        agent._call.cancel()
    ((count,),) = house.rows(
        "SELECT count(*) FROM sonde.streams s JOIN probe_locations p ON p.id = s.probe_id"
        " WHERE p.code = 'maker'"
    )
    assert count == 6


async def test_what_is_set_aside_ends_with_the_day_and_loses_nothing(house: House) -> None:
    """Beyond the quota streams end and none begins, fleet-wide; the next day all that waited is taken."""
    spool = Spool("spoiler")

    async def refused(agent: Agent) -> str:
        status, words = await agent.status()
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED, words
        return words

    async with channel(house, "spoiler") as through:
        agent = Agent("", spool, through)
        await agent.hello()
        await agent.send(spool.batch([performance("nobody")] * 1000))
        await agent.acked(1000)
        assert "set aside today" in await refused(agent)
        later = spool.batch([performance()] * 5)
        for _ in range(2):
            agent = Agent("", spool, through)
            await agent.send(spool.hello(1000))
            assert "nothing is taken until 00:00 UTC" in await refused(agent)
        eventually(lambda: "set aside today" in error_of(house, "spoiler"), 30, "no word in `agents`")
        eventually(lambda: told(house, "spoiler"), 30, "no event")
        house.rows("UPDATE sonde.rejected_bytes SET day = day - 1 RETURNING 1")

        async def again() -> bool:
            agent = Agent("", spool, through)
            with contextlib.suppress(grpc.aio.AioRpcError, AssertionError):
                await agent.hello(1000)
                await agent.send(later)
                return (await agent.acked(1005)).acked_seq == 1005
            return False

        async with asyncio.timeout(60):
            while not await again():  # noqa: ASYNC110  # what changes is in another process
                await asyncio.sleep(0.5)
    found = house.rows(
        "SELECT s.acked_seq, (SELECT count(*) FROM sonde.rejected_results WHERE stream_id = s.id),"
        " (SELECT count(*) FROM performance_logs WHERE stream_id = s.id)"
        " FROM sonde.streams s WHERE s.epoch = %s",
        spool.epoch,
    )
    assert found == [(1005, 1000, 5)]


async def test_leases_of_one_vantage_are_few_and_end(house: House) -> None:
    """So many at once, whoever asks how; others get theirs; one that was renewed for long enough is over."""
    async with channel(house, "holder") as through, channel(house, "nyc1") as other:
        holder, honest = Asker(through, "holder"), Asker(other, "nyc1")
        replies = await asyncio.gather(*(holder.acquire(target=f"s{n}") for n in range(1, 8)))
        granted = [reply for reply in replies if reply.lease]
        assert len(granted) == 3
        assert {reply.detail for reply in replies if not reply.lease} == {
            "this vantage has as many leases as [limits] leases of collector.toml allows"
        }
        free = next(n for n, reply in enumerate(replies, 1) if not reply.lease)
        assert (await honest.acquire(target=f"s{free}")).lease
        assert await holder.renew(granted[0].lease) > 0
        house.rows("UPDATE sonde.leases SET granted_at = granted_at - interval '61 s' RETURNING 1")
        assert await holder.renew(granted[0].lease) == 0
        await holder.release(granted[1].lease)
        assert (await holder.acquire(target="s9")).lease
    assert metric(house, "leases") > 0


async def test_a_bomb_costs_its_sender_alone(house: House) -> None:
    """A text that is named by each of thousands of results is refused with what to do, before it unfolds."""
    spool = Spool("nyc1")
    hops = "x" * 60_000
    async with channel(house, "nyc1") as through:
        agent = Agent("", spool, through)
        await agent.hello()
        await agent.send(spool.batch([performance(detail=hops)] * 5000))
        status, words = await agent.status()
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "bytes once unpacked: at most" in words
    assert await asyncio.to_thread(peak_kb, house) < 1 << 20
