"""Many agents at once through two collectors on one database: the provider never sees a session too many."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import psycopg
import pytest
from support.builders import inventory
from support.fleet import collector_toml
from support.leases import Agent, account
from support.programs import Program, free_port

pytestmark = pytest.mark.postgres

AGENTS, SESSIONS, SECONDS = 12, 5, 12.0
LINGER_S = 1.0


class Provider:
    """A provider's own count of an account's sessions: the truth that a lease must keep within limits."""

    def __init__(self) -> None:
        self.now, self.most, self.served = 0, 0, Counter[str]()
        self.keys: Counter[str] = Counter()

    async def session(self, vantage: str, key: str, seconds: float) -> None:
        """One session, from login to logout."""
        self.now += 1
        self.keys[key] += 1
        assert self.now <= SESSIONS, f"the provider sees {self.now} sessions"
        assert self.keys[key] == 1, f"key {key} is in use twice"
        self.most = max(self.most, self.now)
        self.served[vantage] += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.now -= 1
            self.keys[key] -= 1


@pytest.fixture
def collectors(database_url: str, tmp_path: Path) -> Iterator[list[str]]:
    """Two running `sonde-collector serve` on one database."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=[f"v{number}" for number in range(AGENTS)])
        account(conn, "acme", sessions=SESSIONS, linger_s=LINGER_S)
    programs, addresses = [], []
    try:
        for number in range(2):
            folder, port = tmp_path / str(number), free_port()
            folder.mkdir()
            (folder / "collector.toml").write_text(collector_toml(database_url, port))
            programs.append(
                Program(
                    "sonde-collector", "serve", "--config", str(folder / "collector.toml"), log=folder / "log"
                )
            )
            programs[-1].start()
            addresses.append(f"127.0.0.1:{port}")
        yield addresses
    finally:
        for program in programs:
            program.kill()


@pytest.fixture
async def channels(collectors: list[str]) -> AsyncIterator[list[grpc.aio.Channel]]:
    """A channel to each, once both answer."""
    made = [grpc.aio.insecure_channel(address) for address in collectors]
    for channel in made:
        await asyncio.wait_for(channel.channel_ready(), 30)
    yield made
    for channel in made:
        await channel.close()


async def work(number: int, channels: list[grpc.aio.Channel], provider: Provider, until: float) -> None:
    """An agent that always wants more, now by one collector, now by the other; two share each key."""
    rng = random.Random(number)
    agents = [Agent(channel, f"v{number}") for channel in channels]
    while time.monotonic() < until:
        agent = rng.choice(agents)
        key = f"k{number // 2}"
        reply = await agent.acquire(credential="acme", key=key)
        if not reply.lease:
            await asyncio.sleep(reply.retry_after_ms / 1000)
            continue
        running = asyncio.create_task(provider.session(agent.vantage, key, rng.uniform(0.05, 0.8)))
        if rng.random() < 0.5:
            assert await rng.choice(agents).renew(reply.lease)
        await running
        await rng.choice(agents).release(reply.lease, connected=True)


async def test_no_session_too_many(channels: list[grpc.aio.Channel], database_url: str) -> None:
    """Twelve agents that race for five sessions and six keys never have a sixth, and all get turns."""
    provider = Provider()
    until = time.monotonic() + SECONDS
    async with asyncio.TaskGroup() as group:
        for number in range(AGENTS):
            group.create_task(work(number, channels, provider, until))
    assert provider.most == SESSIONS
    assert len(provider.served) == AGENTS
    assert min(provider.served.values()) >= max(provider.served.values()) / 4
    with psycopg.connect(database_url) as conn:
        rows = conn.execute("SELECT count(*) FROM sonde.leases WHERE free_at > clock_timestamp()").fetchone()
    assert rows == (0,)


async def test_two_hundred_requests_at_the_same_moment(channels: list[grpc.aio.Channel]) -> None:
    """Of two hundred requests at once for five sessions both collectors together grant exactly five."""
    agents = [Agent(channels[number % 2], f"v{number % AGENTS}") for number in range(200)]
    replies = await asyncio.gather(*(agent.acquire(credential="acme") for agent in agents))
    assert sum(bool(reply.lease) for reply in replies) == SESSIONS
    assert len({reply.lease for reply in replies if reply.lease}) == SESSIONS
    assert all(reply.lease or reply.retry_after_ms for reply in replies)


async def test_an_agent_that_is_killed_lets_others_in_when_its_lease_ends(
    channels: list[grpc.aio.Channel], database_url: str
) -> None:
    """Sessions of agents that vanish are free after the lease and the account's linger, and not before."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        for number in range(SESSIONS):
            assert (await Agent(channels[0], f"v{number}").acquire(credential="acme")).lease
        other = Agent(channels[1], "v9")
        assert not (await other.acquire(credential="acme")).lease
        conn.execute(
            "UPDATE sonde.leases SET expires_at = clock_timestamp(),"
            " free_at = clock_timestamp() + make_interval(secs => %s)",
            (LINGER_S,),
        )
        began = time.monotonic()
        while not (reply := await other.acquire(credential="acme")).lease:
            assert time.monotonic() - began < 10
            await asyncio.sleep(reply.retry_after_ms / 1000)
        assert time.monotonic() - began >= LINGER_S - 0.1
