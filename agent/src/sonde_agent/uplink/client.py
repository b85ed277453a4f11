"""The uplink: serves the spool's streams to the collector, for ever."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import grpc
import structlog

from sonde_agent.spool import Diverged, Spool, SpoolError, StreamView
from sonde_agent.uplink import calls
from sonde_agent.uplink.backoff import Backoff, Interrupted, Renewed
from sonde_agent.uplink.channel import Channels
from sonde_agent.uplink.clock_exchange import ClockExchange
from sonde_agent.uplink.narrowing import Narrowing, Sent
from sonde_agent.uplink.send_errors import Action
from sonde_agent.uplink.session import Identity, Session

log = structlog.get_logger()

LIMIT_ROWS = 1000
WINDOW = 4


@dataclass(slots=True)
class UplinkState:
    """How the uplink is, for metrics and people.

    Attributes:
        connected: a hello was answered, and the call stands.
        last_error: why the last call ended, in words; empty once a new one stands.
        action: what is done about it.
        acks: acks that brought something new, since the start.
    """

    connected: bool = False
    last_error: str = ""
    action: Action | None = None
    acks: int = 0


def wall_us() -> int:
    """UTC, microseconds."""
    return time.time_ns() // 1000


class Uplink:
    """Sends what the spool holds, and marks what the collector acked; deletes nothing on any other sign."""

    def __init__(
        self,
        spool: Spool,
        channels: Channels,
        identity: Identity,
        *,
        clock: ClockExchange,
        backoff: Backoff | None = None,
        window: int = WINDOW,
        wall_us: Callable[[], int] = wall_us,
    ) -> None:
        self.state = UplinkState()
        self._spool = spool
        self._channels = channels
        self._identity = identity
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._wall_us = wall_us
        self._narrowing = Narrowing(LIMIT_ROWS, window)
        self._stir = asyncio.Event()
        self._since_s = 0.0

    async def run(self) -> None:
        """Serve until cancelled. Cancelling marks nothing and does not wait for the collector."""
        loop = asyncio.get_running_loop()
        self._spool.on_append = lambda: loop.call_soon_threadsafe(self._stir.set)  # type: ignore[assignment]
        try:
            await self._backoff.forever(self._connection)
        finally:
            self._spool.on_append = lambda: None
            self.state.connected = False

    async def _connection(self) -> NoReturn:
        acks = self.state.acks
        try:
            async with self._channels.use(lasting=True) as channel:
                while True:
                    for stream in await asyncio.to_thread(self._spool.streams):
                        await self._serve(channel, stream)
        except Renewed:
            log.info("uplink_connects_anew", why="a new certificate is in use")
            raise
        except Interrupted as error:
            error.progressed = error.progressed or self.state.acks > acks
            self._note(error)
            raise
        except SpoolError as error:
            action = Action.STOP if isinstance(error, Diverged) else Action.RETRY
            failure = Interrupted(action, str(error), progressed=self.state.acks > acks)
            self._note(failure)
            raise failure from error

    async def _serve(self, channel: grpc.aio.Channel, stream: StreamView) -> None:
        call = calls.stream(channel)
        session = Session(
            call=call,
            spool=self._spool,
            stream=stream,
            identity=self._identity,
            clock=self._clock,
            narrowing=self._narrowing,
            stir=self._stir,
            wall_us=self._wall_us,
            on_cursor=self._stands,
            on_progress=self._progress,
        )
        try:
            await session.run()
        except Interrupted as error:
            if error.action is Action.STOP:
                await asyncio.to_thread(self._spool.refuse, stream, str(error))
            if error.action is Action.QUARANTINE:
                raise await self._search(stream, list(session.under_way), error) from error
            raise
        finally:
            call.cancel()

    async def _search(self, stream: StreamView, under_way: list[Sent], error: Interrupted) -> Interrupted:
        if not any(sent.rows for sent in under_way):
            # A hello or gaps alone: there is no result to blame.
            return Interrupted(Action.WAIT, str(error))
        poison = self._narrowing.refused(under_way)
        if poison is not None:
            await asyncio.to_thread(self._spool.quarantine, stream, poison, str(error))
        return Interrupted(Action.QUARANTINE, str(error), progressed=True)

    def _progress(self) -> None:
        self.state.acks += 1

    def _stands(self) -> None:
        if not self.state.connected:
            self._since_s = time.monotonic()
            log.info("uplink_connected")
        self.state.connected, self.state.last_error, self.state.action = True, "", None

    def _note(self, error: Interrupted) -> None:
        if self.state.connected:
            error.stood_s = time.monotonic() - self._since_s
        if str(error) != self.state.last_error or self.state.connected:
            log.warning("uplink_interrupted", error=str(error), action=error.action.value)
        self.state.connected, self.state.last_error, self.state.action = False, str(error), error.action
