"""Kernel time stamps of sockets: when a segment really left and really came in.

Both stamps are CLOCK_REALTIME, so a step of the wall clock between two of them would be measured as
network time. `interval` therefore takes the monotonic times of the same two moments along and
believes the kernel only where it lies within them.
"""

import socket
import struct
import time
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

SO_TIMESTAMPING = 37
MSG_ERRQUEUE = 0x2000
TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, OPT_ID, OPT_TSONLY = 1 << 1, 1 << 3, 1 << 4, 1 << 7, 1 << 11
TIMESTAMPING_FLAGS = TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY

ANCILLARY_BYTES = 256
SLACK_NS = 50_000
"""How far a kernel interval may exceed the monotonic one around it [ns]: the two clocks are read apart."""

STEP_NS = 1_000_000
"""A difference between wall and monotonic time above this [ns] is a step; slewing moves both alike."""

RECVERR = ((socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25))  # IP_RECVERR, IPV6_RECVERR
ORIGIN_TIMESTAMPING = 4
_EXTENDED_ERROR = struct.Struct("IBBBBII")  # sock_extended_err: errno, origin, type, code, pad, info, data
_TIMESPEC = struct.Struct("qq")
Ancillary = Iterable[tuple[int, int, bytes]]


class Stamp(NamedTuple):
    """One moment on two clocks: `kernel` [ns, CLOCK_REALTIME; None = no stamp], `user` [ns, monotonic]."""

    kernel: int | None
    user: int


class Interval(NamedTuple):
    """A length of time [ns], and whether both ends were stamped by the kernel."""

    ns: int
    kernel: bool


@cache
def keep_on() -> None:
    """Hold one stamping socket for the life of the process.

    The kernel stamps arriving packets only while some socket asks for it, and switches later than asked
    (net_enable_timestamp() leaves it to a work queue): a lone short connection would be over first.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    enable(sock)
    sock.detach()  # never closed


def enable(sock: socket.socket) -> bool:
    """Ask for software stamps on both ways; False where the kernel has none."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TIMESTAMPING_FLAGS)
    except OSError:
        return False
    return True


def from_ancillary(ancillary: Ancillary) -> int | None:
    """The stamp [ns] that came with a message, or None.

    Source: Documentation/networking/timestamping.rst, 2.1 (`struct scm_timestamping`, software first).
    """
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPING and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds * 1_000_000_000 + nanoseconds) or None
    return None


def sent_at(sock: socket.socket, key: int) -> int | None:
    """When the send with this key first left [ns]; None when no stamp of it is in the error queue yet.

    A segment that was sent again has a stamp for each time; the first counts: waiting is the network's.
    Older stamps are passed over, later ones stay.

    Args:
        sock: the socket that has sent.
        key: TCP: bytes sent up to the end of that send, minus 1, modulo 2^32; UDP: datagrams sent before it.
    """
    while True:
        try:
            _, ancillary, _, _ = sock.recvmsg(0, ANCILLARY_BYTES, MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except OSError:  # EAGAIN: it is empty
            return None
        if _key(ancillary) == key:
            return from_ancillary(ancillary)


def _key(ancillary: Ancillary) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) in RECVERR and len(data) >= _EXTENDED_ERROR.size:
            _, origin, _, _, _, _, key = _EXTENDED_ERROR.unpack_from(data)
            return int(key) if origin == ORIGIN_TIMESTAMPING else None
    return None


def interval(start: Stamp, end: Stamp) -> Interval:
    """The time from one moment to another, by the kernel where it can be believed. **Pure.**"""
    user = max(end.user - start.user, 0)
    if start.kernel is not None and end.kernel is not None:
        kernel = end.kernel - start.kernel
        if 0 <= kernel <= user + SLACK_NS:
            return Interval(kernel, True)
    return Interval(user, False)


def wall_offset() -> int:
    """Wall clock minus monotonic clock [ns], read close together; only a step of the former changes it."""
    for _ in range(10):  # a busy host preempts us in between
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after - before < SLACK_NS:
            break
    return wall - (before + after) // 2
