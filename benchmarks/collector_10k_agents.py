"""The load of benchmarks/collector_10k.py: a process that is thousands of agents.

Each has a certificate, a connection, a Watch and a Stream of its own. How they connect, give up and come
again is the agent's own code (Channels, Backoff); checks and spool are left out: results are made up, and
those not acked wait in memory.

It takes commands on stdin, a line each: "cut" ends every TCP connection at once, "report" prints what
happened since the last one as a line of JSON, "rest" makes no more results. It ends with its stdin.

usage: python benchmarks/collector_10k_agents.py ADDRESS FOLDER FIRST COUNT STOOD_S
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, NoReturn

import grpc

from sonde_agent.uplink.backoff import Backoff, Interrupted, interrupted
from sonde_agent.uplink.channel import Channels, TlsFiles
from sonde_proto import columns
from sonde_proto.v1 import control_pb2, control_pb2_grpc, ingest_pb2, ingest_pb2_grpc, results_pb2

SERVERS = 20
"""What each agent measures, once a minute: the rows of its batch."""
BATCH_EVERY_S = 60.0
LAUNCH_S = 30.0
"""They start one after the other: a fleet has no switch."""
_STATE_EVERY_S = 30.0  # as `sonde_agent.control.client` has it
_GOLDEN = 0.6180339887  # spreads the agents' phases over the minute


def code(number: int) -> str:
    """The vantage of an agent."""
    return f"v{number:05}"


class Journal:
    """What happened since the last report. Moments are CLOCK_MONOTONIC's [s]."""

    def __init__(self) -> None:
        self.assigned: list[float] = []
        self.greeted: list[float] = []
        self.ack_ms: list[float] = []
        self.ended: Counter[str] = Counter()

    def take(self) -> dict[str, Any]:
        """Give it, and begin anew."""
        taken = dict(self.__dict__)
        self.__init__()  # type: ignore[misc]
        return taken


class Exchange:
    """A call as words and answers; one read is always under way: only that tells when the call has ended."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._reading = asyncio.ensure_future(call.read())

    async def answer(self, message: Any) -> Any:
        """Say something, and give what is answered.

        Raises:
            Interrupted: the call has ended.
        """
        try:
            await self._call.write(message)
            answer = await self._reading
        except (grpc.RpcError, asyncio.InvalidStateError):
            answer = grpc.aio.EOF
        if answer is grpc.aio.EOF:
            raise interrupted(await self._call.code(), await self._call.details())
        self._reading = asyncio.ensure_future(self._call.read())
        return answer

    async def pause(self, seconds: float) -> None:
        """Wait; less where the call ends."""
        await asyncio.wait({self._reading}, timeout=max(seconds, 0))

    def cancel(self) -> None:
        """End it."""
        self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._reading.cancel()
        self._call.cancel()


class Agent:
    """One agent.

    Args:
        stood_s: its connections count as having stood for so long when they begin: those of a fleet at work.

    Attributes:
        watching, streaming: whether its calls stand: a word was answered on each.
        made, acked: results, in all.
        resting: makes no more results.
    """

    resting = False

    def __init__(self, number: int, address: str, folder: Path, journal: Journal, stood_s: float) -> None:
        files = TlsFiles(folder / "ca.pem", folder / f"{code(number)}.pem", folder / f"{code(number)}.key")
        self._channels = Channels(address, tls=files)
        self._vantage = code(number)
        self._journal = journal
        self._next_s = time.monotonic() + number * _GOLDEN % 1 * BATCH_EVERY_S
        self._epoch, self._instance = os.urandom(16), os.urandom(16)
        self._stood_s = stood_s
        self._watching_s = self._streaming_s = 0.0
        self._has = (b"", 0)
        self._chain = b""
        self._waiting: deque[ingest_pb2.Batch] = deque()
        self.watching = self.streaming = False
        self.made = self.acked = 0

    async def run(self, after_s: float) -> None:
        """Be it, until cancelled."""
        await asyncio.sleep(after_s)
        async with asyncio.TaskGroup() as group:
            group.create_task(Backoff().forever(self._watch))
            group.create_task(Backoff().forever(self._stream))

    async def _watch(self) -> NoReturn:
        try:
            async with self._channels.use(lasting=True) as channel:
                exchange = Exchange(control_pb2_grpc.ControlStub(channel).Watch())
                try:
                    await self._speak(exchange)
                finally:
                    exchange.cancel()
        except Interrupted as error:
            self._note("watch", error)
            if self.watching:
                error.progressed, error.stood_s = True, self._stood_s + time.monotonic() - self._watching_s
            self.watching = False
            raise

    async def _speak(self, exchange: Exchange) -> NoReturn:
        while True:
            state = control_pb2.AgentState(
                vantage=self._vantage, agent_version="0.1.0", instance=self._instance, ready=True,
                database_id=self._has[0], revision=self._has[1], sent_at_us=_now_us(),
                spool_rows=self.made - self.acked,
            )  # fmt: skip
            answer = await exchange.answer(state)
            self._has = (answer.database_id, answer.revision)
            if not self.watching:
                self.watching = True
                self._watching_s = time.monotonic()
                self._journal.assigned.append(self._watching_s)
            await exchange.pause(_STATE_EVERY_S)

    async def _stream(self) -> NoReturn:
        try:
            async with self._channels.use(lasting=True) as channel:
                exchange = Exchange(ingest_pb2_grpc.IngestStub(channel).Stream())
                try:
                    await self._deliver(exchange)
                finally:
                    exchange.cancel()
        except Interrupted as error:
            self._note("stream", error)
            if self.streaming:
                error.progressed, error.stood_s = True, self._stood_s + time.monotonic() - self._streaming_s
            self.streaming = False
            raise

    async def _deliver(self, exchange: Exchange) -> NoReturn:
        hello = ingest_pb2.Batch(
            vantage=self._vantage, epoch=self._epoch, instance=self._instance, first_seq=self.acked,
            chain=self._chain, agent_version="0.1.0", sent_at_us=_now_us(),
        )  # fmt: skip
        self._take(await exchange.answer(hello))
        self.streaming, self._streaming_s = True, time.monotonic()
        self._journal.greeted.append(self._streaming_s)
        while True:
            if not self.resting and self._due_in_s() < 0:
                self._waiting.append(self._measured())
                self._next_s += BATCH_EVERY_S
            while self._waiting:
                began = time.monotonic()
                self._waiting[0].sent_at_us = _now_us()
                self._take(await exchange.answer(self._waiting[0]))
                self._journal.ack_ms.append((time.monotonic() - began) * 1000)
            await exchange.pause(BATCH_EVERY_S if self.resting else self._due_in_s())

    def _due_in_s(self) -> float:
        return self._next_s - time.monotonic()

    def _take(self, ack: ingest_pb2.Ack) -> None:
        while self._waiting and self._waiting[0].last_seq <= ack.acked_seq:
            self._waiting.popleft()
        self.acked, self._chain = ack.acked_seq, ack.chain

    def _measured(self) -> ingest_pb2.Batch:
        at = _now_us()
        rows = [
            (
                self.made + n,
                results_pb2.Result(
                    measured_at_us=at - n * 1000, target=f"s{n}",
                    performance=results_pb2.Performance(
                        ping_ms=10.0 + n, jitter_ms=0.2, packet_loss_pct=0.0, sent=10, received=10,
                        connection_success=True, family=4,
                    ),
                ),
            )
            for n in range(1, SERVERS + 1)
        ]  # fmt: skip
        batch = ingest_pb2.Batch(
            vantage=self._vantage, epoch=self._epoch, instance=self._instance, first_seq=self.made + 1,
            last_seq=self.made + SERVERS, chain=os.urandom(32), agent_version="0.1.0",
            database_id=self._has[0], config_revision=self._has[1],
        )  # fmt: skip
        self.made += SERVERS
        return columns.encode(batch, rows)

    def _note(self, what: str, error: Interrupted) -> None:
        self._journal.ended[f"{what}: {error}"[:160]] += 1


def _now_us() -> int:
    return time.time_ns() // 1000


async def _close(self: grpc.aio.Channel, grace: float | None = None) -> None:
    """Close a channel whose calls have ended. gRPC's own looks at every task of the process for them."""
    del grace
    self._channel.close()  # type: ignore[attr-defined]


def cut(port: int) -> None:
    """Ends every TCP connection of this process to that port."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as sock:
            if sock.family in {socket.AF_INET, socket.AF_INET6} and sock.getpeername()[1] == port:
                sock.shutdown(socket.SHUT_RDWR)


async def main(address: str, folder: Path, first: int, count: int, stood_s: float) -> None:
    """All of them, until stdin ends."""
    grpc.aio._channel.Channel.close = _close  # type: ignore[attr-defined]  # noqa: SLF001
    journal = Journal()
    agents = [Agent(number, address, folder, journal, stood_s) for number in range(first, first + count)]
    tasks = [asyncio.create_task(agent.run(n / count * LAUNCH_S)) for n, agent in enumerate(agents)]
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if command == "cut":
            cut(int(address.rsplit(":", 1)[1]))
        elif command == "rest":
            Agent.resting = True
        else:
            standing = {
                "watching": sum(agent.watching for agent in agents),
                "streaming": sum(agent.streaming for agent in agents),
                "made": sum(agent.made for agent in agents),
                "acked": sum(agent.acked for agent in agents),
            }
            print(json.dumps(journal.take() | standing), flush=True)
    for task in tasks:
        task.cancel()
    os._exit(0)  # ten thousand goodbyes are not what is measured


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
