"""Control: each agent says how it is, and hears its tasks when they are not those it has."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

import grpc
import structlog
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry

from sonde_collector.config import Limits
from sonde_collector.control.directory import Directory, Entry
from sonde_collector.control.lease_rpc import LeaseCalls, unknown_vantage
from sonde_collector.control.reports import Reports
from sonde_collector.control.run_requests import RunRequests
from sonde_collector.db.pool import Database
from sonde_collector.few_lines import FewLines
from sonde_collector.identity import Peer, Peers
from sonde_collector.limits.vantages import Vantages
from sonde_proto.v1 import control_pb2

_BACKLOG = 16  # states of one agent that wait for an answer; beyond, the oldest need none
_UNREADABLE = "a message that is no AgentState: is this an agent, and of a version that this collector knows?"
_LAST_REVISION = 2**62  # of what can still be overtaken in a BIGINT
_few = FewLines(structlog.get_logger())

Context = grpc.aio.ServicerContext[control_pb2.AgentState, control_pb2.Assignment]


class ControlService(LeaseCalls):
    """Serves Watch from the directory; writes what agents say through `reports` and `runs`."""

    def __init__(
        self,
        database: Database,
        directory: Directory,
        reports: Reports,
        registry: CollectorRegistry,
        peers: Peers | None = None,
        *,
        runs: RunRequests,
        vantages: Vantages | None = None,
    ) -> None:
        peers = peers or Peers()
        super().__init__(database, directory, registry, peers, vantages or Vantages(Limits()))
        peers.on_look.append(self._wake_refused)
        self._watches: set[_Watch] = set()
        self._reports = reports
        self._runs = runs
        self._stopping = False

    def stop(self) -> None:
        """End every Watch: agents come again, here or elsewhere."""
        self._stopping = True
        self._directory.wake_all()

    async def Watch(  # noqa: N802 -- gRPC's name
        self, request_iterator: AsyncIterator[control_pb2.AgentState], context: Context
    ) -> AsyncIterator[control_pb2.Assignment]:
        """Answer each state with the clock, and with the tasks where they changed."""
        try:
            first = await anext(aiter(request_iterator), None)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
        if first is None:
            return
        received = _now_us()
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the collector is stopping")
        peer = await self._identify_peer(first.vantage, context)
        entry = await self._directory.find(first.vantage)
        if entry is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, unknown_vantage(first.vantage))
            return
        with self._directory.watching(first.vantage) as wake:
            watch = _Watch(self, context, peer, wake)
            watch.hear(entry, first, received)
            self._watches.add(watch)
            listening = asyncio.create_task(watch.listen(request_iterator))
            try:
                async for assignment in watch.answers():
                    yield assignment
            finally:
                listening.cancel()
                self._watches.discard(watch)

    def _wake_refused(self) -> None:
        """Have those Watches end whose agents may not speak any more."""
        for watch in self._watches:
            if self.peers.refusal(watch.peer):
                watch.wake.set()

    @property
    def peers(self) -> Peers:
        """Who judges whom agents may speak for."""
        return self._peers

    @property
    def stopping(self) -> bool:
        """Whether every Watch must end."""
        return self._stopping

    @property
    def directory(self) -> Directory:
        """What is assigned."""
        return self._directory

    @property
    def reports(self) -> Reports:
        """Where states go."""
        return self._reports

    @property
    def runs(self) -> RunRequests:
        """What operators ask of agents now."""
        return self._runs


class _Watch:
    """One agent's connection: one task hears, one answers."""

    def __init__(self, service: ControlService, context: Context, peer: Peer, wake: asyncio.Event) -> None:
        self.peer = peer
        self.wake = wake
        self._service = service
        self._context = context
        self._vantage = peer.vantage
        self._heard: deque[tuple[control_pb2.AgentState, int]] = deque(maxlen=_BACKLOG)
        self._ended = False
        self._unreadable = False
        self._has: tuple[bytes, int] = (b"", 0)

    def hear(self, entry: Entry, state: control_pb2.AgentState, received_us: int) -> None:
        """Take in one state."""
        self._service.reports.take(entry.probe_id, state, received_us)
        self._service.runs.take(self._vantage, state.runs)
        self._heard.append((state, received_us))
        self.wake.set()

    async def listen(self, states: AsyncIterator[control_pb2.AgentState]) -> None:
        """Take in states until the agent closes."""
        try:
            async for state in states:
                received = _now_us()
                entry = self._service.directory.known(self._vantage)
                if entry is not None and state.vantage == self._vantage:
                    self.hear(entry, state, received)
        except DecodeError:
            self._unreadable = True
        finally:
            self._ended = True
            self.wake.set()

    async def answers(self) -> AsyncIterator[control_pb2.Assignment]:
        """Give answers until the agent or the collector ends it."""
        while not self._ended or self._heard:
            await self.wake.wait()
            self.wake.clear()
            if self._service.stopping:
                await self._context.abort(grpc.StatusCode.UNAVAILABLE, "the collector is stopping")
            if refused := self._service.peers.refusal(self.peer):
                await self._context.abort(refused.status, str(refused))
            entry = self._service.directory.known(self._vantage)
            if entry is None:
                await self._context.abort(grpc.StatusCode.NOT_FOUND, unknown_vantage(self._vantage))
                return
            if not self._heard and (assignment := await self._answer(entry, None)):
                yield assignment
            while self._heard:
                if assignment := await self._answer(entry, self._heard.popleft()):
                    yield assignment
        if self._unreadable:
            await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)

    async def _answer(
        self, entry: Entry, heard: tuple[control_pb2.AgentState, int] | None
    ) -> control_pb2.Assignment | None:
        """Give what to send: tasks where the agent lacks them, else the clock for a word that was heard.

        Each names what operators ask for now.
        """
        directory, runs = self._service.directory, self._service.runs.named(self._vantage)
        if heard is not None:
            self._has = (heard[0].database_id, heard[0].revision)
            if self._has[0] == directory.database_id and entry.revision < self._has[1] <= _LAST_REVISION:
                entry = await directory.overtake(self._vantage, entry, self._has[1])
        if self._has == (directory.database_id, entry.revision):
            if heard is None and not runs:
                return None
            assignment = control_pb2.Assignment(
                revision=entry.revision, database_id=directory.database_id, unchanged=True
            )
        else:
            assignment = await directory.assignment(entry)
            _few.info(
                "assigned", vantage=self._vantage, revision=assignment.revision, tasks=len(assignment.tasks)
            )
            self._has = (assignment.database_id, assignment.revision)
        assignment.runs.extend(runs)
        if heard is not None:
            assignment.clock.agent_sent_at_us = heard[0].sent_at_us
            assignment.clock.received_at_us = heard[1]
            assignment.clock.sent_at_us = _now_us()
        return assignment


def _now_us() -> int:
    return time.time_ns() // 1000
