"""The delay line in Python, for hosts without a C compiler: as delay_line.c, with about 0.2 ms more of delay.

usage: python -m sonde_lab.delay_line PLAN     (both as delay_line.c says)
"""

import ctypes
import fcntl
import heapq
import mmap
import os
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from sonde_lab import libc
from sonde_lab.records import CAPACITY, FIRST_TOTAL, HEAD_BYTES, MAGIC, PATHS, RECORD, TOTAL, WRITTEN_AT

_TUNSETIFF = 0x4004_54CA
_IFF_TUN_NO_PI = 0x1001
_LARGEST = 2048
_AT_ONCE = 64
_WAITING = 32_768
_PR_SET_TIMERSLACK = 29


@dataclass
class Line:
    """One line: its two devices, its record file, the delay of each path."""

    fds: tuple[int, int]
    book: mmap.mmap
    addresses: dict[bytes, int] = field(default_factory=dict)
    delays_s: list[float] = field(default_factory=list)
    written: int = 0

    def path_of(self, packet: bytes, *, down: bool) -> int:
        """Give which path a packet takes: by its address on the core's side; 0 for one that no path names."""
        if packet[0] >> 4 == 4:  # noqa: PLR2004 -- the version in its first half byte
            return self.addresses.get(packet[16:20] if down else packet[12:16], 0)
        return self.addresses.get(packet[24:40] if down else packet[8:24], 0)

    def count(self, path: int, *, down: bool, size: int | None) -> None:
        """Add a packet to the totals; `size` None = it was dropped."""
        at = FIRST_TOTAL + TOTAL.size * (PATHS * down + path)
        passed, total, dropped = TOTAL.unpack_from(self.book, at)
        if size is None:
            TOTAL.pack_into(self.book, at, passed, total, dropped + 1)
        else:
            TOTAL.pack_into(self.book, at, passed + 1, total + size, dropped)

    def record(self, at_s: float, delay_s: float, size: int, path: int, *, down: bool) -> None:
        """Write one packet's record."""
        place = HEAD_BYTES + self.written % CAPACITY * RECORD.size
        RECORD.pack_into(self.book, place, int(at_s * 1e9), int(delay_s * 1e9), size, down, path)
        self.written += 1
        struct.pack_into("<Q", self.book, WRITTEN_AT, self.written)


def device(netns: str, name: str) -> int:
    """Make a TUN device in a network namespace and give its open file; this thread stays there.

    Raises:
        OSError: the kernel refuses.
    """
    space = os.open(netns, os.O_RDONLY)
    libc.setns(space, libc.CLONE_NEWNET)
    os.close(space)
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    return fd


def book(name: str) -> mmap.mmap:
    """Make a record file."""
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    os.ftruncate(fd, HEAD_BYTES + CAPACITY * RECORD.size)
    made = mmap.mmap(fd, 0)
    os.close(fd)
    struct.pack_into("<8sQ", made, 0, MAGIC, CAPACITY)
    return made


def read_plan(text: str) -> list[Line]:
    """Make what a plan says."""
    lines: list[Line] = []
    for words in map(str.split, text.splitlines()):
        if words[0] == "line":
            core, core_device, place, place_device, file = words[1:]
            lines.append(Line((device(core, core_device), device(place, place_device)), book(file)))
        else:
            line, path, v4, v6, delay_us = words[1:]
            into = lines[int(line)]
            into.addresses[socket.inet_pton(socket.AF_INET, v4)] = int(path)
            into.addresses[socket.inet_pton(socket.AF_INET6, v6)] = int(path)
            into.delays_s.append(int(delay_us) / 1e6)
    return lines


def carry(lines: list[Line]) -> None:
    """Carry packets for ever."""
    ends = {fd: (line, down) for line in lines for down, fd in enumerate(line.fds)}
    poll = select.epoll()
    for fd in ends:
        poll.register(fd, select.EPOLLIN)
    waiting: list[tuple[float, int, float, float, Line, int, int, bytes]] = []
    order = 0
    while True:
        # epoll counts in milliseconds, select() does not.
        left = [max(waiting[0][0] - time.monotonic(), 0)] if waiting else []
        select.select([poll], [], [], *left)
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, came, at, line, down, path, packet = heapq.heappop(waiting)
            try:
                os.write(line.fds[not down], packet)
            except OSError:  # the device is down
                line.count(path, down=bool(down), size=None)
                continue
            line.record(at, time.monotonic() - came, len(packet), path, down=bool(down))
            line.count(path, down=bool(down), size=len(packet))
        for fd, _ in poll.poll(0):
            line, down = ends[fd]
            for _ in range(_AT_ONCE):
                try:
                    packet = os.read(fd, _LARGEST)
                except BlockingIOError:
                    break
                path = line.path_of(packet, down=bool(down))
                if len(waiting) == _WAITING:
                    line.count(path, down=bool(down), size=None)
                    continue
                came, order = time.monotonic(), order + 1
                entry = (came + line.delays_s[path], order, came, time.time(), line, down, path, packet)
                heapq.heappush(waiting, entry)


def main(plan: str) -> None:
    """Make the devices, say "ready", and carry."""
    lines = read_plan(Path(plan).read_text())
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    print("ready", flush=True)
    carry(lines)


if __name__ == "__main__":
    main(sys.argv[1])
