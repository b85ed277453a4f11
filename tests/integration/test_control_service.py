"""Control.Watch and the probes of a real `sonde-collector serve` on a real database."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sonde_collector.inventory.apply import apply
from sonde_collector.inventory.fleet_file import load_fleet
from sonde_proto.v1 import control_pb2, control_pb2_grpc

pytestmark = pytest.mark.postgres

FLEET = """
[[vantage]]
code = "ams1"
city = "Amsterdam"
country = "NL"
[[provider]]
key = "acme"
name = "Acme"
[[server]]
key = "nl-1"
provider = "acme"
city = "Amsterdam"
country = "NL"
ip_address = "192.0.2.1"
[[plan]]
key = "core"
checks = ["ping"]
servers = "*"
every = "60s"
"""
DEADLINE_S = 30.0


class Collector:
    """A collector process on its own ports."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self.url = database_url
        self.grpc, self.http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.folder = folder
        self.config = folder / "collector.toml"
        self.config.write_text(
            f'state_dir = "state"\n[database]\nurl = "{database_url}"\n[grpc]\nlisten = ["{self.grpc}"]\n'
            f'[http]\nlisten = "{self.http}"\n'
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sonde_collector.cli", "serve", "--config", str(self.config)],
                stderr=log,
            )
        deadline = time.monotonic() + DEADLINE_S
        while self.get("/readyz")[0] != 200:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, str]:
        """Give status and text of an HTTP path; status 0 while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def apply(self, text: str) -> None:
        """Apply a fleet file."""
        file = self.folder / "fleet.toml"
        file.write_text(text)
        with psycopg.connect(self.url, autocommit=True) as conn:
            apply(conn, load_fleet(file))

    def stop(self) -> int:
        """Send SIGTERM and give the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def collector(database_url: str, tmp_path: Path) -> Iterator[Collector]:
    """Give a running collector."""
    made = Collector(database_url, tmp_path)
    made.start()
    yield made
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Watch:
    """An agent's end of Control.Watch."""

    def __init__(self, channel: grpc.aio.Channel, vantage: str = "ams1") -> None:
        self._vantage = vantage
        self._call = control_pb2_grpc.ControlStub(channel).Watch()

    async def say(self, **fields: object) -> None:
        """Send a state."""
        state = control_pb2.AgentState(
            vantage=self._vantage, agent_version="0.1.0", instance=os.urandom(16), sent_at_us=7, **fields
        )
        await self._call.write(state)

    async def hear(self) -> control_pb2.Assignment:
        """Give the next assignment."""
        answer = await asyncio.wait_for(self._call.read(), DEADLINE_S)
        assert isinstance(answer, control_pb2.Assignment)
        return answer


@pytest.fixture
async def channel(collector: Collector) -> AsyncIterator[grpc.aio.Channel]:
    """Give a channel to the collector."""
    async with grpc.aio.insecure_channel(collector.grpc) as made:
        yield made


async def test_tasks_come_at_once_then_only_with_a_change(
    collector: Collector, channel: grpc.aio.Channel
) -> None:
    """An agent without tasks gets them; one that has them gets the clock; a change is pushed unasked."""
    collector.apply(FLEET)
    watch = Watch(channel)
    await watch.say(revision=0)
    first = await watch.hear()
    assert [task.key for task in first.tasks] == ["core/nl-1/4"]
    assert (first.revision, first.unchanged, len(first.database_id)) == (1, False, 16)

    await watch.say(revision=first.revision, database_id=first.database_id)
    second = await watch.hear()
    assert second.unchanged
    assert not second.tasks
    assert second.clock.agent_sent_at_us == 7
    assert 0 <= second.clock.sent_at_us - second.clock.received_at_us < 10_000_000

    collector.apply(FLEET.replace("60s", "90s"))
    pushed = await watch.hear()
    assert (pushed.revision, pushed.tasks[0].interval_ms) == (2, 90_000)


async def test_tasks_of_another_database_are_replaced(
    collector: Collector, channel: grpc.aio.Channel
) -> None:
    """An agent whose revision is right but of another database gets the tasks of this one."""
    collector.apply(FLEET)
    watch = Watch(channel)
    await watch.say(revision=1, database_id=bytes(16))
    assert len((await watch.hear()).tasks) == 1


async def test_tasks_of_a_restored_database_reach_an_agent_that_is_ahead(
    collector: Collector, channel: grpc.aio.Channel
) -> None:
    """An agent with a later revision of this very database gets its tasks under a later one still."""
    collector.apply(FLEET)
    watch = Watch(channel)
    await watch.say(revision=0)
    first = await watch.hear()
    await watch.say(revision=41, database_id=first.database_id)
    second = await watch.hear()
    assert (second.revision, second.unchanged) == (42, False)
    assert second.tasks == first.tasks
    await watch.say(revision=2**64 - 1, database_id=first.database_id)
    assert (await watch.hear()).revision == 42


async def test_an_unknown_vantage_is_told_what_to_do(channel: grpc.aio.Channel) -> None:
    """NOT_FOUND names the vantage and the command that adds it."""
    watch = Watch(channel, "nowhere")
    await watch.say()
    with pytest.raises(
        grpc.aio.AioRpcError, match=r'vantage "nowhere" is not in the inventory.*`sonde-collector apply`'
    ):
        await watch.hear()


async def test_what_an_agent_says_is_kept(collector: Collector, channel: grpc.aio.Channel) -> None:
    """`agents` shows an agent's own words, foreign numbers and characters included."""
    collector.apply(FLEET)
    watch = Watch(channel)
    await watch.say(
        ready=False, reason="clock\0 is off", spool_rows=2**64 - 1, last_error="é", spool_oldest_us=2**62,
        refused=[control_pb2.RefusedTask(task="core/nl-1/4", reason="private address")],
    )  # fmt: skip
    await watch.hear()
    deadline = time.monotonic() + DEADLINE_S
    while True:
        done = await asyncio.to_thread(cli, "agents", "--json", "--config", str(collector.config))
        (row,) = json.loads(done.stdout)
        if row["state"] == "live":
            break
        assert time.monotonic() < deadline
    assert (row["reason"], row["ready"], row["spool_rows"]) == ("clock is off", False, 2**63 - 1)
    assert row["refused"] == [{"task": "core/nl-1/4", "reason": "private address"}]
    assert row["behind"]


async def test_health_and_metrics(collector: Collector, channel: grpc.aio.Channel) -> None:
    """Health is SERVING, /healthz and /readyz answer, /metrics names what it counts."""
    health = health_pb2_grpc.HealthStub(channel)
    deadline = time.monotonic() + DEADLINE_S
    while True:
        answer = await health.Check(health_pb2.HealthCheckRequest(service="sonde.v1.Ingest"))
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            break
        assert time.monotonic() < deadline
    assert collector.get("/healthz") == (200, "ok\n")
    assert json.loads(collector.get("/readyz")[1])["ready"]
    assert 'sonde_agents{state="live"}' in collector.get("/metrics")[1]


def test_readyz_says_what_lacks(collector: Collector) -> None:
    """Without the partitions of now, /readyz is 503 and names them."""
    with psycopg.connect(collector.url, autocommit=True) as conn:
        for (name,) in conn.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'sonde.batches'::regclass"
        ).fetchall():
            conn.execute(f"DROP TABLE {name}")  # type: ignore[call-overload]
    deadline = time.monotonic() + DEADLINE_S
    while collector.get("/readyz")[0] != 503:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "sonde.batches" in json.loads(collector.get("/readyz")[1])["checks"]["partitions"]


async def test_sigterm_ends_it_promptly_and_in_order(collector: Collector, channel: grpc.aio.Channel) -> None:
    """With an agent connected, SIGTERM ends the process with 0; the agent hears UNAVAILABLE."""
    collector.apply(FLEET)
    watch = Watch(channel)
    await watch.say()
    await watch.hear()
    began = time.monotonic()
    assert await asyncio.to_thread(collector.stop) == 0
    assert time.monotonic() - began < 10
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await watch.hear()


def test_a_second_collector_on_the_same_port_is_refused(collector: Collector) -> None:
    """It ends with one line that names the setting."""
    done = cli("serve", "--config", str(collector.config))
    assert done.returncode == 1
    assert "http.listen: can't listen on \"127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def cli(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    command = [sys.executable, "-m", "sonde_collector.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, input=stdin)
