"""Leases over gRPC, granted by collectors that share one real database."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import psycopg
import pytest
from support.builders import inventory
from support.edges import Authority
from support.lease_collector import Running, age, serving
from support.leases import Agent, account

from sonde_collector.read.metrics import Metrics
from sonde_proto.v1 import control_pb2, control_pb2_grpc, results_pb2

pytestmark = pytest.mark.postgres

VANTAGES = tuple(f"v{number}" for number in range(12))
AUTH = results_pb2.FAILURE_AUTH


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A database with vantages and servers."""
    with psycopg.connect(database_url, autocommit=True) as made:
        inventory(made, vantages=("ams1", *VANTAGES), servers=("s1", "s2", "s3", "s4"))
        yield made


@pytest.fixture
async def collector(database_url: str, conn: psycopg.Connection) -> AsyncIterator[Running]:
    """A running collector."""
    assert conn
    async with serving(database_url) as running:
        yield running


async def test_a_session_goes_round(conn: psycopg.Connection, collector: Running) -> None:
    """A session that is in use is denied with words and a time, and granted once it was released."""
    account(conn, "acme")
    one, other = Agent(collector.channel, "v1"), Agent(collector.channel, "v2")
    first = await one.acquire(credential="acme", key="k1")
    assert (len(first.lease), first.ttl_ms, first.detail) == (36, 15_000, "")
    denied = await other.acquire(credential="acme", key="k2")
    assert denied.lease == ""
    assert denied.reason == results_pb2.MISS_REASON_NO_LEASE
    assert denied.detail == 'account "acme": its one session is in use'
    assert 0 < denied.retry_after_ms <= 1500
    await one.release(first.lease, connected=True)
    assert (await other.acquire(credential="acme", key="k2")).lease
    assert collector.metric("sonde_lease_requests_total", answer="granted") == 2
    assert collector.metric("sonde_lease_requests_total", answer="no_lease") == 1


@pytest.mark.parametrize("patience_ms", [None, 10_000, 59_000])
async def test_who_gives_up_stands_in_no_line(
    conn: psycopg.Connection, collector: Running, patience_ms: int | None
) -> None:
    """A vantage that will not wait until the session is free holds up nobody who comes when it is."""
    account(conn, "acme", linger_s=60)
    gone, first, second = (Agent(collector.channel, f"v{number}") for number in (1, 2, 3))
    assert (await gone.acquire(credential="acme")).lease
    age(conn, 16)  # it ended without a word, and the provider counts it for 59 s yet
    denied = await first.acquire(credential="acme", patience_ms=patience_ms)
    assert 58_000 < denied.retry_after_ms <= 59_000
    age(conn, 59.5)
    waits = patience_ms is None or patience_ms >= denied.retry_after_ms
    assert bool((await second.acquire(credential="acme")).lease) == (not waits)


async def test_a_target_and_a_key_are_for_one(conn: psycopg.Connection, collector: Running) -> None:
    """One throughput run against a target, and one use of a key; others are not held up."""
    account(conn, "acme", sessions=5)
    one, other = Agent(collector.channel, "v1"), Agent(collector.channel, "v2")
    assert (await one.acquire(credential="acme", key="k", target="s1")).lease
    assert "throughput" in (await other.acquire(target="s1")).detail
    assert "key" in (await other.acquire(credential="acme", key="k")).detail
    assert (await other.acquire(credential="acme", key="k2", target="s2")).lease


async def test_an_agent_that_is_gone_frees_its_lease(conn: psycopg.Connection, collector: Running) -> None:
    """Unrenewed, a lease ends after its time; the session lingers, and a renewal comes too late."""
    account(conn, "acme", linger_s=60)
    gone, other = Agent(collector.channel, "v1"), Agent(collector.channel, "v2")
    lease = (await gone.acquire(credential="acme", target="s1")).lease
    age(conn, 14)
    assert await gone.renew(lease) == 15_000
    age(conn, 14)
    assert await gone.renew(lease) == 15_000
    age(conn, 16)
    assert await gone.renew(lease) == 0
    assert (await other.acquire(target="s1")).lease
    denied = await other.acquire(credential="acme")
    assert 55_000 < denied.retry_after_ms <= 59_000
    age(conn, 59)
    assert (await other.acquire(credential="acme")).lease


@pytest.mark.parametrize(
    ("failure", "free"),
    [(results_pb2.FAILURE_NONE, True), (AUTH, True), (results_pb2.FAILURE_INTERNAL, False)],
)
async def test_a_run_that_broke_leaves_its_session_behind(
    conn: psycopg.Connection, collector: Running, failure: results_pb2.Failure.ValueType, *, free: bool
) -> None:
    """Where nobody told the provider that it is over, the session counts until the provider notices."""
    account(conn, "acme")
    agent = Agent(collector.channel)
    await agent.release((await agent.acquire(credential="acme")).lease, failure)
    assert bool((await agent.acquire(credential="acme")).lease) == free
    age(conn, 61)
    await agent.release("no lease at all")
    assert bool((await agent.acquire(credential="acme")).lease) == (not free)


async def test_a_session_counts_until_the_provider_has_dealt_with_its_goodbye(
    conn: psycopg.Connection, collector: Running
) -> None:
    """A run says how long that takes; never longer than the account's linger, and keys are free at once."""
    account(conn, "acme", sessions=2)
    account(conn, "terse", linger_s=0.0)
    agent = Agent(collector.channel)
    for _ in range(2):
        await agent.release((await agent.acquire(credential="acme", key="k")).lease, settle_ms=6000)
    denied = await agent.acquire(credential="acme")
    assert not denied.lease
    assert 4000 < denied.retry_after_ms <= 6000
    age(conn, 6)
    assert (await agent.acquire(credential="acme")).lease
    await agent.release((await agent.acquire(credential="terse")).lease, settle_ms=6000)
    assert (await agent.acquire(credential="terse")).lease


async def test_a_program_that_died_said_no_goodbye(conn: psycopg.Connection, collector: Running) -> None:
    """A VPN program that ends by itself in a tunnel that stood leaves a session; else there was none."""
    account(conn, "acme")
    agent = Agent(collector.channel)
    for connected, free in ((False, True), (True, False)):
        lease = (await agent.acquire(credential="acme")).lease
        await agent.release(lease, results_pb2.FAILURE_LOCAL, connected=connected)
        again = await agent.acquire(credential="acme")
        assert bool(again.lease) == free
        await agent.release(again.lease)


async def test_logins_a_minute(conn: psycopg.Connection, collector: Running) -> None:
    """An account that may log in twice a minute is denied the third, with the time when it may."""
    account(conn, "acme", sessions=9, logins_per_minute=2)
    agent = Agent(collector.channel)
    for _ in range(2):
        await agent.run("acme", "s1", connected=True)
        age(conn, 10)
    denied = await agent.acquire(credential="acme")
    assert denied.detail == 'account "acme" may log in 2 times a minute, and has'
    assert 40_000 < denied.retry_after_ms <= 45_000
    age(conn, 46)
    assert (await agent.acquire(credential="acme")).lease


async def test_a_name_that_no_account_has(collector: Running) -> None:
    """A credential that the fleet does not know is denied in words; so is one that it knows no longer."""
    denied = await Agent(collector.channel).acquire(credential="nobody")
    assert denied.reason == results_pb2.MISS_REASON_NO_LEASE
    assert 'no account of the fleet has the name "nobody"' in denied.detail
    assert denied.retry_after_ms == 60_000


async def test_three_servers_refuse_an_account(conn: psycopg.Connection, collector: Running) -> None:
    """Failures on three servers end an account's runs, with one event, until the account changes."""
    account(conn, "acme", sessions=5)
    agent = Agent(collector.channel)
    # A run that goes on meanwhile, let in before, does not clear what follows.
    long = await agent.acquire(server="s4", credential="acme")
    for server in ("s1", "s1", "s2"):
        assert (await agent.run("acme", server, connected=False)).lease
    flying = await agent.acquire(server="s4", credential="acme")
    await agent.run("acme", "s3", connected=False)
    await agent.release(long.lease, connected=True)
    await agent.release(flying.lease, AUTH)

    denied = await agent.acquire(credential="acme")
    assert denied.reason == results_pb2.MISS_REASON_CREDENTIAL
    assert "on s1, s2, s3: see to the account" in denied.detail
    assert "`sonde-collector credentials resume acme`" in denied.detail
    events = conn.execute("SELECT kind, subject, data->'servers' FROM sonde.events").fetchall()
    assert events == [("credential_refused", "acme", ["s1", "s2", "s3"])]

    conn.execute("UPDATE sonde.accounts SET sessions = 5")
    assert not (await agent.acquire(credential="acme")).lease
    conn.execute("UPDATE sonde.accounts SET sessions = 6")
    assert (await agent.run("acme", "s1", connected=False)).lease
    assert (await agent.run("acme", "s2", connected=False)).lease
    assert (await agent.run("acme", "s3", connected=True)).lease
    assert (await agent.run("acme", "s4", connected=False)).lease
    assert [row[0] for row in conn.execute("SELECT kind FROM sonde.events ORDER BY id")] == [
        "credential_refused",
        "credential_resumed",
    ]


async def test_who_may_ask(conn: psycopg.Connection, collector: Running) -> None:
    """An unknown vantage, and words that can't be meant, are refused with what is wrong."""
    account(conn, "acme")
    with pytest.raises(grpc.aio.AioRpcError, match='vantage "nowhere" is not in the inventory'):
        await Agent(collector.channel, "nowhere").acquire(credential="acme")
    agent = Agent(collector.channel)
    with pytest.raises(grpc.aio.AioRpcError, match="a lease is for 1 to 8 things, not 0"):
        await agent.acquire()
    with pytest.raises(grpc.aio.AioRpcError, match="1 to 512 characters and no NUL"):
        await agent.acquire(credential="a\0b")
    stub = control_pb2_grpc.ControlStub(collector.channel)
    with pytest.raises(grpc.aio.AioRpcError, match="neither target, credential nor key"):
        await stub.Acquire(
            control_pb2.AcquireRequest(
                vantage="ams1", instance=os.urandom(16), server="s1", wants=[control_pb2.Want()]
            )
        )
    assert await agent.renew("00000000-0000-0000-0000-000000000000") == 0


async def test_a_frozen_collector_holds_up_nobody_for_long(
    database_url: str, conn: psycopg.Connection, collector: Running
) -> None:
    """While a transaction about an account hangs, others hear UNAVAILABLE in seconds; they go on after it."""
    account(conn, "acme")
    agent = Agent(collector.channel)
    with psycopg.connect(database_url) as frozen:
        frozen.execute("SELECT pg_advisory_xact_lock(hashtextextended('credential/acme', 5))")
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await asyncio.wait_for(agent.acquire(credential="acme"), 10)
        assert (await agent.acquire(target="s1")).lease
    assert (await agent.acquire(credential="acme")).lease


async def test_a_grant_that_nobody_hears_is_given_back(
    conn: psycopg.Connection, database_url: str, collector: Running
) -> None:
    """An agent that stopped waiting for its answer can't know its lease: the session is free at once."""
    account(conn, "acme")
    one, other = Agent(collector.channel, "v1"), Agent(collector.channel, "v2")
    with psycopg.connect(database_url) as slow:
        slow.execute("SELECT pg_advisory_xact_lock(hashtextextended('credential/acme', 5))")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.acquire(credential="acme"), 1)
    deadline = time.monotonic() + 10
    while not (await other.acquire(credential="acme")).lease:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert conn.execute("SELECT count(*) FROM sonde.leases").fetchone() == (2,)


async def test_what_is_counted(conn: psycopg.Connection, collector: Running) -> None:
    """Answers, ends and refused accounts are metrics."""
    account(conn, "acme")
    account(conn, "late", state="refused")
    agent = Agent(collector.channel)
    assert not (await agent.acquire(credential="late")).lease
    await agent.run("acme", "s1", connected=True)
    assert await agent.renew("no lease") == 0
    assert collector.metric("sonde_lease_requests_total", answer="credential") == 1
    assert collector.metric("sonde_leases_ended_total", how="released") == 1
    assert collector.metric("sonde_leases_ended_total", how="late") == 1
    text = (await Metrics(collector.database).text()).decode()
    assert 'sonde_credentials{state="ok"} 1.0' in text
    assert 'sonde_credentials{state="refused"} 1.0' in text


async def test_a_certificate_of_another_vantage(
    conn: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    """Over TLS a vantage can neither ask in another's name nor renew or end another's lease."""
    account(conn, "acme")
    authority = Authority(tmp_path)

    def pair(name: str) -> tuple[bytes, bytes]:
        cert, key = authority.leaf(name)
        return key.read_bytes(), cert.read_bytes()

    root = authority.file.read_bytes()
    server = grpc.ssl_server_credentials([pair("127.0.0.1")], root, require_client_auth=True)
    async with serving(database_url, server) as running, contextlib.AsyncExitStack() as stack:
        own, thief = [
            await stack.enter_async_context(
                grpc.aio.secure_channel(running.address, grpc.ssl_channel_credentials(root, *pair(name)))
            )
            for name in ("v1", "v2")
        ]
        lease = (await Agent(own, "v1").acquire(credential="acme")).lease
        assert lease
        for call in (Agent(thief, "v2").renew(lease), Agent(thief, "v2").release(lease)):
            with pytest.raises(grpc.aio.AioRpcError, match="PERMISSION_DENIED"):
                await call
        with pytest.raises(grpc.aio.AioRpcError, match='certificate is for "v2", not for vantage "v1"'):
            await Agent(thief, "v1").acquire(credential="acme")
        assert await Agent(own, "v1").renew(lease) == 15_000
