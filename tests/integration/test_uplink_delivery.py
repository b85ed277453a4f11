"""The uplink over real gRPC: what is appended arrives once, whatever happens to the connection."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.proxy import proxy
from support.results import result
from support.scripted_collector import ScriptedCollector, scripted_collector, until

from sonde_agent.spool import Spool
from sonde_agent.uplink.backoff import Backoff
from sonde_agent.uplink.channel import Channels
from sonde_agent.uplink.client import Uplink
from sonde_agent.uplink.clock_exchange import ClockExchange
from sonde_agent.uplink.send_errors import Action
from sonde_agent.uplink.session import Identity
from sonde_proto.v1 import ingest_pb2

IDENTITY = Identity("ams1", "0.1.0", b"i" * 16)


def open_spool(path: Path, history_s: float = 1e6) -> Spool:
    """A spool that no bound touches."""
    return Spool.open(path / "spool.db", max_bytes=32 << 20, max_age_s=1e9, history_s=history_s)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    """An open spool."""
    opened = open_spool(tmp_path)
    yield opened
    opened.close()


@asynccontextmanager
async def uplink(spool: Spool, port: int, keepalive_s: float = 10.0) -> AsyncIterator[Uplink]:
    """A running uplink with short pauses, which must end at once when told."""
    running = Uplink(
        spool,
        Channels(f"127.0.0.1:{port}", keepalive_s=keepalive_s),
        IDENTITY,
        clock=ClockExchange(),
        backoff=Backoff(base_s=0.02, cap_s=0.1, patience_s=0.2),
    )
    task = asyncio.create_task(running.run())
    try:
        yield running
        assert not task.done(), task
    finally:
        started = time.monotonic()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert time.monotonic() - started < 2, "the uplink must end at once"


def append(spool: Spool, *numbers: range) -> None:
    """Append each range as one burst."""
    for each in numbers:
        spool.append([result(n) for n in each])


def once(action: Callable[[Any], Any]) -> Callable[[ingest_pb2.Batch, Any], Any]:
    """A hook that acts on its first call alone."""
    done = False

    async def hook(_batch: ingest_pb2.Batch, context: Any) -> None:
        nonlocal done
        if not done:
            done = True
            await action(context)

    return hook


async def all_acked(spool: Spool, collector: ScriptedCollector, count: int) -> None:
    """Wait until nothing waits; then all numbers below `count` are committed, once each."""
    await until(lambda: spool.stats().rows == 0)
    assert collector.numbers == list(range(count))
    assert collector.doubles == []


async def test_appends_arrive_in_order_and_are_acked(spool: Spool) -> None:
    """What waits and what is appended later arrives, and becomes history on the ack."""
    async with scripted_collector() as collector:
        append(spool, range(2500))
        async with uplink(spool, collector.port) as running:
            await all_acked(spool, collector, 2500)
            append(spool, range(2500, 2510))
            await all_acked(spool, collector, 2510)
            assert running.state.connected
            assert max(collector.sizes) <= 1000
            assert spool.stats().history == 2510


async def test_a_result_is_sent_promptly(spool: Spool) -> None:
    """A single result at a quiet time is committed well within a second."""
    async with scripted_collector() as collector, uplink(spool, collector.port) as running:
        await until(lambda: running.state.connected)
        started = time.monotonic()
        await asyncio.to_thread(append, spool, range(1))
        await until(lambda: collector.numbers == [0], within_s=1.0)
        assert time.monotonic() - started < 1.0


async def test_cut_between_commit_and_ack(spool: Spool) -> None:
    """A lost ack costs a new hello, and no result comes twice."""
    async with scripted_collector() as collector, proxy(collector.port) as path:

        async def cut(_context: Any) -> None:
            path.cut()
            await asyncio.sleep(0.05)

        collector.before_ack = once(cut)
        append(spool, range(1500))
        async with uplink(spool, path.port):
            await all_acked(spool, collector, 1500)
            assert path.connections >= 2
            assert len(collector.hellos) >= 2


async def test_cut_in_the_middle_of_a_batch(spool: Spool) -> None:
    """A connection that breaks within a batch is no loss."""
    async with scripted_collector() as collector, proxy(collector.port) as path:
        path.cut_after_bytes = 20_000
        append(spool, range(3000))
        async with uplink(spool, path.port):
            await until(lambda: path.connections >= 3)
            path.cut_after_bytes = None
            await all_acked(spool, collector, 3000)


async def test_half_open_connection_is_noticed(spool: Spool) -> None:
    """A path that swallows everything is given up by keepalive, and a new connection takes over."""
    async with (
        scripted_collector() as collector,
        proxy(collector.port) as path,
        uplink(spool, path.port, keepalive_s=1.0) as running,
    ):
        await until(lambda: running.state.connected)
        path.deaf = True
        append(spool, range(10))
        await until(lambda: not running.state.connected)
        path.deaf = False
        await all_acked(spool, collector, 10)


async def test_server_restarts(spool: Spool) -> None:
    """A collector that is killed and comes back on the same port gets the rest."""
    async with scripted_collector() as collector:
        append(spool, range(500))
        async with uplink(spool, collector.port):
            await until(lambda: len(collector.rows) == 500)
            await collector.stop()
            append(spool, range(500, 1000))
            await asyncio.sleep(0.3)
            await collector.start()
            await all_acked(spool, collector, 1000)


async def test_slow_server_bounds_what_is_under_way(spool: Spool) -> None:
    """While nothing is acked, no more batches than the window are sent."""
    async with scripted_collector() as collector:
        release = asyncio.Event()
        seen = 0

        async def hold(batch: ingest_pb2.Batch, _context: Any) -> None:
            nonlocal seen
            seen = max(seen, batch.last_seq)
            await release.wait()

        collector.before_ack = hold
        append(spool, *(range(n, n + 1000) for n in range(0, 8000, 1000)))
        async with uplink(spool, collector.port) as running:
            await until(lambda: seen == 1000)
            await asyncio.sleep(0.5)
            assert seen == 1000
            assert running.state.acks == 0
            release.set()
            await all_acked(spool, collector, 8000)


async def test_fenced_agent_waits_and_says_so(spool: Spool) -> None:
    """An ABORTED call is tried again after a pause, with the reason in the state."""
    async with scripted_collector() as collector:

        async def fence(context: Any) -> None:
            await context.abort(grpc.StatusCode.ABORTED, "fenced by instance x")

        collector.before_commit = once(fence)
        append(spool, range(10))
        async with uplink(spool, collector.port) as running:
            await until(lambda: running.state.action is Action.WAIT)
            assert "fenced by instance x" in running.state.last_error
            await all_acked(spool, collector, 10)


async def test_poison_is_set_aside(spool: Spool) -> None:
    """One result that the collector can't read among 5000 is quarantined; all others arrive."""
    async with scripted_collector() as collector:

        async def refuse(batch: ingest_pb2.Batch, context: Any) -> None:
            gone = {seq for gap in batch.gaps for seq in range(gap.first_seq, gap.last_seq + 1)}
            if batch.first_seq <= 3333 <= batch.last_seq and 3333 not in gone:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "NaN in a date")

        collector.before_commit = refuse
        append(spool, range(5000))
        async with uplink(spool, collector.port):
            await until(lambda: spool.stats().rows == 0, within_s=30)
            assert collector.numbers == [n for n in range(5000) if n != 3332]
            (gap,) = next(iter(collector.gaps.values()))
            assert (gap.first_seq, gap.last_seq) == (3333, 3333)
            assert gap.reason == ingest_pb2.GAP_REASON_QUARANTINED
            assert spool.stats().quarantined == 1


async def test_rebuilt_database_is_refilled_from_history(spool: Spool) -> None:
    """A collector that lost its database gets all that history holds."""
    async with scripted_collector() as collector:
        append(spool, range(2000))
        async with uplink(spool, collector.port):
            await all_acked(spool, collector, 2000)
            collector.forget()
            collector.database_id = b"e" * 16
            await collector.stop()
            await collector.start()
            await until(lambda: len(collector.rows) == 2000)
            await all_acked(spool, collector, 2000)


async def test_restored_database_without_history_gets_a_gap(tmp_path: Path) -> None:
    """What the database lost and no history holds is declared, and what follows arrives."""
    spool = open_spool(tmp_path, history_s=0)
    async with scripted_collector() as collector:
        append(spool, range(100))
        async with uplink(spool, collector.port):
            await all_acked(spool, collector, 100)
        spool.close()
        later = time.time() + 120
        spool = Spool.open(
            tmp_path / "spool.db", max_bytes=32 << 20, max_age_s=1e9, history_s=0, now=lambda: later
        )
        assert spool.stats().history == 0
        collector.forget()
        append(spool, range(100, 150))
        async with uplink(spool, collector.port):
            await until(lambda: spool.stats().rows == 0)
            assert collector.numbers == list(range(100, 150))
            (gap,) = next(iter(collector.gaps.values()))
            assert (gap.first_seq, gap.last_seq) == (1, 100)
            assert gap.reason == ingest_pb2.GAP_REASON_HISTORY_EXPIRED
    spool.close()


async def test_cursor_of_another_history_stops_sending(spool: Spool) -> None:
    """A cursor ahead of all that was ever given is a copied spool: nothing is sent until a person decides."""
    async with scripted_collector() as collector:
        (stream,) = spool.streams()
        collector.cursors[stream.epoch] = (500, b"x" * 32)
        append(spool, range(10))
        async with uplink(spool, collector.port) as running:
            await until(lambda: running.state.action is Action.STOP)
            assert "--new-stream" in running.state.last_error
            append(spool, range(10, 20))
            assert spool.stats().rows == 20
            spool.new_stream()
            append(spool, range(20, 30))
            await until(lambda: len(collector.rows) == 10)
            assert collector.numbers == list(range(20, 30))


async def test_clone_is_refused_while_the_original_lives(spool: Spool) -> None:
    """A refused copy keeps its results and asks again; once the original is gone it goes on."""
    async with scripted_collector() as collector:

        async def refuse(_batch: ingest_pb2.Batch, context: Any) -> None:
            if len(collector.hellos) < 4:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "cloned spool")

        collector.on_hello = refuse
        append(spool, range(10))
        async with uplink(spool, collector.port) as running:
            await until(lambda: running.state.action is Action.STOP)
            assert spool.streams()[0].refused
            await all_acked(spool, collector, 10)
            assert not spool.streams()[0].refused


async def test_old_stream_drains_first(tmp_path: Path) -> None:
    """After a copy the old stream is served first, as copied, and then the new one."""
    spool = open_spool(tmp_path)
    append(spool, range(100))
    spool.close()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "spool.db").write_bytes((tmp_path / "spool.db").read_bytes())
    spool = open_spool(tmp_path / "copy")
    append(spool, range(100, 200))
    async with scripted_collector() as collector, uplink(spool, collector.port):
        await all_acked(spool, collector, 200)
        assert [hello.copied for hello in collector.hellos] == [True, False]
        assert [epoch for epoch, _ in collector.rows] == [collector.hellos[0].epoch] * 100 + [
            collector.hellos[1].epoch
        ] * 100
    spool.close()


async def test_shutdown_with_the_collector_down_marks_nothing(spool: Spool) -> None:
    """Ending while no collector answers is quick, and all is still there for the next start."""
    append(spool, range(10))
    async with uplink(spool, 9) as running:
        await until(lambda: running.state.action is Action.RETRY)
    assert spool.stats().rows == 10
