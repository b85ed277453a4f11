"""Whatever breaks between collector and database, every result is in the tables exactly once."""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import grpc
import psycopg
import pytest
from support.builders import Spool, endpoint, health, inventory, performance
from support.ingest import Agent, collector, connection, expected, stored, until
from support.postgres import Server

from sonde_collector.db.migrate import migrate
from sonde_proto.v1 import ingest_pb2, results_pb2

pytestmark = pytest.mark.postgres
BOTH = pytest.mark.parametrize("fk", ["row", "batch"])
SERVERS = [f"s{number}" for number in range(20)]


@pytest.fixture
def url(database_url: str) -> str:
    """A database with four vantages and twenty servers."""
    with connection(database_url) as conn:
        inventory(conn, vantages=[f"v{number}" for number in range(4)], servers=SERVERS)
    return database_url


def results(dice: random.Random) -> list[results_pb2.Result]:
    """A few results of all sorts, some for a server that nobody knows."""
    return [
        dice.choice([performance(dice.choice([*SERVERS, "nowhere"])), endpoint(), health()])
        for _ in range(dice.randrange(1, 60))
    ]


async def deliver(addresses: list[str], spool: Spool, batches: int, dice: random.Random) -> None:
    """An agent: sends its batches, several under way, and on any end begins again with a hello, anywhere."""
    made: list[ingest_pb2.Batch] = []
    acked = 0
    while acked < spool.last_seq or len(made) < batches:
        async with Agent(dice.choice(addresses), spool) as agent:
            try:
                acked = max(acked, (await agent.hello(acked)).acked_seq)
                for batch in made:
                    if batch.last_seq > acked:
                        await agent.send(batch)
                while acked < spool.last_seq or len(made) < batches:
                    if len(made) < batches:
                        made.append(spool.batch(results(dice)))
                        await agent.send(made[-1])
                    if dice.random() < 0.3 or len(made) == batches:
                        acked = (await agent.ack()).acked_seq
                    if dice.random() < 0.03:
                        break  # the connection is cut between a COMMIT and its ack
            except grpc.aio.AioRpcError as error:
                retried = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED}
                assert error.code() in retried, error  # noqa: PT017  # any other end is a bug
                await asyncio.sleep(0.05)


@BOTH
@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_backends_lose_and_double_nothing(url: str, fk: str, seed: int) -> None:
    """Backends are terminated at random, agents move between two collectors: all rows are there once."""
    dice = random.Random(seed)
    spools = [Spool(f"v{number}") for number in range(4)]
    async with collector(url, fk_check=fk) as one, collector(url, fk_check=fk) as two:
        addresses = [one.address, two.address]
        agents = [
            asyncio.create_task(deliver(addresses, spool, 40, random.Random(seed * 10 + number)))
            for number, spool in enumerate(spools)
        ]

        def kill() -> None:
            with connection(url) as conn:
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'sonde-collector' AND"
                    " datname = current_database() AND random() < 0.5"
                )

        while not all(agent.done() for agent in agents):
            await asyncio.to_thread(kill)
            await asyncio.sleep(dice.random() * 0.1)
        for agent in agents:
            agent.result()
        killed = one.metric("sonde_ingest_retries_total") + two.metric("sonde_ingest_retries_total")
    with connection(url) as conn:
        assert stored(conn) == expected(*spools), f"seed {seed}"
    assert killed, "no write was hit: this proved nothing"


# Where a trigger cuts the writer's own connection: each is a step of the transaction.
STEPS = {
    "before the first row": ("BEFORE INSERT", "performance_logs"),
    "after a COPY": ("AFTER INSERT", "sonde.endpoint_checks"),
    "at the batches": ("BEFORE INSERT", "sonde.batches"),
    "at the cursor": ("BEFORE UPDATE OF acked_seq", "sonde.streams"),
}


@pytest.mark.parametrize("step", STEPS)
async def test_a_connection_cut_inside_the_transaction(url: str, step: str) -> None:
    """Cut at a given step three times, the write succeeds at the fourth, with all of it or none each time."""
    moment, table = STEPS[step]
    with connection(url) as conn:
        # A sequence is not rolled back: it counts the tries.
        conn.execute("CREATE SEQUENCE tries")
        conn.execute(
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('tries') <= 3 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
            " RETURN NEW; END $$"
        )
        conn.execute(f"CREATE TRIGGER cut {moment} ON {table} FOR EACH ROW EXECUTE FUNCTION cut()")
        spool = Spool("v0")
        async with collector(url, writers=1) as running, Agent(running.address, spool) as agent:
            await agent.hello()
            await agent.send(spool.batch([performance("s1"), endpoint(), endpoint(), performance("s2")]))
            await agent.acked(4)
            assert running.metric("sonde_ingest_retries_total") == 3
        assert stored(conn) == expected(spool)


async def test_a_commit_whose_answer_is_lost(url: str) -> None:
    """The connection ends inside COMMIT: the write is made again and is there once."""
    with connection(url) as conn:
        conn.execute("CREATE SEQUENCE tries")
        # A deferred trigger runs inside COMMIT: the client never hears what became of it.
        conn.execute(
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF nextval('tries') <= 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
            " RETURN NULL; END $$"
        )
        conn.execute(
            "CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON sonde.dirty_marks DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION cut()"
        )
        spool = Spool("v0")
        async with collector(url, writers=1) as running, Agent(running.address, spool) as agent:
            await agent.hello()
            await agent.send(spool.batch([performance("s1"), performance("s2")]))
            await agent.acked(2)
        assert stored(conn) == expected(spool)


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Server]:
    """A server of its own that may be killed."""
    server = Server(durable=True, directory=tmp_path / "pg")
    server.start()
    try:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            migrate(conn)
            inventory(conn, vantages=["v0"], servers=SERVERS)
        yield server
    finally:
        server.stop()


async def test_a_database_that_dies_and_comes_back(durable: Server) -> None:
    """SIGKILL to PostgreSQL mid-way: the collector waits, says so, and goes on; every row is there once."""
    spool = Spool("v0")
    async with collector(durable.url(), writers=1) as running:
        agent = asyncio.create_task(deliver([running.address], spool, 150, random.Random(3)))
        await until(lambda: running.metric("sonde_ingest_batches_total") > 10)
        await asyncio.to_thread(durable.kill9)
        await asyncio.sleep(0.2)
        assert not agent.done()
        await asyncio.to_thread(durable.start)
        await agent
    with connection(durable.url()) as conn:
        assert stored(conn) == expected(spool)


async def test_a_batch_that_waits_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer says that it is stuck while a write waits too long, and no longer when it is done."""
    monkeypatch.setattr("sonde_collector.ingest.writer.STUCK_S", 0.2)
    spool = Spool("v0")
    async with collector(url) as running, Agent(running.address, spool) as agent:
        await agent.hello()
        assert running.writer.stuck() is None
        with psycopg.connect(url) as blocker:
            blocker.execute("LOCK TABLE sonde.streams IN ACCESS EXCLUSIVE MODE")
            await agent.send(spool.batch([performance("s1")]))
            await until(lambda: running.writer.stuck() is not None)
            assert "oldest queued batch" in str(running.writer.stuck())
        await agent.acked(1)
        await until(lambda: running.writer.stuck() is None)


@BOTH
async def test_writers_that_meet_on_the_same_parents_do_not_deadlock(url: str, fk: str) -> None:
    """Many streams naming the same servers, four writers, parents updated beside: no write fails."""
    spools = [Spool(f"v{number % 4}") for number in range(8)]
    async with collector(url, fk_check=fk, writers=4, max_batch_rows=100) as running:

        def touch(stop: asyncio.Event) -> None:
            with connection(url) as conn:
                while not stop.is_set():
                    conn.execute("UPDATE servers SET updated_at = now() WHERE id % 3 = 0")
                    conn.execute("UPDATE servers SET hostname = hostname WHERE id % 3 = 1")

        stop = asyncio.Event()
        touching = asyncio.create_task(asyncio.to_thread(touch, stop))
        async with contextlib.AsyncExitStack() as stack:
            agents = [await stack.enter_async_context(Agent(running.address, spool)) for spool in spools]
            for agent in agents:
                await agent.hello()
            dice = random.Random(4)
            for _ in range(30):
                for agent in agents:
                    names = dice.sample(SERVERS, 12)
                    await agent.send(agent.spool.batch([performance(name) for name in names]))
            for agent in agents:
                await agent.acked(agent.spool.last_seq)
        stop.set()
        await touching
        assert running.metric("sonde_ingest_retries_total") == 0
    with connection(url) as conn:
        assert stored(conn) == expected(*spools)
