"""The agent as a service: started, watched, stopped and killed as systemd and people do it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.programs import eventually, free_port

from sonde_agent.control.cache import AssignmentCache
from sonde_agent.spool import SpoolError, history
from sonde_proto.v1 import control_pb2, results_pb2

AGENT = Path(sys.executable).with_name("sonde-agent")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process to get there."""
    eventually(condition, 30, what)


class Vantage:
    """One agent process on a state directory of its own, with nobody at its collector's address."""

    def __init__(self, directory: Path, target_port: int) -> None:
        self.directory = directory
        self.metrics_port = free_port()
        self.config = directory / "agent.toml"
        self.config.write_text(
            f'collector = "127.0.0.1:{free_port()}"\nvantage = "v"\nstate_dir = "state"\n'
            f'metrics = "127.0.0.1:{self.metrics_port}"\n[policy]\nallow = ["127.0.0.0/8"]\n'
        )
        self.spool = directory / "state" / "spool.sqlite"
        self.spool.parent.mkdir()
        assignment = control_pb2.Assignment(revision=7, database_id=b"d" * 16)
        for number in range(5):
            task = assignment.tasks.add(
                key=f"t{number}", target=f"door-{number}", interval_ms=1000, timeout_ms=900
            )
            task.endpoint.kind = results_pb2.ENDPOINT_KIND_TCP
            task.endpoint.url = f"127.0.0.1:{target_port}"
        refused = assignment.tasks.add(key="no", target="lan", interval_ms=1000, timeout_ms=900)
        refused.endpoint.kind = results_pb2.ENDPOINT_KIND_TCP
        refused.endpoint.url = "10.0.0.1:22"
        AssignmentCache(directory / "state" / "assignment").store(assignment)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environ: str) -> "subprocess.Popen[bytes]":
        """Start the agent, its log appended to."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [AGENT, "run", "--config", self.config], stderr=log, env={**os.environ, **environ}
            )
        return self.process

    def measured(self) -> list[history.Kept]:
        """What is in the spool now."""
        with contextlib.suppress(SpoolError):  # not made yet
            return list(history.kept(self.spool))
        return []

    def log(self) -> list[dict[str, str]]:
        """Each line that it logged."""
        return [json.loads(line) for line in (self.directory / "log").read_text().splitlines()]

    def get(self, path: str) -> str:
        """What its HTTP port answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def answers(self) -> bool:
        """Whether its HTTP port answers."""
        try:
            return self.get("/healthz") == "ok\n"
        except OSError:
            return False


@pytest.fixture
def vantage(tmp_path: Path) -> Iterator[Vantage]:
    """An agent with five tasks on disk, whose collector is away, and one open port to measure."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as door:
        made = Vantage(tmp_path, door.getsockname()[1])
        yield made
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait()


def test_an_agent_measures_with_the_collector_away(vantage: Vantage) -> None:
    """After a reboot the cached assignment runs at once; SIGTERM ends it fast, and all results are kept."""
    process = vantage.start()
    until(lambda: len({kept.result.target for kept in vantage.measured()}) == 5, "five targets measured")
    assert all(kept.result.endpoint.ok for kept in vantage.measured() if kept.result.HasField("endpoint"))
    until(lambda: "sonde_agent_results_total" in vantage.get("/metrics"), "results are counted")
    metrics = vantage.get("/metrics")
    assert 'sonde_agent_results_total{kind="endpoint",outcome="ok"}' in metrics
    assert "sonde_agent_tasks 5" in metrics
    assert "sonde_agent_refused_tasks 1" in metrics
    assert "sonde_agent_uplink_connected 0" in metrics
    with pytest.raises(urllib.error.HTTPError, match="404"):
        vantage.get("/else")
    started = time.monotonic()
    process.terminate()
    assert process.wait(10) == 0
    assert time.monotonic() - started < 5
    events = [line["event"] for line in vantage.log()]
    assert events[-1] == "stopped"
    assert events.count("task_refused") == 1
    assert history.summary(vantage.spool).stats.rows == len(vantage.measured())


def test_a_killed_agent_goes_on_where_it_was(vantage: Vantage) -> None:
    """SIGKILL loses nothing that was kept, and the next start appends to the same stream."""
    vantage.start().send_signal(signal.SIGCONT)
    until(lambda: len(vantage.measured()) >= 5, "results are kept")
    assert vantage.process is not None
    vantage.process.kill()
    vantage.process.wait()
    before = [(kept.epoch, kept.seq) for kept in vantage.measured()]
    vantage.start()
    until(lambda: len(vantage.measured()) > len(before), "more results are kept")
    after = [(kept.epoch, kept.seq) for kept in vantage.measured()]
    assert after[: len(before)] == before
    assert [seq for _, seq in after] == list(range(1, len(after) + 1))


def test_a_second_agent_on_the_same_state_is_refused(vantage: Vantage) -> None:
    """It ends with 1 and one line that names the cause; the first goes on."""
    first = vantage.start()
    until(vantage.answers, "the first agent runs")
    second = subprocess.run(
        [AGENT, "run", "--config", vantage.config], capture_output=True, text=True, timeout=30, check=False
    )
    assert second.returncode == 1
    (line,) = second.stderr.splitlines()
    assert line.startswith("sonde-agent: ")
    assert "Traceback" not in line
    assert first.poll() is None


def test_a_taken_metrics_port_does_not_stop_the_measuring(vantage: Vantage) -> None:
    """The agent says so once and measures on."""
    with socket.create_server(("127.0.0.1", vantage.metrics_port)):
        vantage.start()
        until(lambda: len(vantage.measured()) >= 5, "it measures")
    assert [line["event"] for line in vantage.log()].count("metrics_off") == 1


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(vantage: Vantage, tmp_path: Path, abstract: bool) -> None:  # noqa: FBT001
    """READY first, WATCHDOG and STATUS while it beats, STOPPING at the end, on both kinds of socket."""
    name = f"sonde-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        manager.settimeout(20)
        process = vantage.start(NOTIFY_SOCKET=f"@{name}" if abstract else name, WATCHDOG_USEC="10000000")
        said = manager.recv(4096).decode()
        assert said.startswith("READY=1\nSTATUS=")
        while not said.startswith("WATCHDOG=1\n"):
            said = manager.recv(4096).decode()
        process.terminate()
        while not said.startswith("STOPPING=1\n"):
            said = manager.recv(4096).decode()
        assert process.wait(10) == 0


def test_a_stopped_process_records_what_it_missed(vantage: Vantage) -> None:
    """After some seconds of SIGSTOP the slots that passed are rows of their own, with reason and count."""
    process = vantage.start()
    until(lambda: len(vantage.measured()) >= 5, "it measures")
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)  # this is the fault: its length is what is measured
    process.send_signal(signal.SIGCONT)
    until(lambda: any(kept.result.HasField("missed") for kept in vantage.measured()), "missed slots are kept")
    late = [
        kept.result
        for kept in vantage.measured()
        if kept.result.missed.reason == results_pb2.MISS_REASON_LATE
    ]
    assert late
    for result in late:
        assert 2 <= result.missed.slots <= 6
        assert result.missed.task.startswith("t")


def test_a_client_that_says_nothing_does_not_hold_metrics(vantage: Vantage) -> None:
    """Half a request and a huge one are dropped; others are answered meanwhile."""

    async def rude() -> None:
        _, silent = await asyncio.open_connection("127.0.0.1", vantage.metrics_port)
        reader, huge = await asyncio.open_connection("127.0.0.1", vantage.metrics_port)
        huge.write(b"GET /metrics HTTP/1.1\r\n" + b"x" * 100_000)
        assert await asyncio.to_thread(vantage.answers)
        with contextlib.suppress(ConnectionResetError):  # not all that was sent had been read
            assert await reader.read() == b""
        silent.close()
        huge.close()

    vantage.start()
    until(vantage.answers, "the agent runs")
    asyncio.run(rude())
