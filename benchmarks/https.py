#!/usr/bin/env python3
"""CPU of one fresh HTTPS check, kernel phases on, beside blackbox_exporter in the same run.

A local nginx (TLS 1.3, ECDSA P-256) answers both. Each check is a new connection with a full handshake and
a verified certificate; 8 go on at once. Ours is the CPU of a process that awaits `EndpointCheck.run` as the
agent does, its results built; blackbox's is the CPU of its process, which also answers the scrape (the
scraper is not counted). Rounds alternate, so that a busy machine is busy for both.

usage: python benchmarks/https.py [--only https_cpu_vs_blackbox]
"""

import argparse
import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.edges import Authority  # noqa: E402

from sonde_agent.checks.base import Context  # noqa: E402
from sonde_agent.checks.kinds import KINDS  # noqa: E402
from sonde_agent.net.icmp import Engines  # noqa: E402
from sonde_proto.v1 import control_pb2  # noqa: E402
from sonde_proto.v1 import results_pb2 as pb  # noqa: E402

# Profiled apart, one machine and day: what a check is made of, and what would have to change.
WHY = (
    "Where ours goes, ms: handshake and request with stamps 1.04, the probe around them 0.26, the hand-over "
    "to a worker thread 0.3, threads waiting for the interpreter lock at 8 at once 0.2. Less needs one "
    "thread that waits for all sockets at once, in place of one a check."
)

ROWS = ("https_cpu_vs_blackbox",)

PROGRAMS = {"nginx": "nginx-light", "prometheus-blackbox-exporter": "prometheus-blackbox-exporter"}
ROUNDS = 5
CHECKS = 400  # a round
AT_ONCE = 8
WARM_UP = 40

NGINX = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
  uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    location / {{ return 200 "hello sonde\\n"; }}
  }}
}}
"""
BLACKBOX = """\
modules:
  https:
    prober: http
    timeout: 5s
    http: {{ fail_if_not_ssl: true, preferred_ip_protocol: ip4, tls_config: {{ ca_file: {ca} }} }}
"""


def free_port() -> int:
    """Return a TCP port that nothing uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def install() -> None:
    """Install what is missing, starting no service; end with one clear line where that can't be done."""
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"{ROWS[0]} needs the Debian packages {' '.join(missing)}: install them, or run as root")
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        install_them = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], install_them):
            subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    finally:
        if ours:
            policy.unlink()


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server; it is ready when its port accepts, and ends with the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{command[0]} did not start")
                time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def cpu_s(pid: int) -> float:
    """Return user and system CPU of a process so far [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def blackbox_round(pid: int, port: int, url: str) -> float:
    """Return blackbox's CPU for one check [ms]."""

    def scrape(count: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(count):
            connection.request("GET", f"/probe?module=https&target={url}")
            if b"probe_success 1" not in connection.getresponse().read():
                raise SystemExit("blackbox_exporter's check failed")
        connection.close()

    def all_at_once(count: int) -> None:
        threads = [threading.Thread(target=scrape, args=(count // AT_ONCE,)) for _ in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_at_once(WARM_UP)
    before = cpu_s(pid)
    all_at_once(CHECKS)
    return (cpu_s(pid) - before) / CHECKS * 1000


async def our_round(url: str, ca: str) -> dict[str, float]:
    """Return our CPU for one check [ms], and how many checks lacked a kernel stamp."""
    spec = control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_HTTP, url=url, ca_file=ca)
    task = control_pb2.Task(key="bench", target="bench", timeout_ms=5000, endpoint=spec)
    check, context, flagged = KINDS["endpoint"], Context(icmp=Engines()), 0

    async def some(count: int) -> None:
        nonlocal flagged
        for _ in range(count):
            [result] = await check.run(task, context)
            if not result.endpoint.ok:
                raise SystemExit(f"our check failed: {result.endpoint}")
            flagged += bool(result.endpoint.quality)

    async def all_at_once(count: int) -> None:
        await asyncio.gather(*(some(count // AT_ONCE) for _ in range(AT_ONCE)))

    await all_at_once(WARM_UP)
    flagged, before = 0, time.process_time()
    await all_at_once(CHECKS)
    return {"cpu_ms": (time.process_time() - before) / CHECKS * 1000, "flagged": flagged}


def measure() -> dict[str, object]:
    """Return the row."""
    ours: list[float] = []
    theirs: list[float] = []
    flagged = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority(folder)
        certificate, key = authority.leaf("127.0.0.1")
        port, exporter_port = free_port(), free_port()
        settings = NGINX.format(folder=folder, port=port, certificate=certificate, key=key)
        (folder / "nginx.conf").write_text(settings)
        (folder / "blackbox.yml").write_text(BLACKBOX.format(ca=authority.file))
        url = f"https://127.0.0.1:{port}/"
        nginx = ["nginx", "-p", name, "-c", str(folder / "nginx.conf")]
        exporter = [
            "prometheus-blackbox-exporter",
            f"--config.file={folder / 'blackbox.yml'}",
            f"--web.listen-address=127.0.0.1:{exporter_port}",
        ]
        with running(nginx, port), running(exporter, exporter_port) as blackbox:
            for _ in range(ROUNDS):
                theirs.append(blackbox_round(blackbox.pid, exporter_port, url))
                command = [sys.executable, __file__, "--round", url, str(authority.file)]
                told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                ours.append(json.loads(told)["cpu_ms"])
                flagged += json.loads(told)["flagged"]
    value, reference = statistics.median(ours), statistics.median(theirs)
    return {
        "value": round(value, 3),
        "unit": "ms of CPU per check",
        "reference": round(reference, 3),
        "ratio": round(value / reference, 3),
        "samples": ROUNDS * CHECKS,
        "spread": f"{min(ours):.2f} to {max(ours):.2f}",
        "command": "python benchmarks/https.py",
        "note": f"median of {ROUNDS} rounds of {CHECKS}, {AT_ONCE} at once; blackbox_exporter "
        f"{min(theirs):.2f} to {max(theirs):.2f} ms; {flagged} of ours without kernel stamps. {WHY}",
    }


def main() -> None:
    """Measure and print the row; with --round, be the process that is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--round", nargs=2, metavar=("URL", "CA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.round:
        print(json.dumps(asyncio.run(our_round(*args.round))))
    elif set(args.only.split(",")) & set(ROWS):
        install()
        print(json.dumps({ROWS[0]: measure()}))


if __name__ == "__main__":
    main()
