"""One TCP connection of a bulk transfer, plain or TLS, that never blocks.

Its methods are generators: each yields what it waits for (READ, WRITE, or PAUSE for the rate cap), and
whoever runs them resumes them then. Plain bytes are not copied into this process: MSG_TRUNC lets the kernel
drop what was received (three times the rate of recv() for a third of its CPU), and sendfile() sends pages of
a memory file. The bytes sent are random, so that no compression on the way makes them fewer.
"""

import mmap
import os
import socket
import ssl
import struct
from collections.abc import Generator
from functools import cache

from sonde_agent.net.bulk_gate import Gate
from sonde_agent.net.tcp_info import TcpInfo, tcp_info

Steps = Generator[int, None, None]
READ, WRITE, PAUSE = 1, 4, 0  # select.EPOLLIN and EPOLLOUT, so that they are used as they are

MOST_LOWAT = 4 << 20
"""Half of what one read can drop; 4 ms of 8 Gbit/s. A wake-up for each 256 KiB costs twice the CPU."""

_SINK_BYTES = 8 << 20  # address space that MSG_TRUNC needs and never touches
_POUR_BYTES = 1 << 20
_TLS_READ_BYTES = 65_536  # at least one record of 16 KiB, so that none stays behind inside OpenSSL
_TLS_RECORDS = 32  # read in one go, before the clock and the other streams have their turn
_HEAD_BYTES = 65_536
_READ_BYTES = 16_384  # of what is read and not dropped
_SO_MAX_PACING_RATE = 47
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_Again = (BlockingIOError, ssl.SSLWantReadError)


@cache
def _sink() -> mmap.mmap:
    return mmap.mmap(-1, _SINK_BYTES)


@cache
def _tls_sink() -> bytearray:
    return bytearray(_TLS_READ_BYTES)


@cache
def _source() -> tuple[int, memoryview]:
    """The same random bytes as a memory file and as memory."""
    data = os.urandom(_POUR_BYTES)
    file = os.memfd_create("sonde-bulk", os.MFD_CLOEXEC)
    os.write(file, data)
    return file, memoryview(data)


class Pipe:
    """A connection, and those that follow it when the peer closes it between two bodies.

    Attributes:
        sock: the open one; None before `connect` and after `close`.
        body: payload bytes moved by all of them.
        rtts_us: smoothed round-trip times seen by `look`.
        interrupted: the peer has answered, or gone, while we still sent.
        closed: TCP_INFO of those that are closed.
    """

    def __init__(
        self, address: str, port: int, *, tls: ssl.SSLContext | None = None, name: str = "", pacing: int = 0
    ) -> None:
        """Prepare; nothing is sent.

        Args:
            address: where to, an IP address.
            port: where to.
            tls: how to verify the peer; None = plain.
            name: the server's name for TLS.
            pacing: bytes a second that the kernel sends at most; 0 = any.
        """
        self._to, self._tls, self._name, self._pacing = (address, port), tls, name, pacing
        self.sock: socket.socket | None = None
        self.body = 0
        self.rtts_us: list[int] = []
        self.closed: list[TcpInfo] = []
        self.interrupted = False
        self._rest = b""
        self._wire = 0  # bytes written to this connection, or into its TLS
        self._wire_body = 0  # of these payload
        self._delivered = 0  # payload acknowledged on closed connections
        self._lowat = 1
        self._left = 0  # of the body that is being received

    def connect(self) -> Steps:
        """Connect, anew where it is connected.

        Raises:
            OSError: as connect() does.
        """
        self.close()
        self.interrupted = False
        self._rest, self._wire, self._wire_body, self._lowat, self._left = b"", 0, 0, 1, 0
        family = socket.AF_INET6 if ":" in self._to[0] else socket.AF_INET
        self.sock = sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._pacing:
            sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, self._pacing)
        try:
            sock.connect(self._to)
        except BlockingIOError:
            yield WRITE
            if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, os.strerror(code)) from None

    def secure(self) -> Steps:
        """Shake hands where the transfer is over TLS.

        Raises:
            ssl.SSLError: when either side does not agree.
        """
        if self._tls is None:
            return
        assert self.sock is not None
        self.sock = secure = self._tls.wrap_socket(
            self.sock, server_hostname=self._name, do_handshake_on_connect=False
        )
        while True:
            try:
                secure.do_handshake()
            except ssl.SSLWantReadError:
                yield READ
            except ssl.SSLWantWriteError:
                yield WRITE
            else:
                return

    def send(self, data: bytes) -> Steps:
        """Send what is no payload: a request, a frame's head."""
        assert self.sock is not None
        while data:
            try:
                sent = self.sock.send(data)
            except ssl.SSLWantReadError:
                yield READ
            except (BlockingIOError, ssl.SSLWantWriteError):
                yield WRITE
            else:
                data = data[sent:]
                self._wire += sent

    def receive(self) -> Generator[int, None, bytes]:
        """The next bytes as they come; empty at the end of the stream."""
        assert self.sock is not None
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        while True:
            try:
                return self.sock.recv(_READ_BYTES)
            except _Again:
                yield READ
            except ssl.SSLZeroReturnError:
                return b""

    def head(self) -> Generator[int, None, bytes]:
        """What comes up to an empty line, it included; all there was, where the stream ends first."""
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0 and len(data) < _HEAD_BYTES:
            more = yield from self.receive()
            if not more:
                return data
            data += more
        end = end + 4 if end >= 0 else len(data)
        self._rest = data[end:] + self._rest
        return data[:end]

    def exactly(self, size: int) -> Generator[int, None, bytes]:
        """The next `size` bytes.

        Raises:
            EOFError: the stream ends before.
        """
        data = b""
        while len(data) < size:
            more = yield from self.receive()
            if not more:
                raise EOFError
            data += more
        self._rest = data[size:] + self._rest
        return data[:size]

    def swallow(self, size: int | None, gate: Gate) -> Steps:
        """Receive `size` bytes of payload and drop them; None = until the stream ends.

        Raises:
            EOFError: the stream ends before `size`.
        """
        early = self._rest if size is None else self._rest[:size]
        self._rest = self._rest[len(early) :]
        self._count(len(early), gate)
        self._left = _SINK_BYTES if size is None else size - len(early)
        read = self._drop if self._tls is None else self._decrypt
        while self._left:
            room = gate.room(self._left)
            if not room:
                yield PAUSE
                continue
            self.wake_after(self._lowat)
            try:
                got = read(room)
            except _Again:
                yield READ
                continue
            if not got:
                if size is None:
                    break
                raise EOFError
            self._count(got, gate)
            self._left -= 0 if size is None else got
            if self._left:
                yield READ
        self._left = 0
        self.wake_after(1)

    def _drop(self, most: int) -> int:
        assert self.sock is not None
        return self.sock.recv_into(_sink(), min(most, _SINK_BYTES), socket.MSG_TRUNC)

    def _decrypt(self, most: int) -> int:
        """Read some records; 0 = the end of the stream."""
        assert self.sock is not None
        total, sink = 0, _tls_sink()
        for _ in range(_TLS_RECORDS):
            if total >= most:
                break
            try:
                got = self.sock.recv_into(sink, min(most - total, _TLS_READ_BYTES))
            except ssl.SSLWantReadError:
                if total:
                    break
                raise
            except ssl.SSLZeroReturnError:
                break
            if not got:
                break
            total += got
        return total

    def pour(self, size: int, gate: Gate) -> Generator[int, None, int]:
        """Send `size` bytes of payload, or fewer where the peer interrupts; gives what is left."""
        assert self.sock is not None
        file, data = _source()
        plain, to = self._tls is None, self.sock.fileno()
        left = size
        while left and not self.interrupted:
            room = min(gate.room(left), _POUR_BYTES)
            if not room:
                yield PAUSE
                continue
            try:
                sent = os.sendfile(to, file, 0, room) if plain else self.sock.send(data[:room])
            except ssl.SSLWantReadError:
                yield READ
                continue
            except (BlockingIOError, ssl.SSLWantWriteError):
                yield WRITE
                continue
            left -= sent
            self._wire += sent
            self._wire_body += sent
            self._count(sent, gate)
            yield WRITE  # the clock and the other streams have their turn, also where the path never fills
        return left

    def _count(self, size: int, gate: Gate) -> None:
        self.body += size
        gate.took(size)

    def wake_after(self, size: int) -> None:
        """Let the kernel wake us only when so much of the body is there, or its end."""
        size = max(1, min(size, MOST_LOWAT))
        if size > self._left:
            size = 1
        if size != self._lowat and self.sock is not None and self._tls is None:
            self._lowat = size
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def look(self) -> None:
        """Note, in the midst of sending, the smoothed round-trip time, and whether the peer interrupts."""
        if self.sock is None:
            return
        if rtt_us := tcp_info(self.sock).rtt_us:
            self.rtts_us.append(rtt_us)
        try:
            self._rest += self.sock.recv(_READ_BYTES)
        except _Again:
            return
        except OSError:
            pass  # the next send says what it was
        self.interrupted = True

    def delivered(self) -> int:
        """Payload that the peer's kernel has acknowledged: heads are taken off by share, TLS's 0.2 % not."""
        if self.sock is None or not self._wire:
            return self._delivered
        acked = min(tcp_info(self.sock).bytes_acked, self._wire)
        return self._delivered + acked * self._wire_body // self._wire

    def close(self) -> None:
        """Close at once: what is still on its way is not sent, nor received."""
        sock = self.sock
        if sock is None:
            return
        self.closed.append(tcp_info(sock))
        self._delivered = self.delivered()
        self.sock = None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.close()
