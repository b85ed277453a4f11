"""What the kernel hands us about echoes, a batch at a time: replies, TX stamps, ICMP errors.

The common layout is read in columns; a message whose control messages are laid out otherwise is read by
itself. Which is which shows in their length.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from sonde_agent.net.echoes import PACKET_BYTES, IcmpError, Source, source_of
from sonde_agent.net.icmp_packet import REPLY, Echo, MalformedPacket, parse_echo
from sonde_agent.net.icmp_socket import FAMILIES, IcmpSocket
from sonde_agent.net.mmsg import MSG_ERRQUEUE, ReceiveBatch

BATCH = 512

Reply: TypeAlias = tuple[int, int, int, int, Source, int, int, int]
"""Token, nonce, sequence number's high and low byte, sender, kernel stamp [s, ns; 0 = none], TTL."""

Stamp: TypeAlias = tuple[int, int, int]
"""Number of the packet since the numbering began, kernel stamp [s, ns]."""

_STAMPING = (socket.SOL_SOCKET, 37)  # SCM_TIMESTAMPING: three timespecs; software stamps use the first
_RECVERR = {4: (0, 11), 6: (41, 25)}
_TTL = {4: (0, 2), 6: (41, 52)}
_STAMP_BYTES = 16 + 48
_TTL_BYTES = 24
_RECVERR_BYTES = {4: 48, 6: 64}  # struct sock_extended_err and the offender's sockaddr, behind a header of 16
_ERROR = struct.Struct("=IBBBxII")  # struct sock_extended_err: errno, origin, type, code, info, data
_ORIGIN_ICMP, _ORIGIN_ICMP6, _ORIGIN_STAMP = 2, 3, 4
_IP_HEADER_BYTES = 20  # before a raw IPv4 reply; only a request with IP options gets options back


class Replies:
    """Reads echo replies."""

    def __init__(self, icmp: IcmpSocket) -> None:
        header = _IP_HEADER_BYTES if icmp.raw and icmp.family == 4 else 0  # noqa: PLR2004
        self._fd = icmp.sock.fileno()
        self._family = icmp.family
        self._least = header + PACKET_BYTES
        # Shifted so that the payload's 8-byte fields are aligned behind a 20-byte IP header too.
        self._batch = batch = ReceiveBatch(BATCH, data_offset=-header % 8)
        self._types = batch.data_column("B", header)
        self._fields = [
            batch.data_column("Q", header + 8),
            batch.data_column("Q", header + 16),
            batch.data_column("B", header + 6),
            batch.data_column("B", header + 7),
        ]
        self._names = [batch.name_column("Q", at) for at in ((0,) if icmp.family == 4 else (8, 16))]  # noqa: PLR2004
        self._stamps = [
            batch.control_column("q", 16),
            batch.control_column("q", 24),
            batch.control_column("i", _STAMP_BYTES + 16),
        ]

    def take(self) -> Iterable[Reply] | None:
        """The next batch of replies to anybody's echo, without blocking; None where none waits.

        What is no echo reply, or too short to be one to us, has the token -1.
        """
        batch = self._batch
        n = batch.receive(self._fd)
        if not n:
            return None
        tokens, nonces, high, low = (column[:n].tolist() for column in self._fields)
        names = [column[:n].tolist() for column in self._names]
        seconds, nanos, ttls = (column[:n].tolist() for column in self._stamps)
        control_lengths = batch.control_lengths[:n].tolist()
        if control_lengths.count(_STAMP_BYTES + _TTL_BYTES) < n:
            for i, length in enumerate(control_lengths):
                if length != _STAMP_BYTES + _TTL_BYTES:
                    seconds[i], nanos[i], ttls[i] = self._odd(i)
        types, lengths = self._types[:n].tolist(), batch.lengths[:n].tolist()
        if min(lengths) < self._least or types.count(REPLY[self._family]) < n:
            for i in range(n):
                if lengths[i] < self._least or types[i] != REPLY[self._family]:
                    tokens[i] = -1
        sources = names[0] if len(names) == 1 else zip(*names, strict=True)
        return zip(tokens, nonces, high, low, sources, seconds, nanos, ttls, strict=True)

    def _odd(self, i: int) -> tuple[int, int, int]:
        seconds = nanos = ttl = 0
        for level, kind, data in self._batch.control(i):
            if (level, kind) == _STAMPING:
                seconds, nanos = struct.unpack_from("=qq", data)
            elif (level, kind) == _TTL[self._family]:
                (ttl,) = struct.unpack_from("=i", data)
        return seconds, nanos, ttl


@dataclass(frozen=True, slots=True)
class Refusal:
    """An ICMP error about an echo of this socket.

    Attributes:
        error: what was said, and by whom.
        target: the sender that a reply would have had.
        quoted: the echo as the error quotes it; its payload may be cut to nothing.
    """

    error: IcmpError
    target: Source
    quoted: Echo


class ErrorQueue:
    """Reads the socket's error queue: TX stamps, which are no errors, and ICMP errors."""

    def __init__(self, icmp: IcmpSocket) -> None:
        self._icmp = icmp
        self._fd = icmp.sock.fileno()
        self._usual = _STAMP_BYTES + _RECVERR_BYTES[icmp.family]
        self._batch = batch = ReceiveBatch(BATCH)
        self._origins = batch.control_column("B", _STAMP_BYTES + 16 + 4)
        self._keys = batch.control_column("I", _STAMP_BYTES + 16 + 12)
        self._seconds = batch.control_column("q", 16)
        self._nanos = batch.control_column("q", 24)

    def take(self) -> tuple[Iterable[Stamp], list[Refusal]] | None:
        """The next batch, without blocking; None where nothing waits."""
        batch = self._batch
        n = batch.receive(self._fd, MSG_ERRQUEUE)
        if not n:
            return None
        keys, origins = self._keys[:n].tolist(), self._origins[:n].tolist()
        seconds, nanos = self._seconds[:n].tolist(), self._nanos[:n].tolist()
        lengths = batch.control_lengths[:n].tolist()
        refusals: list[Refusal] = []
        if lengths.count(self._usual) < n or origins.count(_ORIGIN_STAMP) < n:
            for i in range(n):
                if lengths[i] != self._usual or origins[i] != _ORIGIN_STAMP:
                    keys[i] = -1
                    refusal = self._refusal(i)
                    if refusal is not None:
                        refusals.append(refusal)
        return zip(keys, seconds, nanos, strict=True), refusals

    def _refusal(self, i: int) -> Refusal | None:
        family = self._icmp.family
        for level, kind, data in self._batch.control(i):
            if (level, kind) != _RECVERR[family]:
                continue
            _, origin, icmp_type, code, _, _ = _ERROR.unpack_from(data)
            if origin not in (_ORIGIN_ICMP, _ORIGIN_ICMP6):
                return None
            try:
                quoted = parse_echo(family, self._batch.data(i))
            except MalformedPacket:
                return None
            if quoted.reply or (self._icmp.raw and quoted.identifier != self._icmp.identifier):
                return None
            at, size = (20, 4) if family == 4 else (24, 16)  # noqa: PLR2004
            sender = socket.inet_ntop(FAMILIES[family], data[at : at + size])
            return Refusal(IcmpError(icmp_type, code, sender), source_of(family, self._batch.name(i)), quoted)
        return None
