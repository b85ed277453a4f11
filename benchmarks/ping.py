"""The ping rows of the benchmark: error against a packet capture, and cost against fping.

    python benchmarks/ping.py [--only ROW,...]

Needs root: it makes two network namespaces joined by a veth pair, the far one answering all of
10.99.0.0/16, and removes them. Prints one JSON object, row name -> value, reference and how it was made.
On veth the kernel carries each echo there and back inside the sender's own system call, responder
included, so absolute CPU is an upper bound for every tool; ratios hold.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ping_wire import NEAR, capture, measured, network, start, true_rtts
from ping_worker import targets

PACKAGES = {
    "fping": "fping",
    "tcpdump": "tcpdump",
    "prometheus-blackbox-exporter": "prometheus-blackbox-exporter",
}
REFUSE_STARTS = "#!/bin/sh\nexit 101\n"  # policy-rc.d(8): no package may start its service
WORKER = Path(__file__).with_name("ping_worker.py")
BLACKBOX = "127.0.0.1:19115"
BLACKBOX_CONFIG = "modules: {icmp: {prober: icmp, timeout: 2s, icmp: {preferred_ip_protocol: ip4}}}\n"


def install_missing() -> None:
    """Gets the reference tools from Debian, without letting any start a service."""
    missing = [package for tool, package in PACKAGES.items() if shutil.which(tool) is None]
    if not missing:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text(REFUSE_STARTS)
        policy.chmod(0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-qy", "--no-install-recommends", *missing]
        subprocess.run(["apt-get", "-q", "update"], env=environment, check=True, stdout=sys.stderr)
        subprocess.run(install, env=environment, check=True, stdout=sys.stderr)
    finally:
        if ours:
            policy.unlink()


def errors(told: dict[str, list[float | None]], truth: dict[str, list[float | None]]) -> list[float]:
    """Told minus true [µs] of every echo that both know."""
    return [
        ours - true
        for address, row in told.items()
        for ours, true in zip(row, truth.get(address, []), strict=False)
        if ours is not None and true is not None
    ]


def p(values: list[float], share: float) -> float:
    """Percentile by nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def middle(values: list[float]) -> float:
    """The median by nearest rank; `statistics` would be paid for by the engine's worker."""
    return p(values, 0.5)


def by_sonde(
    count: int, each: int, spacing_s: float
) -> tuple[dict[str, list[float | None]], dict[str, Any], float]:
    """RTTs [µs] as the engine tells them, its own account, and the process's CPU [s]."""
    out, err, cpu = measured(sys.executable, str(WORKER), str(count), str(each), str(spacing_s))
    assert out, err
    account = json.loads(out)
    return account.pop("rtts_us"), account, cpu


def by_fping(
    count: int, each: int, spacing_s: float, gap_ms: float
) -> tuple[dict[str, list[float | None]], float]:
    """RTTs [µs] as fping tells them, and its CPU [s]."""
    with tempfile.NamedTemporaryFile("w", suffix=".targets") as file:
        file.write("\n".join(targets(count)))
        file.flush()
        options = [
            "-q",
            "-C",
            str(each),
            "-p",
            str(round(spacing_s * 1000)),
            "-i",
            f"{gap_ms:g}",
            "-t",
            "1000",
        ]
        _, err, cpu = measured("fping", *options, "-f", file.name)
    rows = (line.split(" : ") for line in err.splitlines() if " : " in line)
    times = {name.strip(): [None if t == "-" else float(t) * 1000 for t in row.split()] for name, row in rows}
    return times, cpu


def by_blackbox(count: int, folder: Path) -> dict[str, list[float | None]]:
    """RTTs [µs] as blackbox_exporter tells them: one echo a target, eight probes at a time."""
    config = folder / "blackbox.yml"
    config.write_text(BLACKBOX_CONFIG)
    exporter = start(
        NEAR, "prometheus-blackbox-exporter", f"--config.file={config}", f"--web.listen-address={BLACKBOX}",
        output=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, err, _ = measured(sys.executable, __file__, "--blackbox", str(count))
    finally:
        exporter.terminate()
        exporter.communicate()
    assert out, err
    rtts: dict[str, list[float | None]] = json.loads(out)
    return rtts


@contextlib.contextmanager
def burners(count: int) -> Iterator[None]:
    """Processes that burn a CPU each."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def row_error(load: int) -> dict[str, Any]:
    """Error of every echo against the capture, 100 targets, 20 echoes each, beside the references."""
    with tempfile.TemporaryDirectory() as name, burners(load):
        folder = Path(name)
        with capture(folder):
            rtts, account, _ = by_sonde(100, 20, 0.2)
        ours, by_departure = errors(rtts, true_rtts(folder)), errors(rtts, true_rtts(folder, "v0-out"))
        with capture(folder):
            told, _ = by_fping(100, 20, 0.2, 1)
        fping = errors(told, true_rtts(folder))
        with capture(folder):
            told = by_blackbox(400, folder)
        blackbox = errors(told, true_rtts(folder))
    absolute, reference = [abs(e) for e in ours], [abs(e) for e in fping]
    return {
        "value": round(p(absolute, 0.99), 3),
        "unit": "us",
        "reference": round(p(reference, 0.99), 3),
        "ratio": round(p(absolute, 0.99) / p(reference, 0.99), 4),
        "samples": len(ours),
        "spread": {
            "median": round(middle(ours), 3),
            "p95": round(p(ours, 0.95), 3),
            "max_abs": round(max(absolute), 3),
        },
        "note": f"reference fping ({len(fping)} echoes, max {max(reference):.0f}); blackbox_exporter p99 "
        f"{p([abs(e) for e in blackbox], 0.99):.0f} ({len(blackbox)} echoes); {load} CPU burners; "
        f"{account['user_stamped']} echoes without a kernel stamp, counted; veth; "
        "truth: arrival at the far end to arrival back, both captured. Its p99 is the first echo of a batch, "
        "one in some 30: the kernel puts its stamp away with cold caches before the echo goes on. "
        f"Against a capture of its leaving, which comes before our stamp: median {middle(by_departure):.2f}, "
        f"p99 {p([abs(e) for e in by_departure], 0.99):.1f}",
    }


def row_cpu() -> dict[str, Any]:
    """CPU per 1000 echoes at 5000/s: 5000 targets, 10 echoes each, a second apart; process start included."""
    ours, theirs, lost = [], [], 0
    for _ in range(3):
        _, account, cpu = by_sonde(5000, 10, 1.0)
        ours.append(cpu / (account["sent"] / 1000))
        lost += account["sent"] - account["received"]
        told, cpu = by_fping(5000, 10, 1.0, 0.2)
        theirs.append(cpu / (sum(map(len, told.values())) / 1000))
    value, reference = middle(ours), middle(theirs)
    return {
        "value": round(value / reference, 4),
        "unit": "x",
        "reference": 1.0,
        "ratio": round(value / reference, 4),
        "samples": len(ours),
        "spread": {"ours_cpu_s_per_1000": [round(v, 5) for v in sorted(ours)],
                   "fping_cpu_s_per_1000": [round(v, 5) for v in sorted(theirs)]},
        "note": f"{lost} of {3 * 50_000} echoes lost; process start included on both sides",
    }  # fmt: skip


def row_per_core() -> dict[str, Any]:
    """Echoes a second of CPU, at 60 000 offered a second for 5 seconds, none lost."""
    values, lost, walls = [], 0, []
    for _ in range(3):
        _, account, _ = by_sonde(6000, 50, 0.1)
        values.append(account["received"] / account["cpu_s"])
        walls.append(account["received"] / account["wall_s"])
        lost += account["sent"] - account["received"]
    return {
        "value": round(middle(values)),
        "unit": "echoes/s per core",
        "reference": 6500,
        "ratio": round(middle(values) / 6500, 2),
        "samples": len(values),
        "spread": {"min": round(min(values)), "max": round(max(values))},
        "note": f"{lost} of {3 * 300_000} echoes lost; answered {round(middle(walls))}/s of 60 000 offered; "
        "CPU of the run alone; reference: where fping runs out of sequence numbers",
    }


ROWS = {
    "ping_error_p99_idle_us": lambda: row_error(0),
    "ping_error_p99_loaded_us": lambda: row_error(4),
    "ping_cpu_vs_fping": row_cpu,
    "ping_echoes_per_core": row_per_core,
}


def blackbox_worker(count: int) -> None:
    """Inside the namespace: asks the exporter for one echo a target."""
    import urllib.request  # noqa: PLC0415 -- heavy; the engine's worker must not pay for it

    duration = re.compile(r'probe_icmp_duration_seconds\{phase="rtt"\} (\S+)')

    def one(address: str) -> list[float | None]:
        with urllib.request.urlopen(
            f"http://{BLACKBOX}/probe?module=icmp&target={address}", timeout=10
        ) as page:
            found = duration.search(page.read().decode())
        return [float(found[1]) * 1e6 if found else None]

    for _ in range(100):
        with contextlib.suppress(OSError):
            one("10.99.200.1")
            break
        time.sleep(0.05)
    with ThreadPoolExecutor(8) as pool:
        print(json.dumps(dict(zip(targets(count), pool.map(one, targets(count)), strict=True))))


def main(arguments: list[str]) -> None:
    """Prints the rows that are asked for, all without a name."""
    if arguments[:1] == ["--blackbox"]:
        blackbox_worker(int(arguments[1]))
        return
    if arguments[:1] == ["--only"]:
        arguments = arguments[1].split(",")
    if os.geteuid() != 0:
        sys.exit("benchmarks/ping.py needs root: it makes network namespaces")
    if unknown := set(arguments) - ROWS.keys():
        sys.exit(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    install_missing()
    with network():
        rows = {name: ROWS[name]() for name in ROWS if not arguments or name in arguments}
    for name, row in rows.items():
        row["command"] = f"python benchmarks/ping.py --only {name}"
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
