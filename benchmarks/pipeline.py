#!/usr/bin/env python3
"""How long a result takes from its measurement to a query that sees it, at 1000 results a second.

A real collector on a real PostgreSQL (fsync on), and two agents' worth of journal, spool and uplink in this
process, each adding 500 results a second. A result is visible when its stream's cursor, which is committed
with the rows, has passed it; the cursors are read every few milliseconds on a connection of its own.

usage: python benchmarks/pipeline.py [--only spool_to_query_p99_s]
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.fleet import SERVERS, collector_toml, prepare_database  # noqa: E402
from support.postgres import Server  # noqa: E402
from support.programs import Program, free_port  # noqa: E402

from sonde_agent.journal import Journal  # noqa: E402
from sonde_agent.spool import Spool  # noqa: E402
from sonde_agent.uplink.channel import Channels  # noqa: E402
from sonde_agent.uplink.client import Uplink  # noqa: E402
from sonde_agent.uplink.clock_exchange import ClockExchange  # noqa: E402
from sonde_agent.uplink.session import Identity  # noqa: E402
from sonde_proto.v1 import results_pb2  # noqa: E402

ROWS = ("spool_to_query_p99_s",)

SECONDS = 30
RATE = 500  # results a second and agent
POLL_S = 0.005


@dataclass
class Agent:
    """One agent's journal, spool and uplink, and when each of its results was made."""

    code: str
    spool: Spool
    journal: Journal
    uplink: Uplink
    made_at: list[float] = field(default_factory=list)
    seen_at: list[float] = field(default_factory=list)

    async def load(self) -> None:
        """Add results evenly for SECONDS."""
        begin = time.monotonic()
        for number in range(SECONDS * RATE):
            await asyncio.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            result = results_pb2.Result(
                measured_at_us=time.time_ns() // 1000,
                target=f"s{number % SERVERS + 1}",
                performance=results_pb2.Performance(
                    ping_ms=12.5, jitter_ms=0.3, packet_loss_pct=0, sent=10, received=10, rtt_min_ms=12,
                    rtt_mean_ms=12.6, rtt_p95_ms=13, rtt_max_ms=14, rtt_stddev_ms=0.2, family=4,
                ),
            )  # fmt: skip
            self.made_at.append(time.monotonic())
            self.journal.add([result])


def make_agent(code: str, port: int, folder: Path) -> Agent:
    """Build an agent's parts as `sonde_agent.app` does."""
    spool = Spool.open(folder / code / "spool.sqlite", max_bytes=1 << 28, max_age_s=86_400, history_s=3600)
    clock = ClockExchange()
    identity = Identity(code, "bench", os.urandom(16))
    uplink = Uplink(spool, Channels(f"127.0.0.1:{port}"), identity, clock=clock)
    return Agent(code, spool, Journal(spool), uplink)


async def watch(url: str, agents: list[Agent]) -> None:
    """Note when each result became visible."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        while any(len(agent.seen_at) < SECONDS * RATE for agent in agents):
            rows = await conn.execute(
                "SELECT p.code, s.acked_seq FROM sonde.streams s JOIN probe_locations p ON p.id = s.probe_id"
            )
            at, cursors = time.monotonic(), dict(await rows.fetchall())
            for agent in agents:
                agent.seen_at += [at] * (cursors.get(agent.code, 0) - len(agent.seen_at))
            await asyncio.sleep(POLL_S)


async def measure(url: str, port: int, folder: Path) -> list[float]:
    """Return every result's time from measurement to visibility [s]."""
    agents = [make_agent(code, port, folder) for code in ("ams1", "nyc1")]
    services = [
        asyncio.create_task(part) for agent in agents for part in (agent.journal.run(), agent.uplink.run())
    ]
    watcher = asyncio.create_task(watch(url, agents))
    await asyncio.gather(*(agent.load() for agent in agents))
    await asyncio.wait_for(watcher, 60)
    for service in services:
        service.cancel()
    await asyncio.gather(*services, return_exceptions=True)
    for agent in agents:
        agent.spool.close()
    return [
        seen - made
        for agent in agents
        for made, seen in zip(agent.made_at, agent.seen_at[: SECONDS * RATE], strict=True)
    ]


def main() -> int:
    """Print the row."""
    server = Server(durable=True)
    with tempfile.TemporaryDirectory(prefix="sonde-bench-") as name:
        folder = Path(name)
        try:
            server.start()
            prepare_database(server, "bench", folder / "inventory")
            port, config = free_port(), folder / "collector.toml"
            config.write_text(collector_toml(server.url("bench"), port))
            collector = Program("sonde-collector", "serve", "--config", str(config), log=folder / "log")
            collector.start()
            try:
                delays = asyncio.run(measure(server.url("bench"), port, folder))
            finally:
                collector.stop()
        finally:
            server.stop()
    cuts = statistics.quantiles(delays, n=100)
    row = {
        "value": round(cuts[98], 4),
        "unit": "s",
        "reference": None,
        "ratio": None,
        "samples": len(delays),
        "spread": f"p50 {cuts[49]:.3f}, p95 {cuts[94]:.3f}, max {max(delays):.3f}",
        "command": "make bench ONLY=spool_to_query_p99_s",
        "note": "From measurement to visible in PostgreSQL (fsync on): journal, spool, gRPC, COPY, COMMIT; "
        f"two agents of {RATE} results/s for {SECONDS} s; all of it on the same two cores.",
    }
    print(json.dumps({"spool_to_query_p99_s": row}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
