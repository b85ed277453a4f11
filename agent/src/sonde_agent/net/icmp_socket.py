"""Opening the one ICMP socket of a family, in the best way that this host allows."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from dataclasses import dataclass

from sonde_agent.net.icmp_packet import REPLY

STAMP_BOTH_WAYS = 0x89A
"""SOF_TIMESTAMPING_{TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, OPT_ID, OPT_TSONLY}: each packet stamped by the
kernel as it goes and as it comes; the stamps of those that went come on the error queue, numbered."""

_STAMP_UNNUMBERED = STAMP_BOTH_WAYS & ~0x80
_SO_TIMESTAMPING = 37
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_SO_ATTACH_FILTER = 26
_SO_MEMINFO = 55
_MEMINFO_DROPS = 8
_SOL_RAW, _ICMP_FILTER = 255, 1
_SOL_ICMPV6, _ICMP6_FILTER = 58, 1
_IP_RECVERR, _IP_RECVTTL = 11, 12
_IPV6_RECVERR, _IPV6_RECVHOPLIMIT = 25, 51

_BUFFER_BYTES = 16 << 20
"""Asked for in each direction: 100 ms of replies and TX stamps at 60 000 echoes/s, about 1.3 KB each."""

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class IcmpClosed(Exception):
    """This host lets this process send no echo of that family; the text says how to mend it."""


@dataclass(frozen=True, slots=True)
class IcmpSocket:
    """An open ICMP socket.

    Attributes:
        sock: non-blocking, stamped both ways, with an error queue, TTL or hop limit told.
        family: 4 or 6.
        raw: it is a raw socket: we write identifier and checksum, and IPv4 replies come with IP header.
        identifier: of the echoes it sends [0..65535].
        receive_bytes: what its receive buffer really holds.
    """

    sock: socket.socket
    family: int
    raw: bool
    identifier: int
    receive_bytes: int

    def restart_numbering(self) -> None:
        """The next packet's TX stamp is numbered 0 again."""
        self.sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _STAMP_UNNUMBERED)
        self.sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, STAMP_BOTH_WAYS)

    def dropped(self) -> int:
        """How many packets this socket dropped since it was opened, for want of room in its buffer."""
        info = self.sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
        drops: int = struct.unpack_from("=I", info, 4 * _MEMINFO_DROPS)[0]
        return drops


def open_icmp(family: int) -> IcmpSocket:
    """A datagram ICMP socket, or a raw one where only that is allowed.

    Args:
        family: 4 or 6.

    Raises:
        IcmpClosed: neither is allowed, or the kernel has no such family.
    """
    try:
        sock, raw = _open(family)
    except PermissionError as error:
        raise IcmpClosed(
            "this host lets this process send no ICMP echo; either open datagram ICMP to its group with "
            '`sysctl -w net.ipv4.ping_group_range="0 2147483647"` (and a line in /etc/sysctl.d to keep it), '
            "or give it the capability CAP_NET_RAW (systemd: AmbientCapabilities=CAP_NET_RAW)"
        ) from error
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
            raise IcmpClosed(f"this host's kernel has no IPv{family}: {error.strerror}") from error
        raise
    try:
        return _prepare(sock, family, raw)
    except BaseException:
        sock.close()
        raise


def _open(family: int) -> tuple[socket.socket, bool]:
    protocol = socket.IPPROTO_ICMP if family == 4 else socket.IPPROTO_ICMPV6  # noqa: PLR2004
    try:
        return socket.socket(FAMILIES[family], socket.SOCK_DGRAM, protocol), False
    except PermissionError:
        return socket.socket(FAMILIES[family], socket.SOCK_RAW, protocol), True


def _prepare(sock: socket.socket, family: int, raw: bool) -> IcmpSocket:  # noqa: FBT001 -- private
    if raw:
        identifier = int.from_bytes(os.urandom(2), "big")
        _hear_only_replies(sock, family, identifier)
    else:
        sock.bind(("", 0))
        identifier = sock.getsockname()[1]
    for force, ask in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, ask, _BUFFER_BYTES)
    if family == 4:  # noqa: PLR2004
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVHOPLIMIT, 1)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, STAMP_BOTH_WAYS)
    sock.setblocking(False)
    room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return IcmpSocket(sock, family, raw, identifier, room)


def _hear_only_replies(sock: socket.socket, family: int, identifier: int) -> None:
    """Without this every raw socket is given every ICMP packet of the host."""
    if family == 4:  # noqa: PLR2004
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", ~(1 << REPLY[4]) & 0xFFFFFFFF))
    else:
        blocked = [0xFFFFFFFF] * 8
        blocked[REPLY[6] >> 5] &= ~(1 << (REPLY[6] & 31))
        sock.setsockopt(_SOL_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked))
    # Classic BPF. IPv4: X = IP header length, load half-word at X + 4. IPv6 comes without its header.
    load = [(0xB1, 0, 0, 0), (0x48, 0, 0, 4)] if family == 4 else [(0x28, 0, 0, 4)]  # noqa: PLR2004
    program = [*load, (0x15, 0, 1, identifier), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]
    code = bytearray(b"".join(struct.pack("=HBBI", *step) for step in program))
    where = ctypes.addressof(ctypes.c_char.from_buffer(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("=HxxxxxxQ", len(program), where))
