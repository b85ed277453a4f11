"""The demo, started as a newcomer starts it."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import Program, eventually, run

from sonde_lab.lab import missing_programs

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("demo"),  # two that start at once would choose the same free ports
]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Program]:
    """A demo in a folder of its own, not started yet."""
    program = Program("sonde-lab", "demo", "--dir", str(tmp_path / "demo"), log=tmp_path / "demo.log")
    yield program
    program.stop(within_s=60)


def started_from(folder: Path) -> list[str]:
    """Return the command lines of the processes that name `folder`, other than the demo itself."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(folder) in " ".join(words) and "demo" not in words and int(process.name) != os.getpid():
            found.append(" ".join(words))
    return found


def until_rows(demo: Program) -> None:
    """Wait until a started demo has told of rows once."""
    eventually(lambda: not demo.running or "rows in PostgreSQL" in demo.tail(), 120, demo.tail)
    assert demo.running, demo.tail()


def rows(config: Path, table: str) -> int:
    """Return the count of a table's rows, as a user asks for it."""
    said = run("sonde-collector", "sql", "--config", str(config), f"SELECT count(*) AS rows FROM {table}")
    assert said.returncode == 0, said.stderr
    return int(said.stdout)


def test_results_of_both_checks_from_both_agents_arrive(tmp_path: Path) -> None:
    """A direct demo of 15 seconds exits 0, says what arrived, and its database answers afterwards."""
    folder = tmp_path / "demo"
    done = run("sonde-lab", "demo", "--direct", "--seconds", "15", "--dir", str(folder), within_s=200)
    assert done.returncode == 0, done.stdout + done.stderr
    for vantage in ("ams1", "nyc1"):
        for table in ("performance_logs", "sonde.endpoint_checks"):
            assert any(line.split()[:2] == [vantage, table] for line in done.stdout.splitlines()), done.stdout
    assert rows(folder / "collector.toml", "performance_logs") > 0
    assert rows(folder / "collector.toml", "sonde.endpoint_checks") > 0
    failed = "sonde.endpoint_checks WHERE failure = 'refused'"
    assert rows(folder / "collector.toml", failed) > 0, "the closed port's failures are results too"


@pytest.mark.root
def test_tunnels_of_every_protocol_are_measured_and_ranked(tmp_path: Path) -> None:
    """90 seconds of demo measure every protocol, rank, tell of what is down, and unlock as it is true."""
    if os.geteuid() or missing_programs():
        pytest.skip(f"needs root and {', '.join(missing_programs()) or 'nothing else'}")
    folder = tmp_path / "demo"
    done = run("sonde-lab", "demo", "--seconds", "90", "--dir", str(folder), within_s=250)
    assert done.returncode == 0, done.stdout + done.stderr
    config = folder / "collector.toml"
    through = "(SELECT DISTINCT protocol_id FROM performance_logs WHERE connection_success) AS protocol"
    assert rows(config, through) == 4, done.stdout
    others = "performance_logs JOIN sonde.server_keys USING (server_id) WHERE key NOT LIKE 'lab-us-%'"
    assert rows(config, f"{others} AND connection_success IS FALSE") == 0, done.stdout
    assert "ike-us goes down" in done.stdout
    assert 'critical: server "lab-us-chi-ike-001" is UNHEALTHY' in done.stdout
    assert rows(config, "performance_logs WHERE download_mbps > 1") > 0, done.stdout
    # A busy host's agents are not fit to judge now and then; nothing is held for another reason.
    assert rows(config, "sonde.performance_held WHERE held_because <> 'vantage not ready'") == 0, done.stdout
    assert re.search(r"streaming unlock, (\d+) of \1 = truth", done.stdout), done.stdout
    assert (
        rows(config, "(SELECT DISTINCT server_id, platform_id, probe_id FROM streaming_checks) AS cell") == 96
    )
    assert rows(config, "streaming_checks WHERE via = 'dns_proxy' AND region = 'GB'") > 0, done.stdout
    latest = "(SELECT DISTINCT server_id FROM sonde.server_latest WHERE connection_success) AS server"
    assert rows(config, latest) >= 4, done.stdout


def test_a_killed_demo_leaves_no_process_and_the_next_one_works(tmp_path: Path, demo: Program) -> None:
    """SIGKILL of the demo ends every program it started, and a second demo in the same folder succeeds."""
    folder = tmp_path / "demo"
    demo.start()
    until_rows(demo)
    demo.kill()
    eventually(lambda: not started_from(folder), 60, lambda: "\n".join(started_from(folder)))
    done = run("sonde-lab", "demo", "--seconds", "15", "--dir", str(folder), within_s=200)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ctrl_c_ends_in_order(tmp_path: Path, demo: Program) -> None:
    """Ctrl-C ends the demo with its summary and leaves no process."""
    demo.start()
    until_rows(demo)
    assert demo.process is not None
    demo.process.send_signal(signal.SIGINT)
    eventually(lambda: not demo.running, 60, demo.tail)
    assert "In PostgreSQL from this run:" in demo.tail()
    assert not started_from(tmp_path / "demo")
