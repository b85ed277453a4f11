"""Moves bytes through several TCP connections at once, and notes how many when.

One thread and one epoll for all streams. What a stream does is a generator of the caller's over a `Pipe`;
this room resumes it when what it waits for is there, takes the time, and ends the run. Blocks: it belongs in
a worker thread.
"""

import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from sonde_agent.net.bulk_gate import Enough, Gate
from sonde_agent.net.bulk_pipe import PAUSE, Pipe, Steps
from sonde_agent.net.cpu_watch import CpuWatch

BIN_NS = 250_000_000
PATIENCE_S = 10.0
"""Nothing moves for so long: the path or the peer is dead, and more waiting would tell nothing."""

_PAUSE_S = 0.002
_WAKE_S = 0.004  # of a stream's own rate: one wake-up for so much costs a bin 1.6 % of accuracy at most
_S = 1_000_000_000


class Stream(Protocol):
    """One connection's part: what it does, step by step, and the pipe that it does it with."""

    @property
    def pipe(self) -> Pipe:
        """Its connection."""

    def steps(self) -> Steps:
        """What it does, until it is stopped; what it raises ends the run."""


class Sample(NamedTuple):
    """How much had moved at a moment."""

    at_ns: int  # monotonic
    moved: int  # payload bytes of all streams together


@dataclass(slots=True)
class Moved:
    """What a run gave.

    Attributes:
        samples: the first at the first byte of payload, then one a bin, the last at the end; empty when
            nothing moved.
        bounded: it ended because its bytes were used up.
        cpu_limited: after ramp-up the processor had no more to give.
        error: what ended it early, and in which stream; None = nothing did.
    """

    samples: list[Sample] = field(default_factory=list)
    bounded: bool = False
    cpu_limited: bool = False
    error: tuple[int, Exception] | None = None


class Mover:
    """One run of some streams in one direction."""

    def __init__(
        self,
        streams: Sequence[Stream],
        gate: Gate,
        *,
        ramp_s: float,
        seconds: float,
        upload: bool,
        on_bin: Callable[[Sequence[Sample]], None] | None = None,
        on_measured: Callable[[], None] | None = None,
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            streams: one for each connection.
            gate: which they share.
            ramp_s: from the first byte of payload, before which nothing is measured [s].
            seconds: measured after that [s].
            upload: count what the peer has acknowledged in place of what was read.
            on_bin: told all samples so far after each bin, in this thread.
            on_measured: told when the ramp is over, in this thread.
        """
        self._streams, self._gate, self._upload = streams, gate, upload
        self._ramp_ns, self._length_ns = int(ramp_s * _S), int((ramp_s + seconds) * _S)
        self._on_bin, self._on_measured = on_bin, on_measured
        self._cancelled = threading.Event()
        self._moved = Moved()
        self._steps = [stream.steps() for stream in streams]
        self._masks = [-1] * len(streams)  # what epoll waits for; -1 = it does not know the connection
        self._files = [-1] * len(streams)
        self._socks: list[socket.socket | None] = [None] * len(streams)
        self._paused: set[int] = set()
        self._bodies = [0] * len(streams)  # at the last bin
        self._cpu: CpuWatch | None = None
        self._last, self._progress_ns, self._next_ns = 0, 0, 0

    def cancel(self) -> None:
        """End the run within a bin's time, from any thread."""
        self._cancelled.set()

    def run(self) -> Moved:
        """Move bytes until time, bytes or a stream's patience end. All connections are closed afterwards."""
        self._progress_ns = self._next_ns = time.monotonic_ns()
        with select.epoll() as epoll:
            try:
                self._run(epoll)
            except Enough:
                self._moved.bounded = True
                self._moved.samples.append(Sample(time.monotonic_ns(), self._count()))
            finally:
                if self._cpu is not None:
                    self._moved.cpu_limited = self._cpu.limited()
                for steps, stream in zip(self._steps, self._streams, strict=True):
                    steps.close()
                    stream.pipe.close()
        return self._moved

    def _run(self, epoll: select.epoll) -> None:
        for index in range(len(self._streams)):
            self._resume(index, epoll)
        while self._moved.error is None and not self._cancelled.is_set():
            wait_s = max(self._next_ns - time.monotonic_ns(), 0) / _S
            for file, _ in epoll.poll(min(wait_s, _PAUSE_S) if self._paused else wait_s):
                self._resume(self._files.index(file), epoll)
            for index in list(self._paused):
                self._resume(index, epoll)
            now = time.monotonic_ns()
            if self._gate.moved and not self._moved.samples:
                self._next_ns = now
            if now >= self._next_ns and self._tick(now):
                return

    def _tick(self, now: int) -> bool:
        """Look at what has moved, and set when to look again; True = the time is over."""
        count = self._count()
        if count != self._last:
            self._last, self._progress_ns = count, now
        elif now - self._progress_ns > PATIENCE_S * _S:
            self._give_up()
        self._next_ns = now + BIN_NS - (now - self._next_ns) % BIN_NS
        if not self._gate.moved:
            return False
        self._bin(Sample(now, count))
        begin = self._moved.samples[0].at_ns
        for landmark in (begin + self._ramp_ns, begin + self._length_ns):
            if now < landmark:
                self._next_ns = min(self._next_ns, landmark)
        return now - begin >= self._length_ns

    def _resume(self, index: int, epoll: select.epoll) -> None:
        self._paused.discard(index)
        try:
            wanted = next(self._steps[index])
        except Enough:
            raise
        except StopIteration:
            self._moved.error = index, EOFError("the stream ended")
            return
        except Exception as error:  # noqa: BLE001 -- the caller knows what its stream's errors mean
            self._moved.error = index, error
            return
        if wanted == PAUSE:
            self._paused.add(index)
        sock = self._streams[index].pipe.sock
        assert sock is not None
        if wanted == self._masks[index] and sock is self._socks[index]:
            return
        file = sock.fileno()
        try:
            epoll.modify(file, wanted)
        except FileNotFoundError:  # a new connection, perhaps by the number of the old one
            epoll.register(file, wanted)
        self._masks[index], self._files[index], self._socks[index] = wanted, file, sock

    def _count(self) -> int:
        if self._upload:
            return sum(stream.pipe.delivered() for stream in self._streams)
        return self._gate.moved

    def _bin(self, sample: Sample) -> None:
        samples = self._moved.samples
        took_s = (sample.at_ns - samples[-1].at_ns) / _S if samples else 0.0
        samples.append(sample)
        for index, stream in enumerate(self._streams):
            pipe, before = stream.pipe, self._bodies[index]
            self._bodies[index] = pipe.body
            if self._upload:
                pipe.look()
            elif took_s:
                pipe.wake_after(int((pipe.body - before) / took_s * _WAKE_S))
        if self._on_bin is not None:
            self._on_bin(samples)
        if self._cpu is None and sample.at_ns - samples[0].at_ns >= self._ramp_ns:
            self._cpu = CpuWatch()
            if self._on_measured is not None:
                self._on_measured()

    def _give_up(self) -> None:
        """The run has come to a stop: the stream that moved least is the one to ask why."""
        index = min(range(len(self._streams)), key=lambda one: self._streams[one].pipe.body)
        self._moved.error = index, TimeoutError("nothing moves")
