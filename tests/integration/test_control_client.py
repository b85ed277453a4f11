"""The control client over real gRPC: assignments, states, the cache, and a collector that comes and goes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from support.scripted_collector import until

from sonde_agent.control.cache import AssignmentCache
from sonde_agent.control.client import ControlClient
from sonde_agent.uplink.backoff import Backoff
from sonde_agent.uplink.channel import Channels
from sonde_agent.uplink.clock_exchange import ClockExchange
from sonde_agent.uplink.session import Identity
from sonde_proto.v1 import control_pb2, control_pb2_grpc

A, B = b"a" * 16, b"b" * 16


class ScriptedControl(control_pb2_grpc.ControlServicer):
    """Answers each state with the clock exchange and the assignment to be had."""

    def __init__(self) -> None:
        self.port = 0
        self.offer = control_pb2.Assignment(revision=1, database_id=A, tasks=[control_pb2.Task(key="one")])
        self.states: list[control_pb2.AgentState] = []
        self._server: grpc.aio.Server | None = None

    async def Watch(  # noqa: N802  # gRPC names it
        self, request_iterator: AsyncIterator[control_pb2.AgentState], _context: Any
    ) -> AsyncIterator[control_pb2.Assignment]:
        """Answer each state."""
        async for state in request_iterator:
            self.states.append(state)
            answer = control_pb2.Assignment()
            answer.CopyFrom(self.offer)
            answer.unchanged = (state.revision, state.database_id) == (answer.revision, answer.database_id)
            answer.clock.agent_sent_at_us = state.sent_at_us
            answer.clock.received_at_us = answer.clock.sent_at_us = state.sent_at_us + 5_000_000
            yield answer

    async def start(self) -> None:
        """Listen on loopback, on the port of the last start."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        control_pb2_grpc.add_ControlServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Stop at once."""
        if self._server:
            await self._server.stop(grace=None)


@asynccontextmanager
async def scripted_control() -> AsyncIterator[ScriptedControl]:
    """A running control server."""
    control = ScriptedControl()
    await control.start()
    try:
        yield control
    finally:
        await control.stop()


@asynccontextmanager
async def client(port: int, state_dir: Path, taken: list[int]) -> AsyncIterator[ControlClient]:
    """A running client; `taken` gets the revisions that come in force."""
    running = ControlClient(
        Channels(f"127.0.0.1:{port}"),
        Identity("ams1", "0.1.0", b"i" * 16),
        AssignmentCache(state_dir / "assignment"),
        describe=lambda: control_pb2.AgentState(ready=True, spool_rows=7),
        on_assignment=lambda assignment: taken.append(assignment.revision),
        clock=ClockExchange(),
        backoff=Backoff(base_s=0.02, cap_s=0.1, patience_s=0.2),
        state_every_s=0.1,
    )
    task = asyncio.create_task(running.run())
    try:
        yield running
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_assignments_come_in_force_once(tmp_path: Path) -> None:
    """Each revision is given on once; the state then names it, with the clock's offset."""
    taken: list[int] = []
    async with scripted_control() as control, client(control.port, tmp_path, taken) as running:
        await until(lambda: taken == [1])
        await until(lambda: control.states[-1].revision == 1)
        control.offer.revision = 2
        await until(lambda: taken == [1, 2])
        await until(lambda: control.states[-1].HasField("clock_offset_us"))
        last = control.states[-1]
        assert (last.vantage, last.agent_version, last.ready, last.spool_rows) == ("ams1", "0.1.0", True, 7)
        assert abs(last.clock_offset_us - 5_000_000) < 1_000_000
        assert running.connected


async def test_cached_assignment_serves_without_a_collector(tmp_path: Path) -> None:
    """A restarted agent measures what it was last told, with nobody to ask."""
    taken: list[int] = []
    async with scripted_control() as control, client(control.port, tmp_path, taken):
        await until(lambda: taken == [1])
    again: list[int] = []
    async with client(9, tmp_path, again) as running:
        await until(lambda: again == [1])
        await until(lambda: bool(running.last_error))
        assert not running.connected


async def test_rebuilt_database_begins_at_a_lower_revision(tmp_path: Path) -> None:
    """A lower revision is taken from another database, and not from the same."""
    taken: list[int] = []
    async with scripted_control() as control, client(control.port, tmp_path, taken):
        control.offer.revision = 5
        await until(lambda: taken[-1:] == [5])
        control.offer.revision = 4
        seen = len(control.states)
        await until(lambda: len(control.states) > seen + 3)
        assert taken[-1] == 5
        control.offer.database_id = B
        await until(lambda: taken[-1] == 4)


async def test_collector_restarts(tmp_path: Path) -> None:
    """The client comes back by itself and takes what changed meanwhile."""
    taken: list[int] = []
    async with scripted_control() as control, client(control.port, tmp_path, taken) as running:
        await until(lambda: taken == [1])
        await control.stop()
        await until(lambda: not running.connected)
        control.offer.revision = 2
        await control.start()
        await until(lambda: taken == [1, 2])


async def test_a_change_is_told_at_once(tmp_path: Path) -> None:
    """The next state does not wait for its turn when the agent has news."""
    async with scripted_control() as control, client(control.port, tmp_path, []) as running:
        await until(lambda: len(control.states) > 2)
        running._every_s = 60.0
        await asyncio.sleep(0.2)
        seen = len(control.states)
        running.changed()
        await until(lambda: len(control.states) == seen + 1, within_s=2)
