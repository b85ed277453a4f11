"""Keeps Watch open: says how the agent is, takes the assignment, keeps the last good one on disk."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import grpc
import structlog

from sonde_agent.control.cache import AssignmentCache
from sonde_agent.uplink import calls
from sonde_agent.uplink.backoff import Backoff, Interrupted, Renewed, interrupted
from sonde_agent.uplink.channel import Channels
from sonde_agent.uplink.client import wall_us
from sonde_agent.uplink.clock_exchange import ClockExchange
from sonde_agent.uplink.send_errors import Action
from sonde_agent.uplink.session import Identity
from sonde_proto.v1 import control_pb2

log = structlog.get_logger()

STATE_EVERY_S = 30.0
_ANSWER_S, _NEW_S = 0.05, 1.0
"""After an answer, and after one with a new assignment, nothing more is read for so long: a collector that
sends without end is not to keep this agent busy."""
_SILENCE_S = 3 * STATE_EVERY_S  # each state is answered; three without an answer: connect anew


def is_newer(current: control_pb2.Assignment | None, offered: control_pb2.Assignment) -> bool:
    """Whether an offered assignment replaces the one in force. **Pure.**

    A lower revision counts only from another database: that one was rebuilt. From the same database it is a
    late answer, or a collector that reads an old replica.
    """
    if offered.unchanged or not offered.revision:
        return False
    if current is None or offered.database_id != current.database_id:
        return True
    return offered.revision > current.revision


class ControlClient:
    """The agent's side of Control.

    Attributes:
        current: the assignment in force; None before the first.
        connected: whether the collector answered on the call that stands.
        last_error: why the last call ended; empty once a new one stands.
    """

    def __init__(
        self,
        channels: Channels,
        identity: Identity,
        cache: AssignmentCache,
        *,
        describe: Callable[[], control_pb2.AgentState],
        on_assignment: Callable[[control_pb2.Assignment], None],
        on_runs: Callable[[Sequence[control_pb2.RunRequest]], None] = lambda _: None,
        clock: ClockExchange,
        backoff: Backoff | None = None,
        state_every_s: float = STATE_EVERY_S,
        wall_us: Callable[[], int] = wall_us,
    ) -> None:
        """Wire it up; nothing is read or connected.

        Args:
            channels: the way to the collector, shared with the uplink.
            identity: vantage, version and instance.
            cache: where the last good assignment is kept.
            describe: the state as the agent knows it; identity, revision and clock are filled in here.
            on_assignment: called with each assignment that comes in force, the cached one included.
            on_runs: called with each answer's requests to run something now, none included.
            clock: takes the exchange of each answer in.
            backoff: pauses between tries.
            state_every_s: between two states.
            wall_us: UTC, microseconds.
        """
        self.current: control_pb2.Assignment | None = None
        self.connected = False
        self.last_error = ""
        self._channels = channels
        self._identity = identity
        self._cache = cache
        self._describe = describe
        self._on_assignment = on_assignment
        self._on_runs = on_runs
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._every_s = state_every_s
        self._wall_us = wall_us
        self._changed = asyncio.Event()
        self._stale_told = 0
        self._since_s = 0.0

    async def run(self) -> None:
        """Begin with the cached assignment, then watch until cancelled."""
        cached = await asyncio.to_thread(self._cache.load)
        if cached is not None:
            self.current = cached
            self._on_assignment(cached)
        try:
            await self._backoff.forever(self._connection)
        finally:
            self.connected = False

    def changed(self) -> None:
        """Say how the agent is at once, not only at the next half minute."""
        self._changed.set()

    async def _connection(self) -> NoReturn:
        answered = False
        try:
            async with self._channels.use(lasting=True) as channel:
                call = calls.watch(channel)
                try:
                    await self._watch(call)
                finally:
                    answered = self.connected
                    call.cancel()
        except Renewed:
            raise
        except Interrupted as error:
            error.progressed = answered
            error.stood_s = time.monotonic() - self._since_s if answered else 0.0
            if str(error) != self.last_error:
                log.warning("control_interrupted", error=str(error), action=error.action.value)
            self.connected, self.last_error = False, str(error)
            raise

    async def _watch(self, call: calls.Watch) -> NoReturn:
        speaking = asyncio.create_task(self._speak(call))
        listening = asyncio.create_task(self._listen(call))
        try:
            await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
            for task in (listening, speaking):
                if task.done():
                    task.result()
        finally:
            for task in (speaking, listening):
                task.cancel()
            await asyncio.gather(speaking, listening, return_exceptions=True)
        raise AssertionError("neither task ends without an error")

    async def _speak(self, call: calls.Watch) -> NoReturn:
        while True:
            self._changed.clear()
            try:
                await call.write(self._state())
            except (grpc.RpcError, asyncio.InvalidStateError):
                raise interrupted(await call.code(), await call.details()) from None
            try:
                async with asyncio.timeout(self._every_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _listen(self, call: calls.Watch) -> NoReturn:
        while True:
            try:
                async with asyncio.timeout(max(_SILENCE_S, 3 * self._every_s)):
                    answer = await call.read()
            except TimeoutError:
                raise Interrupted(Action.RETRY, "the collector answers no more") from None
            except grpc.RpcError:
                raise interrupted(await call.code(), await call.details()) from None
            if not isinstance(answer, bytes):  # grpc.aio.EOF
                raise interrupted(await call.code(), await call.details())
            now_us = self._wall_us()
            assignment = await asyncio.to_thread(calls.read_assignment, answer)
            if not self.connected:
                self._since_s = time.monotonic()
                log.info("control_connected")
            self.connected, self.last_error = True, ""
            is_new = await self._take(assignment, now_us)
            self._on_runs(assignment.runs)
            await asyncio.sleep(_NEW_S if is_new else _ANSWER_S)

    async def _take(self, answer: control_pb2.Assignment, now_us: int) -> bool:
        """Take an answer that came at `now_us`; tell whether it brought a new assignment."""
        if answer.HasField("clock"):
            exchange = answer.clock
            self._clock.add(exchange.agent_sent_at_us, exchange.received_at_us, exchange.sent_at_us, now_us)
        if not is_newer(self.current, answer):
            if (
                self.current
                and answer.revision < self.current.revision
                and answer.revision != self._stale_told
            ):
                self._stale_told = answer.revision
                log.warning("assignment_stale", revision=answer.revision, in_force=self.current.revision)
            return False
        assignment = control_pb2.Assignment()
        assignment.CopyFrom(answer)
        assignment.ClearField("clock")
        assignment.ClearField("runs")
        await asyncio.to_thread(self._cache.store, assignment)
        self.current = assignment
        log.info("assignment", revision=assignment.revision, tasks=len(assignment.tasks))
        self._on_assignment(assignment)
        self._changed.set()
        return True

    def _state(self) -> control_pb2.AgentState:
        state = self._describe()
        state.vantage = self._identity.vantage
        state.agent_version = self._identity.agent_version
        state.instance = self._identity.instance
        if self.current:
            state.revision = self.current.revision
            state.database_id = self.current.database_id
        offset = self._clock.best()
        if offset:
            state.clock_offset_us = offset.offset_us
        state.sent_at_us = self._wall_us()
        return state
