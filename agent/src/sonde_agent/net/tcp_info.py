"""What the kernel knows of a TCP connection: TCP_INFO, of which the figures of a bulk transfer are made."""

import socket
import struct
from typing import NamedTuple

_BYTES = 216  # up to tcpi_bytes_retrans; an older kernel gives fewer
_FIGURES = struct.Struct("=68xI28xI16xQQ12xI")  # rtt 68, total_retrans 100, bytes 120 and 128, min_rtt 148
_NO_RTT = 0xFFFF_FFFF


class TcpInfo(NamedTuple):
    """One connection now. Source: struct tcp_info of linux/tcp.h, since Linux 4.6."""

    rtt_us: int  # smoothed; of little worth at the receiver of a bulk transfer
    retransmits: int  # segments that we sent again
    bytes_acked: int  # of ours, that the peer's kernel has
    bytes_received: int  # of the peer's, in order; also what nobody has read yet
    min_rtt_us: int | None


def tcp_info(sock: socket.socket) -> TcpInfo:
    """Ask the kernel; an OSError says that the connection is gone."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES).ljust(_BYTES, b"\0")
    rtt, retransmits, acked, received, min_rtt = _FIGURES.unpack_from(info)
    return TcpInfo(rtt, retransmits, acked, received, None if min_rtt in (0, _NO_RTT) else min_rtt)
