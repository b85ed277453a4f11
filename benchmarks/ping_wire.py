"""The wire of the ping benchmark: two network namespaces on a veth pair, and what a capture says of it."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import struct
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NEAR, FAR = f"sb{os.getpid()}a", f"sb{os.getpid()}b"


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Two namespaces and a veth pair; gone afterwards."""
    sysctl = "net.ipv4.ping_group_range=0 2147483647"
    steps = [
        ["ip", "netns", "add", NEAR],
        ["ip", "netns", "add", FAR],
        ["ip", "link", "add", "v0", "netns", NEAR, "type", "veth", "peer", "name", "v1", "netns", FAR],
        *(["ip", "-n", space, "link", "set", "lo", "up"] for space in (NEAR, FAR)),
        ["ip", "-n", NEAR, "link", "set", "v0", "up"],
        ["ip", "-n", FAR, "link", "set", "v1", "up"],
        ["ip", "-n", NEAR, "addr", "add", "10.98.0.1/30", "dev", "v0"],
        ["ip", "-n", FAR, "addr", "add", "10.98.0.2/30", "dev", "v1"],
        ["ip", "-n", NEAR, "route", "add", "10.99.0.0/16", "via", "10.98.0.2"],
        ["ip", "-n", FAR, "route", "add", "local", "10.99.0.0/16", "dev", "lo"],
        ["ip", "netns", "exec", NEAR, "sysctl", "-qw", sysctl],
        ["ip", "netns", "exec", NEAR, "ping", "-qc1", "10.99.1.1"] if shutil.which("ping") else ["true"],
    ]
    try:
        for step in steps:
            subprocess.run(step, check=True, stdout=subprocess.DEVNULL)
        yield
    finally:
        for space in (NEAR, FAR):
            subprocess.run(["ip", "netns", "del", space], check=False)


def start(space: str, *command: str, output: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    """Starts a program in a namespace."""
    full = ["ip", "netns", "exec", space, *command]
    return subprocess.Popen(full, stdout=output, stderr=subprocess.PIPE, text=True)


def measured(*command: str) -> tuple[str, str, float]:
    """What a program in the near namespace prints (both ways), and its CPU [s], its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    out, err = start(NEAR, *command).communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return out, err, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextlib.contextmanager
def capture(folder: Path) -> Iterator[None]:
    """Records what arrives at either end and what leaves here, with the kernel's nanosecond stamps."""
    dumps = []
    for space, device, way in ((NEAR, "v0", "in"), (FAR, "v1", "in"), (NEAR, "v0", "out")):
        options = ["-i", device, "-Q", way, "-U", "-s", "64", "-B", "4096", "--time-stamp-precision=nano"]
        dump = start(space, "tcpdump", *options, "-w", str(folder / f"{device}-{way}"), "icmp")
        assert dump.stderr is not None
        while "listening" not in dump.stderr.readline():
            assert dump.poll() is None, "tcpdump ended early"
        dumps.append(dump)
    try:
        yield
        time.sleep(1.5)  # the capture's ring is handed over once a second
    finally:
        for dump in dumps:
            dump.send_signal(signal.SIGINT)
            dump.communicate()


def packets(capture_file: Path) -> Iterator[tuple[int, str, str, bytes]]:
    """Stamp [ns], source, destination and ICMP message of every packet of a capture."""
    data, at = capture_file.read_bytes(), 24
    assert struct.unpack_from("=I", data)[0] == 0xA1B23C4D, "not a nanosecond capture"
    while at + 16 <= len(data):
        seconds, nanos, length, _ = struct.unpack_from("=IIII", data, at)
        packet, at = data[at + 16 + 14 : at + 16 + length], at + 16 + length
        source, destination = (".".join(map(str, packet[i : i + 4])) for i in (12, 16))
        yield seconds * 10**9 + nanos, source, destination, packet[20:]


def true_rtts(folder: Path, begins: str = "v1-in") -> dict[str, list[float | None]]:
    """For each address the times [µs] from `begins` to the replies' arrival here, in sending order.

    "v1-in", the echo's arrival at the far end, is the truth; it leaves out at most the wire, which has no
    length. "v0-out" is where a capture sees the echo leave: the packet is then copied for the capture before
    the driver gets it, 1 µs when the caches are warm and 7 when not, and that is charged to the network.
    """
    back: dict[tuple[str, bytes], int] = {}
    for stamp, source, _, icmp in packets(folder / "v0-in"):
        back.setdefault((source, icmp[4:24]), stamp)
    rtts: dict[str, list[float | None]] = defaultdict(list)
    for stamp, _, address, icmp in packets(folder / begins):
        if icmp[0] == 8:
            returned = back.get((address, icmp[4:24]))
            rtts[address].append(None if returned is None else (returned - stamp) / 1000)
    return rtts
