"""A collector that restarts under a fleet: the agents' own uplink and control, sixty in one process."""

import asyncio
import datetime as dt
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from support.books import events, without_traceback
from support.builders import performance
from support.fleet import fleet_toml
from support.identity import House
from support.postgres import Server

from sonde_agent.control.cache import AssignmentCache
from sonde_agent.control.client import ControlClient
from sonde_agent.spool import Spool
from sonde_agent.uplink.backoff import Backoff
from sonde_agent.uplink.channel import Channels, TlsFiles
from sonde_agent.uplink.client import Uplink
from sonde_agent.uplink.clock_exchange import ClockExchange
from sonde_agent.uplink.session import Identity
from sonde_collector.pki import authority as pki
from sonde_proto.v1 import control_pb2

pytestmark = [pytest.mark.postgres, pytest.mark.quiet]  # beside others a collector takes what comes in bursts
AGENTS = 60
WINDOW_S = 4.0  # in which those who lost the collector come again, as if they had been there for minutes
WITHIN_S = 60.0


class Agent:
    """One agent without checks: uplink and control over one mTLS connection, a spool on disk."""

    def __init__(self, house: House, folder: Path, code: str) -> None:
        folder.mkdir()
        key = pki.new_key()
        certificate = house.authority.agent(key.public_key(), code, dt.timedelta(days=1))
        files = TlsFiles(house.pki.ca_cert, folder / "cert.pem", folder / "key.pem")
        files.cert.write_bytes(pki.pem(certificate))
        files.key.write_bytes(pki.key_pem(key))
        channels = Channels(f"127.0.0.1:{house.collectors[0].grpc}", tls=files)
        identity, clock = Identity(code, "0.1.0", os.urandom(16)), ClockExchange()
        self.spool = Spool.open(folder / "spool", max_bytes=32 << 20, max_age_s=1e9, history_s=1e9)
        self.uplink = Uplink(self.spool, channels, identity, clock=clock, backoff=_backoff())
        self.control = ControlClient(
            channels,
            identity,
            AssignmentCache(folder / "assignment"),
            describe=lambda: control_pb2.AgentState(ready=True),
            on_assignment=lambda _: None,
            clock=clock,
            backoff=_backoff(),
        )
        self.made = 0

    async def run(self) -> None:
        """Be it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.uplink.run())
                group.create_task(self.control.run())
        finally:
            self.spool.close()

    def measure(self) -> None:
        """Append some results."""
        self.spool.append([performance(f"s{n}") for n in range(1, 6)])
        self.made += 5

    @property
    def there(self) -> bool:
        """Whether both calls stand."""
        return self.uplink.state.connected and self.control.connected

    @property
    def waiting(self) -> int:
        """Results that are not acked."""
        return self.spool.stats().rows


def _backoff() -> Backoff:
    return Backoff(base_s=WINDOW_S, cap_s=WINDOW_S)


@pytest.fixture
def house(postgres_server: Server, tmp_path: Path) -> Iterator[House]:
    """A collector with an authority, and a vantage for each agent."""
    with House(tmp_path / "house", postgres_server) as house:
        each = "\n".join(
            f'[[vantage]]\ncode = "v{n}"\ncity = "Amsterdam"\ncountry = "NL"\n' for n in range(AGENTS)
        )
        file = house.folder / "fleet.toml"
        file.write_text(fleet_toml() + each)
        house.collectors[0].command("apply", str(file))
        yield house


async def _delivered(agents: list[Agent], what: str) -> None:
    """Returns when all agents are there and nothing of them waits."""
    deadline = time.monotonic() + WITHIN_S
    while not all(agent.there and not agent.waiting for agent in agents):
        away = [f"{a.uplink.state.last_error} | {a.control.last_error}" for a in agents if not a.there]
        assert time.monotonic() < deadline, f"{what}: {len(away)} away: {Counter(away).most_common(3)}"
        await asyncio.sleep(0.1)


def _came_in_one_second(house: House) -> int:
    """How many connected in the busiest second."""
    (most,) = house.rows(
        "SELECT count(*) FROM sonde.streams GROUP BY date_trunc('second', connected_at)"
        " ORDER BY 1 DESC LIMIT 1"
    )[0]
    return int(most)


async def test_a_fleet_survives_restarts_without_a_stampede(house: House, tmp_path: Path) -> None:
    """Stopped in order and killed, a collector gets its agents back bit by bit, and each result once."""
    collector = house.collectors[0]
    agents = [Agent(house, tmp_path / f"v{n}", f"v{n}") for n in range(AGENTS)]
    async with AsyncExitStack() as stack:
        for agent in agents:
            task = asyncio.create_task(agent.run())
            stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
            stack.callback(task.cancel)
        for end in (collector.program.stop, collector.program.kill):
            await _delivered(agents, "before the end")
            before = len(events(collector.program, "agent_connected"))
            for agent in agents:
                await asyncio.to_thread(agent.measure)
            await asyncio.to_thread(end)
            for agent in agents:
                await asyncio.to_thread(agent.measure)
            await asyncio.to_thread(house.start, collector)
            await _delivered(agents, f"after {end.__name__}")
            came = events(collector.program, "agent_connected")[before:]
            lines = [event for event in came if "vantage" in event]
            assert len(lines) + sum(event.get("more", 0) for event in came) >= AGENTS
            assert _came_in_one_second(house) <= AGENTS / 2
    assert house.rows("SELECT count(*), count(DISTINCT (stream_id, seq)) FROM performance_logs") == [
        (sum(agent.made for agent in agents),) * 2
    ]
    without_traceback([collector.program])
