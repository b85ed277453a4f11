"""Every packet that a network namespace sends or receives, on whatever device of it."""

import os
import socket
import struct
import threading
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import frozen

from sonde_agent.tunnel import namespaces

_EVERY_PROTOCOL = 0x0003  # ETH_P_ALL
_IPV4, _IPV6 = 0x0800, 0x86DD
_PACKET_STATISTICS, _SOL_PACKET = 6, 263
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 32 << 20
_PORTS = frozenset({socket.IPPROTO_TCP, socket.IPPROTO_UDP})
_LOOK_S = 0.05


@frozen
class Packet:
    """One packet.

    Attributes:
        device: that it was seen on.
        ethertype: 0x0800 IPv4, 0x86dd IPv6, 0x0806 ARP …
        protocol: of IP; -1 where it is none.
        source, destination: addresses; "" where it is no IP.
        ports: source's and destination's, of TCP and UDP.
        kind: type of an ICMP message, flags of a TCP segment.
        data: the IP packet.
    """

    device: str
    ethertype: int
    protocol: int = -1
    source: str = ""
    destination: str = ""
    ports: tuple[int, int] = (0, 0)
    kind: int = -1
    data: bytes = b""

    def __str__(self) -> str:
        return (
            f"{self.device} {self.source}:{self.ports[0]} > {self.destination}:{self.ports[1]} "
            f"ethertype {self.ethertype:#x} protocol {self.protocol} kind {self.kind} {self.data[:48].hex()}"
        )


class Capture:
    """Packets of a network namespace while the context lasts.

    Args:
        netns: file of the namespace.

    Attributes:
        packets: what was seen; whole when the context has ended.
    """

    def __init__(self, netns: Path) -> None:
        self.packets: list[Packet] = []
        self._netns = netns
        self._over = threading.Event()

    def __enter__(self) -> Self:
        fd = os.open(self._netns, os.O_RDONLY)
        try:
            with namespaces.inside(fd):
                self._socket = socket.socket(
                    socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_EVERY_PROTOCOL)
                )
        finally:
            os.close(fd)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.settimeout(_LOOK_S)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        _, lost = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._socket.close()
        assert not lost, f"{lost} packets were not seen"

    def _read(self) -> None:
        while True:
            try:
                data, (device, ethertype, *_) = self._socket.recvfrom(65_536)
            except TimeoutError:
                if self._over.is_set():
                    return
            else:
                self.packets.append(parse(device, ethertype, data))


def parse(device: str, ethertype: int, data: bytes) -> Packet:
    """A packet out of its bytes from the network layer on."""
    if ethertype == _IPV4:
        protocol, payload = data[9], data[(data[0] & 0xF) * 4 :]
        source, destination = data[12:16], data[16:20]
        if struct.unpack_from("!H", data, 6)[0] & 0x1FFF:
            payload = b""  # a fragment: whose ports these are, only the first one says
    elif ethertype == _IPV6:
        protocol, payload = data[6], data[40:]
        source, destination = data[8:24], data[24:40]
        if protocol == 0:  # hop-by-hop options, as MLD has them
            protocol, payload = payload[0], payload[8 + payload[1] * 8 :]
    else:
        return Packet(device, ethertype, data=data)
    ports, kind = (0, 0), payload[0] if payload else -1
    if protocol in _PORTS:
        ports = struct.unpack_from("!HH", payload) if payload else ports
        kind = payload[13] if protocol == socket.IPPROTO_TCP and payload else -1
    ends = (str(ip_address(source)), str(ip_address(destination)))
    return Packet(device, ethertype, protocol, *ends, ports, kind, data)
