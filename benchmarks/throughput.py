#!/usr/bin/env python3
"""Throughput of our own engine beside iperf3, over a veth pair between two network namespaces.

Rounds alternate: iperf3, ours, iperf3, ours. Download is `iperf3 -R` against our GET from nginx; upload is
iperf3 against our PUT to a server that drops what it receives as cheaply as we do (MSG_TRUNC). One stream, as
fast as this machine takes it; then CPU for each GB with the sender's side shaped to 1 Gbit/s (tbf),
where both move the same bytes. CPU is user and system time of the client's process: of iperf3 all of it, of
ours from the first packet to the row.

usage: python benchmarks/throughput.py [--only throughput_down_vs_iperf3,throughput_up_vs_iperf3]
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.bulk_servers import nginx, running  # noqa: E402
from support.namespaces_pair import Pair, pair  # noqa: E402

from sonde_agent.checks.base import Context  # noqa: E402
from sonde_agent.checks.throughput.check import ThroughputCheck  # noqa: E402
from sonde_agent.net.icmp import Engines  # noqa: E402
from sonde_proto.v1 import control_pb2  # noqa: E402

ROWS = ("throughput_down_vs_iperf3", "throughput_up_vs_iperf3")

ROUNDS = 5
SECONDS = 3
RAMP_S = 1
SHAPED_MBPS = 1000
PORT, SINK_PORT, IPERF_PORT = 8080, 8081, 5201
MODE = {
    False: "epoll, recv_into(MSG_TRUNC) up to 8 MiB, SO_RCVLOWAT up to 4 MiB",
    True: "epoll, sendfile() of a 1 MiB memory file; the rate is what the peer's kernel acknowledged",
}


def our_run(spec: dict[str, Any]) -> dict[str, float]:
    """Run our check here; Mbit/s, CPU seconds, bytes."""
    throughput = control_pb2.ThroughputSpec(
        seconds=SECONDS, ramp_ms=RAMP_S * 1000, streams=1, max_bytes=1 << 40, **spec
    )
    task = control_pb2.Task(key="bench", target="bench", timeout_ms=60_000, throughput=throughput)

    async def once() -> tuple[Any, float]:
        before = time.process_time()
        [result] = await ThroughputCheck().run(task, Context(icmp=Engines()))
        return result.performance, time.process_time() - before

    row, cpu_s = asyncio.run(once())
    if row.failure:
        raise SystemExit(f"our run failed: {row.detail}")
    return {
        "mbps": row.download_mbps or row.upload_mbps,
        "cpu_s": cpu_s,
        "bytes": row.down_bytes or row.up_bytes,
    }


def ours(two: Pair, *, upload: bool) -> dict[str, float]:
    """Our client, in a fresh process in the first namespace."""
    url = f"http://{two.second}:{SINK_PORT}/" if upload else f"http://{two.second}:{PORT}/1g"
    spec = json.dumps({"upload_url" if upload else "url": url})
    command = [*two.in_first, sys.executable, __file__, "--round", spec]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def iperf3(two: Pair, *, upload: bool) -> dict[str, float]:
    """The reference, in the same namespace."""
    argv = ["iperf3", "-J", "-c", two.second, "-p", str(IPERF_PORT), "-t", str(SECONDS), "-O", str(RAMP_S)]
    process = subprocess.Popen(
        [*two.in_first, *argv, *([] if upload else ["-R"])], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = json.loads(process.stdout.read())
    process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    moved = sum(interval["sum"]["bytes"] for interval in said["intervals"])
    return {
        "mbps": said["end"]["sum_received"]["bits_per_second"] / 1e6,
        "cpu_s": used.ru_utime + used.ru_stime,
        "bytes": moved,
    }


@contextlib.contextmanager
def servers(two: Pair, folder: Path) -> Iterator[None]:
    """Run nginx, the swallower and iperf3 in the second namespace."""
    os.environ["PYTHONPATH"] = str(ROOT / "tests")
    sink = [sys.executable, "-m", "support.bulk_servers", "swallow", two.second, str(SINK_PORT)]
    with (
        nginx(folder, two.second, PORT, inside=two.in_second),
        running(sink, two.second, SINK_PORT, two.in_second),
        running(["iperf3", "-s", "-p", str(IPERF_PORT)], two.second, IPERF_PORT, two.in_second),
    ):
        (folder / "www" / "1g").read_bytes()  # into the page cache, as iperf3's buffer is in memory
        yield


def compare(two: Pair, rounds: int, *, upload: bool) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Some rounds of each, alternating."""
    our_rounds, their_rounds = [], []
    for _ in range(rounds):
        their_rounds.append(iperf3(two, upload=upload))
        our_rounds.append(ours(two, upload=upload))
    return our_rounds, their_rounds


def median(rounds: list[dict[str, float]], name: str) -> float:
    """The median of a figure over rounds."""
    return statistics.median(each[name] for each in rounds)


def cpu_per_gb(rounds: list[dict[str, float]]) -> float:
    """Median CPU for 10^9 bytes [s]."""
    return statistics.median(each["cpu_s"] / each["bytes"] * 1e9 for each in rounds)


def row(two: Pair, name: str, *, upload: bool) -> dict[str, object]:
    """Measure one direction."""
    free, theirs = compare(two, ROUNDS, upload=upload)
    two.shape(SHAPED_MBPS, upload=upload)
    shaped, their_shaped = compare(two, 2, upload=upload)
    two.unshape(upload=upload)
    value, reference = median(free, "mbps"), median(theirs, "mbps")
    low, high = min(each["mbps"] for each in free), max(each["mbps"] for each in free)
    return {
        "value": round(value / 1000, 2),
        "unit": "Gbit/s",
        "reference": round(reference / 1000, 2),
        "ratio": round(value / reference, 2),
        "samples": ROUNDS,
        "spread": f"{low / 1000:.1f} to {high / 1000:.1f}",
        "command": f"make bench ONLY={name}",
        "note": f"one stream over veth, medians of {ROUNDS} rounds of {SECONDS} s after {RAMP_S} s, "
        f"alternating; {MODE[upload]}. CPU of the client, s per GB: unshaped {cpu_per_gb(free):.3f}, iperf3 "
        f"{cpu_per_gb(theirs):.3f}; shaped to 1 Gbit/s by tbf {cpu_per_gb(shaped):.3f}, iperf3 "
        f"{cpu_per_gb(their_shaped):.3f} (at {median(shaped, 'mbps'):.0f} and "
        f"{median(their_shaped, 'mbps'):.0f} Mbit/s of payload, of 957 that fit). Servers and clients share "
        f"the {os.cpu_count()} processors of this machine.",
    }


def main() -> None:
    """Measure and print the rows; with --round, be the process that is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(ROWS))
    parser.add_argument("--round", metavar="SPEC", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.round:
        print(json.dumps(our_run(json.loads(args.round))))
        return
    missing = [program for program in ("iperf3", "nginx", "nsenter", "tc") if not shutil.which(program)]
    if missing or os.geteuid() != 0:
        sys.exit(f"needs root, and the programs iperf3, nginx, nsenter and tc; missing: {missing or 'root'}")
    wanted = args.only.split(",")
    rows: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="sonde-bench-") as name, pair() as two, servers(two, Path(name)):
        for each in ROWS:
            if each in wanted:
                rows[each] = row(two, each, upload="_up_" in each)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
