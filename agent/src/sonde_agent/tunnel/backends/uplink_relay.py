"""Datagrams from one socket to another, many in one system call, in a process of its own.

Nothing is copied in Python, and nothing is done for each packet: the memory that recvmmsg(2) fills is the
memory that sendmmsg(2) sends.

Source: the layouts of `struct mmsghdr` and `iovec` on 64-bit Linux (recvmmsg(2)).
"""

import ctypes
import errno
import mmap
import select
import socket
import struct
from array import array
from collections.abc import Sequence

from sonde_agent.net.mmsg import MSG_DONTWAIT, address_of

_HEADER = struct.Struct("=QIxxxxQQQQIxxxxI4x")  # name, its length, iov, how many, control, length, flags, len
_IOVEC = struct.Struct("=QQ")
_LENGTH_AT = 56  # of `msg_len` in a header
_MANY = 64  # messages a call: 90 KB of full packets, well within a core's cache
_LARGEST = 9216  # bytes of a datagram: a jumbo frame's; IKE and ESP stay below the path's MTU
_REFUSALS = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM, errno.EACCES})

_libc = ctypes.CDLL(None, use_errno=True)


class Ledger:
    """What the relay saw, in memory that it shares with who started it.

    Attributes:
        answers: datagrams that came from the server.
        error: errno that the network answered with to what was sent, or 0.
    """

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    @property
    def answers(self) -> int:
        """How many datagrams came from the server."""
        return int(self._cells[0])

    @property
    def error(self) -> int:
        """The errno that the network answered with, or 0."""
        return int(self._cells[1])

    def count(self, answers: int) -> None:
        """Add to what came from the server."""
        self._cells[0] += answers

    def note(self, code: int) -> None:
        """Keep what the network answered with."""
        if code in _REFUSALS:
            self._cells[1] = code


class Shovel:
    """One direction.

    Args:
        source, sink: connected UDP sockets.
    """

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source.fileno(), sink.fileno()
        self._data = bytearray(_MANY * _LARGEST)
        self._pieces = bytearray(_MANY * _IOVEC.size)
        self._headers = bytearray(_MANY * _HEADER.size)
        data, pieces = address_of(self._data), address_of(self._pieces)
        for i in range(_MANY):
            _IOVEC.pack_into(self._pieces, i * _IOVEC.size, data + i * _LARGEST, _LARGEST)
            _HEADER.pack_into(self._headers, i * _HEADER.size, 0, 0, pieces + i * _IOVEC.size, 1, 0, 0, 0, 0)
        self._start = address_of(self._headers)
        self._sizes = memoryview(self._pieces).cast("Q")[1::2]
        self._came = memoryview(self._headers).cast("I")[_LENGTH_AT // 4 :: _HEADER.size // 4]
        self._full = memoryview(array("Q", [_LARGEST]) * _MANY)

    def move(self, ledger: Ledger) -> int:
        """Pass on what waits, at most `_MANY`; gives how many. An error is noted, and its packet lost."""
        came: int = _libc.recvmmsg(self._source, ctypes.c_void_p(self._start), _MANY, MSG_DONTWAIT, None)
        if came <= 0:
            ledger.note(ctypes.get_errno())
            return 0
        for i, size in enumerate(self._came[:came].tolist()):
            self._sizes[i] = size
        sent = 0
        while sent < came:
            start = ctypes.c_void_p(self._start + sent * _HEADER.size)
            took: int = _libc.sendmmsg(self._sink, start, came - sent, 0)
            if took < 0:
                ledger.note(ctypes.get_errno())
            sent += max(took, 1)
        self._sizes[:came] = self._full[:came]
        return came


def relay(pairs: Sequence[tuple[socket.socket, socket.socket]], ledger: Ledger) -> None:
    """Pass on datagrams between the sockets of each pair, for ever.

    Args:
        pairs: (inner, outer), both connected.
        ledger: where what comes from outer sockets is counted.
    """
    ways = {}
    poller = select.poll()
    for inner, outer in pairs:
        ways[inner.fileno()] = (Shovel(inner, outer), False)
        ways[outer.fileno()] = (Shovel(outer, inner), True)
        poller.register(inner, select.POLLIN)
        poller.register(outer, select.POLLIN)
    while True:
        for fd, _ in poller.poll():
            shovel, from_server = ways[fd]
            moved = shovel.move(ledger)
            if from_server:
                ledger.count(moved)
