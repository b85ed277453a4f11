"""TCP connections and UDP questions with kernel stamps, TLS on top; every wait ends at one deadline.

The sockets block, and the kernel itself ends a wait (SO_RCVTIMEO): poll() would wake at once for each
transmit stamp in the error queue. Run in a worker thread, never on the event loop.
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from typing import Self

from sonde_agent.net import stamps
from sonde_agent.net.stamps import Interval, Stamp

READ_BYTES = 16_384
FIRST_READ_BYTES = 2048
"""While waiting for the first byte: a stamp is that of the last segment read, so little is read at once."""

TCP_INFO_BYTES = 104
_TCPI_RTT = 68  # tcpi_rtt [us]: after connect() it holds one sample, SYN to SYN-ACK
_TCPI_TOTAL_RETRANS = 100
_U32 = struct.Struct("I")
_TIMEVAL = struct.Struct("ll")
SO_RCVTIMEO, SO_SNDTIMEO = 20, 21


class Deadline:
    """The end of a run, for everything that waits in one thread; `cancel` from another ends it at once."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._cancelled = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def share(self) -> "Deadline":
        """The same end, to be cancelled apart: one for each thread."""
        return Deadline(self._end - time.monotonic())

    def left(self) -> float:
        """Seconds that remain, above 0.

        Raises:
            TimeoutError: when none remain, or the run was cancelled.
        """
        left = self._end - time.monotonic()
        if left <= 0 or self._cancelled:
            raise TimeoutError("no time left")
        return left

    def watch(self, sock: socket.socket | None) -> None:
        """Name the socket that a cancel must wake."""
        with self._lock:
            self._socket = sock

    def cancel(self) -> None:
        """End the run: what waits on the socket now returns, what would wait later raises."""
        with self._lock:
            self._cancelled = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


def timeval(seconds: float) -> bytes:
    """Give a time as SO_RCVTIMEO and SO_SNDTIMEO take it. **Pure.**"""
    micros = max(int(seconds * 1e6), 1)  # 0 would mean: wait for ever
    return _TIMEVAL.pack(micros // 1_000_000, micros % 1_000_000)


class Wire:
    """A TCP connection: bytes out and in, with the moment of the last segment each way."""

    def __init__(self, address: str, port: int, deadline: Deadline) -> None:
        """Connect.

        Raises:
            OSError: as connect() does; TimeoutError when the deadline comes first.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._deadline = deadline
        self._socket = sock = socket.socket(family, socket.SOCK_STREAM)
        deadline.watch(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, SO_SNDTIMEO, timeval(deadline.left()))
            before = time.monotonic_ns()
            try:
                sock.connect((address, port))
            except BlockingIOError:  # how the kernel ends a connect by SO_SNDTIMEO
                raise TimeoutError("no answer to our SYN") from None
            after = time.monotonic_ns()
            self._stamped = stamps.enable(sock)
            self.connected = self._connect_time(after - before)
        except BaseException:
            self.close()
            raise
        self.sent = self.received = Stamp(None, after)
        self._sent_bytes = 0

    def _connect_time(self, user_ns: int) -> Interval:
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        if len(info) == TCP_INFO_BYTES:
            rtt_ns = _U32.unpack_from(info, _TCPI_RTT)[0] * 1000
            # A repeated SYN leaves the sample of the last one only: the waiting before it would be lost.
            if (
                _U32.unpack_from(info, _TCPI_TOTAL_RETRANS)[0] == 0
                and 0 < rtt_ns <= user_ns + stamps.SLACK_NS
            ):
                return Interval(rtt_ns, True)
        return Interval(user_ns, False)

    def send(self, data: bytes) -> None:
        """Hand all of `data` to the kernel.

        Raises:
            OSError: when the connection is gone; TimeoutError at the deadline.
        """
        self._deadline.left()
        self.sent = Stamp(None, time.monotonic_ns())
        self._sent_bytes += len(data)
        try:
            self._socket.sendall(data)
        except BlockingIOError:
            raise TimeoutError("the peer takes no more data") from None

    def receive(self, size: int = READ_BYTES) -> bytes:
        """The next bytes, at most `size`; empty at the end of the stream.

        Raises:
            OSError: when the connection was reset; TimeoutError at the deadline.
        """
        sock = self._socket
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVTIMEO, timeval(self._deadline.left()))
        try:
            data, ancillary, _, _ = sock.recvmsg(size, stamps.ANCILLARY_BYTES)
        except BlockingIOError:
            raise TimeoutError("no answer") from None
        if data:
            self.received = Stamp(stamps.from_ancillary(ancillary), time.monotonic_ns())
        else:
            self._deadline.left()  # a cancel looks like an end of stream
        return data

    def settle(self) -> Stamp:
        """When our last data went out: its transmit stamp is there once an answer has come."""
        if self._stamped:
            key = (self._sent_bytes - 1) & 0xFFFF_FFFF
            self.sent = Stamp(stamps.sent_at(self._socket, key), self.sent.user)
        return self.sent

    def close(self) -> None:
        """Close; also after an error."""
        self._deadline.watch(None)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TlsWire:
    """TLS over a `Wire`, through memory: so that the socket's stamps stay ours."""

    def __init__(self, wire: Wire, context: ssl.SSLContext, server_name: str) -> None:
        self._wire = wire
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def handshake(self) -> Interval:
        """Shake hands; the time from ClientHello out to the server's last flight in.

        Our own last flight waits for the first `send` or `flush`: one segment less, and no phase needs it.

        Raises:
            ssl.SSLError: when either side does not agree. OSError: as `Wire`.
        """
        hello: Stamp | None = None
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self._feed(READ_BYTES)
                hello = hello or self._wire.settle()
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self.flush()  # our alert: the peer's log then says why
                raise
            else:
                return stamps.interval(hello or self._wire.sent, self._wire.received)

    def flush(self) -> None:
        """Send what TLS has ready."""
        if data := self._outgoing.read():
            self._wire.send(data)

    def _feed(self, size: int) -> None:
        data = self._wire.receive(size)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def send(self, data: bytes) -> None:
        """Encrypt and send."""
        self.tls.write(data)
        self.flush()

    def receive(self, size: int = READ_BYTES) -> bytes:
        """The next plain bytes; empty at the end of the stream, said or not: framing tells what is missing.

        Raises:
            ssl.SSLError: for an alert or a broken record. OSError: as `Wire`.
        """
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                self._feed(size)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""


class Answers:
    """The datagrams that answer one of ours, each with its stamps."""

    def __init__(self, address: str, port: int, question: bytes, deadline: Deadline) -> None:
        self._deadline = deadline
        self._socket = sock = socket.socket(
            socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
        )
        deadline.watch(sock)
        try:
            self._stamped = stamps.enable(sock)
            sock.connect((address, port))  # connected: only this peer is heard, and its ICMP errors reach us
            self.sent = Stamp(None, time.monotonic_ns())
            sock.send(question)
        except BaseException:
            self.close()
            raise

    def receive(self) -> tuple[bytes, Interval]:
        """The next datagram and the time since the question.

        Raises:
            OSError: ICMP errors as the kernel names them; TimeoutError at the deadline.
        """
        sock = self._socket
        while True:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVTIMEO, timeval(self._deadline.left()))
            try:
                data, ancillary, _, _ = sock.recvmsg(65_535, stamps.ANCILLARY_BYTES)
            except BlockingIOError:
                self._deadline.left()
                continue
            received = Stamp(stamps.from_ancillary(ancillary), time.monotonic_ns())
            if self._stamped and self.sent.kernel is None:
                self.sent = Stamp(stamps.sent_at(sock, 0), self.sent.user)
            return data, stamps.interval(self.sent, received)

    def close(self) -> None:
        """Close; also after an error."""
        self._deadline.watch(None)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
