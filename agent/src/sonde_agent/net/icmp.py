"""Echoes to any number of hosts through one socket a family, stamped by the kernel both ways.

An engine lives as long as the agent. It wakes when an echo is due or while answers are outstanding, and
not at all when no run is going on. Both stamps of an echo come from the kernel, so how late the engine
wakes does not touch the figures; it may take its time and do everything in batches.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import math
import time
from array import array
from collections import deque

from sonde_agent.net.echoes import OWN_PAYLOAD_BYTES, PACKET_BYTES, Echoes, IcmpError, Run
from sonde_agent.net.icmp_columns import BATCH
from sonde_agent.net.icmp_socket import IcmpClosed, IcmpSocket, open_icmp
from sonde_agent.net.in_flight import InFlight
from sonde_agent.net.mmsg import SendBatch

__all__ = ["Echoes", "Engine", "Engines", "IcmpClosed", "IcmpError"]

MAX_PAYLOAD_BYTES = 1400
"""Keeps an echo below every usual MTU, tunnels included; fragments would measure something else."""

MAX_COUNT = 0x10000
"""Echoes of a run: what the 16 bits of the sequence number tell apart."""

_TICK_S = 0.050  # least time between two wake-ups: echoes due meanwhile go out in one batch
_SLOTS = 250  # a second; what falls due in one is kept together: each costs a list and a heap entry
_DRAIN_S = 0.050  # while answers are outstanding: often enough that the receive buffer never fills
_BACKLOG_S = 0.002  # between batches when more is due than one holds: no burst is longer than one batch
_WARM_S = 0.1  # the kernel begins to stamp arrivals a moment after it was asked to, from a work queue
_ROOM_PER_ECHO = 4096  # of the receive buffer: a reply's and a TX stamp's truesize, with something to spare
_LEAST_BATCH = 16
_TRIES = 3  # of a send that failed: the error may have been left on the socket by another target's packet
_BLOCKED_TRIES = 50  # one a tick: an interface that takes nothing for a second is broken


class Engine:
    """Pings of one family. For one event loop; every method is called in it."""

    def __init__(self, icmp: IcmpSocket) -> None:
        self._icmp = icmp
        self._fd = icmp.sock.fileno()
        self._family = icmp.family
        self._batch = max(_LEAST_BATCH, min(BATCH, icmp.receive_bytes // _ROOM_PER_ECHO))
        self._out = SendBatch(
            self._batch,
            name_bytes=16 if icmp.family == 4 else 28,  # noqa: PLR2004 -- the families are called 4 and 6
            packet_bytes=PACKET_BYTES,
            filler_bytes=MAX_PAYLOAD_BYTES - OWN_PAYLOAD_BYTES,
        )
        self._in_flight = InFlight(icmp)
        self._opened = time.monotonic()
        self._wheel: dict[int, list[Run]] = {}  # slot of the loop's clock -> runs due in it
        self._wheel_keys: list[int] = []  # its keys, as a heap
        self._backlog: deque[Run] = deque()
        self._stampless = False  # this path gives no TX stamps: send one by one, so that ours are close
        self._tick_s = _TICK_S
        self._ticked = 0.0
        self._wake: asyncio.TimerHandle | None = None

    async def ping(
        self,
        address: str,
        *,
        count: int,
        spacing_s: float,
        wait_s: float,
        payload_bytes: int = OWN_PAYLOAD_BYTES,
    ) -> Echoes:
        """Sends `count` echoes to `address` and waits for their replies.

        It returns as soon as every echo is answered, else `wait_s` after the last one. Cancelling it stops
        the sending.

        Args:
            address: a unicast address of this engine's family; a link-local one with its %interface.
            count: how many [1..65536].
            spacing_s: between two of them [s, >= 0.01]. Kept on the run's own grid; when this process is
                late, an echo is late too, never two at once.
            wait_s: how long a reply to the last one is waited for [s].
            payload_bytes: of each [16..1400].

        Raises:
            ValueError: `address` is not such an address, or a number is out of its range.
        """
        if not 1 <= count <= MAX_COUNT:
            raise ValueError(f"a run has 1 to {MAX_COUNT} echoes, not {count}")
        if not OWN_PAYLOAD_BYTES <= payload_bytes <= MAX_PAYLOAD_BYTES:
            raise ValueError(
                f"the payload has {OWN_PAYLOAD_BYTES} to {MAX_PAYLOAD_BYTES} bytes, not {payload_bytes}"
            )
        loop = asyncio.get_running_loop()
        run = Run(
            Echoes(address, self._family, self._icmp.raw, [0] * count, [0] * count),
            identifier=self._icmp.identifier,
            spacing_s=spacing_s,
            wait_s=wait_s,
            payload_bytes=payload_bytes,
            future=loop.create_future(),
        )
        run.dropped_before = self._icmp.dropped()
        run.due = max(loop.time(), self._opened + _WARM_S)
        self._in_flight.runs[run.token] = run
        self._tick_s = min(self._tick_s, max(spacing_s, _BACKLOG_S))
        self._put(run, run.due)
        self._plan(loop)
        try:
            return await run.future
        finally:
            self._forget(run)

    def close(self) -> None:
        """Closes the socket; runs that are going on are cancelled."""
        if self._wake is not None:
            self._wake.cancel()
        for run in list(self._in_flight.runs.values()):
            run.future.cancel()
            self._forget(run)
        self._icmp.sock.close()

    def _put(self, run: Run, at: float) -> None:
        key = math.ceil(at * _SLOTS)
        bucket = self._wheel.get(key)
        if bucket is None:
            self._wheel[key] = [run]
            heapq.heappush(self._wheel_keys, key)
        else:
            bucket.append(run)

    def _forget(self, run: Run) -> None:
        self._in_flight.remove(run)
        if not self._in_flight.runs:
            self._wheel.clear()
            self._wheel_keys.clear()
            self._backlog.clear()
            self._tick_s = _TICK_S

    def _finish(self, run: Run) -> None:
        run.settle()
        self._stampless = len(run.echoes.user_stamped) == run.count
        if run.settled < run.count:
            run.echoes.dropped = self._icmp.dropped() - run.dropped_before
        self._forget(run)
        if not run.future.done():
            run.future.set_result(run.echoes)

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sets the alarm for the next moment when there is something to do."""
        if not self._in_flight.runs:
            return
        now = loop.time()
        if self._backlog:
            at = now + _BACKLOG_S
        else:
            at = self._wheel_keys[0] / _SLOTS if self._wheel_keys else math.inf
            if self._in_flight.unanswered:
                at = min(at, now + _DRAIN_S)
            at = max(at, self._ticked + self._tick_s)
        if self._wake is not None:
            if self._wake.when() <= at:
                return
            self._wake.cancel()
        self._wake = loop.call_at(at, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake = None
        self._ticked = now = loop.time()
        try:
            self._hear()
            self._speak(now)
        finally:
            self._plan(loop)  # whatever broke: no run may wait for ever

    def _hear(self) -> None:
        complete = self._in_flight.take_replies()
        self._in_flight.take_errors()  # after the replies: a TX stamp is always there before its reply
        for run in complete:
            self._finish(run)

    def _speak(self, now: float) -> None:
        while self._wheel_keys and self._wheel_keys[0] <= now * _SLOTS:
            for run in self._wheel.pop(heapq.heappop(self._wheel_keys)):
                if run.next < run.count:
                    self._backlog.append(run)
                elif run.token in self._in_flight.runs:
                    self._finish(run)
        if self._backlog:
            size = min(self._batch, len(self._backlog))
            due = [self._backlog.popleft() for _ in range(size)]
            self._send([run for run in due if run.token in self._in_flight.runs], now)

    def _send(self, due: list[Run], now: float) -> None:
        out, size = self._out, len(due)
        out.names[:size] = array("Q", [run.name_at for run in due])
        out.packets[:size] = array("Q", [run.packet_at for run in due])
        fillers = [run.filler for run in due]
        out.fillers[:size] = array("Q", fillers)
        out.pieces[:size] = array("Q", [2 if filler else 1 for filler in fillers])
        first = tries = 0
        while first < size:
            handed_ns = time.time_ns()
            try:
                end = first + out.send(self._fd, first, first + 1 if self._stampless else size)
            except BlockingIOError:
                self._postpone(due[first:], now)
                return
            except OSError as error:
                self._in_flight.renumber()
                tries += 1
                if tries == _TRIES:
                    self._refused(due[first], error.errno or 0, now)
                    first, tries = first + 1, 0
                continue
            self._in_flight.sent(due[first:end], handed_ns)
            self._advance(due[first:end], now)
            first, tries = end, 0

    def _advance(self, runs: list[Run], now: float) -> None:
        """Sets when each run is to be looked at again: for its next echo, or to end it."""
        put = self._put
        for run in runs:
            run.tries = 0
            if run.next == run.count:
                put(run, now + run.wait_s)
                continue
            run.packet_at += PACKET_BYTES
            due = run.due + run.spacing_s
            run.due = due = due if due > now else now + run.spacing_s
            put(run, due)

    def _refused(self, run: Run, code: int, now: float) -> None:
        self._in_flight.refused(run, code)
        if run.settled == run.count:
            self._finish(run)
        else:
            self._advance([run], now)

    def _postpone(self, runs: list[Run], now: float) -> None:
        """The send buffer is full: they wait for the next tick."""
        for run in runs:
            run.tries += 1
            if run.tries > _BLOCKED_TRIES:
                self._refused(run, errno.ENOBUFS, now)
            else:
                self._put(run, now + _TICK_S)


class Engines:
    """The engines, one a family, opened when first asked for; they live as long as the agent."""

    def __init__(self) -> None:
        self._engines: dict[int, Engine] = {}

    def engine(self, family: int) -> Engine:
        """The engine of family 4 or 6.

        Raises:
            IcmpClosed: this host lets this process send no echo of that family.
        """
        if family not in self._engines:
            self._engines[family] = Engine(open_icmp(family))
        return self._engines[family]

    def close(self) -> None:
        """Closes what was opened; runs that are going on are cancelled."""
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
