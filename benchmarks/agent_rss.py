#!/usr/bin/env python3
"""The memory of an agent at work: 1000 direct checks a minute, half pings and half HTTPS, with the uplink on.

A real collector on a real PostgreSQL assigns the work and takes the results. The agent runs from .bench-venv,
which holds sonde-proto, sonde-agent, what they need and nothing else, in a memory cgroup of its own. The
figure is that group's peak, which counts children, kernel memory and the file pages that the agent read in.
For these to count, the environment's files are put out of the page cache first.

usage: python benchmarks/agent_rss.py [--only agent_rss_mb]
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.fleet import collector_toml  # noqa: E402
from support.postgres import Server  # noqa: E402
from support.programs import Program, free_port, run  # noqa: E402

from sonde_lab import certificates, edges  # noqa: E402

ROWS = ("agent_rss_mb",)

VENV = ROOT / ".bench-venv"
SECONDS = 120
EACH = 100  # servers pinged and URLs fetched, each every 12 s: 1000 checks a minute
EVERY = "12s"
CGROUPS = (
    # where groups are, the group's peak
    (Path("/sys/fs/cgroup/memory"), "memory.max_usage_in_bytes"),  # version 1
    (Path("/sys/fs/cgroup"), "memory.peak"),  # version 2, Linux 5.19
)


def make_venv() -> None:
    """Install the agent and its ground alone, in the versions of the environment that runs this."""
    if not VENV.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    frozen = subprocess.run(
        [sys.executable, "-m", "pip", "freeze", "--exclude-editable"],
        capture_output=True,
        text=True,
        check=True,
    )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        pins.write("\n".join(re.findall(r"^[\w.-]+==\S+$", frozen.stdout, flags=re.MULTILINE)))
        pins.flush()
        pip: list[str | Path] = [
            VENV / "bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "-c", pins.name, ROOT / "proto", ROOT / "agent"], check=True)
        ours: list[str | Path] = [ROOT / "proto", ROOT / "agent"]
        subprocess.run([*pip, "--no-deps", "--force-reinstall", *ours], check=True)


def fleet_toml(port: int, ca_file: Path) -> str:
    """The inventory: one vantage, EACH servers on loopback addresses, EACH URLs of one HTTPS edge."""
    head = (
        '[[vantage]]\ncode = "bench"\ncity = "Amsterdam"\ncountry = "NL"\n'
        '[[provider]]\nkey = "p"\nname = "P"\n'
    )
    servers = [
        f'[[server]]\nkey = "s{n}"\nprovider = "p"\ncity = "Berlin"\ncountry = "DE"\n'
        f'ip_address = "127.1.0.{n}"\n'
        for n in range(1, EACH + 1)
    ]
    targets = [
        f'[[target]]\nkey = "t{n}"\nkind = "http"\nurl = "https://{edges.NAME}:{port}/{n}"\n'
        f'connect_to = ["{edges.EDGES[0].address}"]\nca_file = "{ca_file}"\n'
        for n in range(1, EACH + 1)
    ]
    plans = (
        f'[[plan]]\nkey = "pings"\nchecks = ["ping"]\nservers = "*"\nvantages = "*"\nevery = "{EVERY}"\n'
        'success = "ping"\n[plan.ping]\ncount = 10\nspacing = "500ms"\nwait = "2s"\n'
        f'[[plan]]\nkey = "web"\nchecks = ["endpoint"]\ntargets = "*"\nvantages = "*"\nevery = "{EVERY}"\n'
        'timeout = "10s"\n'
    )
    return "\n".join([head, *servers, *targets, plans])


@contextlib.contextmanager
def collector(folder: Path, edge_port: int) -> Iterator[int]:
    """A collector with the inventory in its database; gives its gRPC port."""
    server = Server(durable=True)
    port = free_port()
    config, inventory = folder / "collector.toml", folder / "fleet.toml"
    inventory.write_text(fleet_toml(edge_port, folder / "ca.pem"))
    try:
        server.start()
        server.create("bench")
        config.write_text(collector_toml(server.url("bench"), port))
        for command in (("migrate",), ("apply", str(inventory))):
            done = run("sonde-collector", *command, "--config", str(config))
            assert done.returncode == 0, done.stdout + done.stderr
        program = Program("sonde-collector", "serve", "--config", str(config), log=folder / "collector.log")
        program.start()
        try:
            yield port
        finally:
            program.stop()
    finally:
        server.stop()


@contextlib.contextmanager
def web(folder: Path, port: int) -> Iterator[None]:
    """The lab's HTTPS edges on `port`."""
    certificates.write(folder, [edges.NAME])
    files = [str(folder / "server.pem"), str(folder / "server.key")]
    program = subprocess.Popen(
        [sys.executable, "-m", "sonde_lab.edges", *files, str(port)], stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    try:
        program.stdout.readline()
        yield
    finally:
        program.terminate()
        program.wait()
        program.stdout.close()


@contextlib.contextmanager
def cgroup() -> Iterator[tuple[Path, str] | None]:
    """A memory cgroup and the name of its peak; None where this user may make none."""
    for base, peak in CGROUPS:
        group = base / f"sonde-bench-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / peak).exists():
                yield group, peak
                return
        finally:
            time.sleep(0.5)
            group.rmdir()
    yield None


def evict() -> None:
    """Put the environment's files out of the page cache: the group is charged for what the agent reads."""
    for path in VENV.rglob("*"):
        if path.is_file() and not path.is_symlink():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def status_mb(pid: int) -> dict[str, float]:
    """What /proc says of a process's memory [10^6 bytes]."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.findall(r"^(VmHWM|RssAnon|RssFile):\s+(\d+) kB", text, flags=re.MULTILINE)
    return {name: round(int(kilobytes) * 1024 / 1e6, 1) for name, kilobytes in found}


def figures(port: int) -> dict[str, float]:
    """What the agent's own /metrics says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[:1] != "#"]
    return {name: float(value) for name, value in lines}


def measure(folder: Path) -> dict[str, object]:
    """Run the agent for SECONDS; give the row."""
    edge_port, metrics_port = free_port(), free_port()
    with web(folder, edge_port), collector(folder, edge_port) as port, cgroup() as group:
        config = folder / "agent.toml"
        config.write_text(
            f'collector = "127.0.0.1:{port}"\nvantage = "bench"\nstate_dir = "state"\n'
            f'metrics = "127.0.0.1:{metrics_port}"\n[policy]\nallow = ["127.0.0.0/8"]\n'
        )
        evict()
        argv: list[str | Path] = [VENV / "bin/sonde-agent", "run", "--config", config]
        enter: Callable[[], object] | None = None
        if group is not None:
            members = group[0] / "cgroup.procs"
            enter = lambda: members.write_text(str(os.getpid()))  # noqa: E731 -- before exec, so all is counted
        with (folder / "agent.log").open("wb") as log:
            agent = subprocess.Popen(argv, stderr=log, preexec_fn=enter)  # noqa: PLW1509 -- no threads here
        try:
            time.sleep(SECONDS)
            told, memory = figures(metrics_port), status_mb(agent.pid)
            peak_mb = int((group[0] / group[1]).read_text()) / 1e6 if group else memory["VmHWM"]
        finally:
            agent.terminate()
            agent.wait()
    results = {name: value for name, value in told.items() if name.startswith("sonde_agent_results_total")}
    assert told["sonde_agent_uplink_connected"] == 1, (folder / "agent.log").read_text()
    how = f"the cgroup's {group[1]}" if group else "VmHWM, for want of a cgroup; there are no children"
    return {
        "value": round(peak_mb, 1),
        "unit": "MB",
        "reference": None,
        "ratio": None,
        "samples": 1,
        "spread": ", ".join(f"{name} {value} MB" for name, value in memory.items()),
        "command": "make bench ONLY=agent_rss_mb",
        "note": f"{how}, its files not cached before; {sum(results.values()):.0f} results in {SECONDS} s "
        f"({'; '.join(f'{name[25:]} {value:.0f}' for name, value in sorted(results.items()))}), "
        f"{told['sonde_agent_uplink_acks_total']:.0f} acks, {told['sonde_agent_spool_rows']:.0f} waiting, "
        f"CPU {told['sonde_agent_cpu_ratio']:.1%} of a core. At its start the agent drops the pages of its "
        "libraries that were read ahead and not used; those it uses count. The interpreter's "
        "file pages are shared with other programs and count only where the agent read them first.",
    }


def main() -> int:
    """Print the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="agent_rss_mb")
    parser.parse_args()
    make_venv()
    with tempfile.TemporaryDirectory(prefix="sonde-bench-") as name:
        row = measure(Path(name))
    print(json.dumps({"agent_rss_mb": row}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
