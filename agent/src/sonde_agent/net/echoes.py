"""What one run of echoes yields, and its state while it is going on."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import struct
from array import array
from dataclasses import dataclass, field
from typing import TypeAlias

from sonde_agent.net.icmp_packet import HEADER, build_requests
from sonde_agent.net.icmp_socket import FAMILIES
from sonde_agent.net.mmsg import address_of

OWN_PAYLOAD_BYTES = 16
"""The run's token and the echo's nonce, 8 random bytes each; the least payload an echo can have."""

PACKET_BYTES = HEADER.size + OWN_PAYLOAD_BYTES
_NAME_BYTES = 32
_FIRST_MULTICAST = 224  # first byte of an IPv4 address
_U64 = struct.Struct("=Q")

Source: TypeAlias = "int | tuple[int, int]"
"""A sender's address as a comparable value: IPv4 the first 8 bytes of its sockaddr, IPv6 its two halves."""


@dataclass(frozen=True, slots=True)
class IcmpError:
    """What a host on the way said about one echo.

    Attributes:
        type: ICMP or ICMPv6 type.
        code: its code.
        sender: address of the host that said it.
    """

    type: int
    code: int
    sender: str


@dataclass(slots=True)
class Echoes:
    """One run: `count` echoes to one address, by index 0..count-1 in sending order.

    Attributes:
        address: where they went.
        family: 4 or 6.
        raw: they went through a raw socket.
        tx_ns: when each left, CLOCK_REALTIME; 0 = not sent.
        rx_ns: when its first reply came, CLOCK_REALTIME; 0 = none.
        user_stamped: echoes of which at least one stamp is this process's, not the kernel's.
        stepped: echoes in flight while the wall clock was set; they have no RTT.
        send_errors: errno of each echo that our own kernel refused.
        icmp_errors: of the echoes that a host on the way refused.
        duplicates: further replies to echoes already answered.
        ttl: TTL or hop limit of the last reply; None without one.
        dropped: packets that our socket dropped meanwhile for want of room, of this run or another.
    """

    address: str
    family: int
    raw: bool
    tx_ns: list[int]
    rx_ns: list[int]
    user_stamped: set[int] = field(default_factory=set)
    stepped: set[int] = field(default_factory=set)
    send_errors: dict[int, int] = field(default_factory=dict)
    icmp_errors: dict[int, IcmpError] = field(default_factory=dict)
    duplicates: int = 0
    ttl: int | None = None
    dropped: int = 0

    def rtts_ns(self) -> list[int | None]:
        """The round-trip time of each echo, late ones included; None where there is none to tell."""
        rtts = [rx - tx if rx else None for tx, rx in zip(self.tx_ns, self.rx_ns, strict=True)]
        for i in self.stepped:
            rtts[i] = None
        return rtts


def sockaddr(family: int, address: str) -> bytes:
    """`address` as struct sockaddr_in or sockaddr_in6, padded to 32 bytes.

    Raises:
        ValueError: it is no unicast address of that family.
    """
    if family == 4 and (packed := _plain_ipv4(address)):  # noqa: PLR2004 -- the families are called 4 and 6
        return struct.pack("=HH4s", FAMILIES[4], 0, packed).ljust(_NAME_BYTES, b"\0")
    parsed = ipaddress.ip_address(address)
    if parsed.version != family:
        raise ValueError(f"{address} is no IPv{family} address")
    if parsed.is_multicast or parsed.is_unspecified or address == "255.255.255.255":
        raise ValueError(f"{address} is no address of one host; its replies would come from others")
    if isinstance(parsed, ipaddress.IPv4Address):
        return struct.pack("=HH4s", FAMILIES[4], 0, parsed.packed).ljust(_NAME_BYTES, b"\0")
    scope = _scope(parsed.scope_id) if parsed.scope_id else 0
    return struct.pack("=HHI16sI", FAMILIES[6], 0, 0, parsed.packed, scope).ljust(_NAME_BYTES, b"\0")


def _plain_ipv4(address: str) -> bytes | None:
    """The usual case at a tenth of the price: one host's address; None for what needs a closer look."""
    try:
        packed = socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        return None
    return packed if 0 < packed[0] < _FIRST_MULTICAST else None


def _scope(name: str) -> int:
    try:
        return int(name) if name.isdecimal() else socket.if_nametoindex(name)
    except OSError as error:
        raise ValueError(f"this host has no interface {name}") from error


class Run:
    """A run that is going on: its packets, ready to be sent, and what is known of each.

    Attributes:
        token: in every packet; finds the run when a reply comes.
        nonces: one random number an echo. Nobody can answer an echo that he has not seen, neither a
            stranger nor a target that would like to look nearer than it is.
        source: the replies' sender, as the engine's columns show it.
        kernel_tx_ns: the kernel's stamp of each echo; 0 = none came.
        next: the index of the next echo to be sent.
        settled: echoes that are answered or were refused by our kernel.
        tries: how often in a row the next echo found no room.
    """

    __slots__ = (
        "_memory",
        "count",
        "dropped_before",
        "due",
        "echoes",
        "filler",
        "future",
        "kernel_tx_ns",
        "name_at",
        "next",
        "nonces",
        "packet_at",
        "settled",
        "source",
        "spacing_s",
        "token",
        "tries",
        "wait_s",
    )  # fmt: skip

    def __init__(
        self,
        echoes: Echoes,
        *,
        identifier: int,
        spacing_s: float,
        wait_s: float,
        payload_bytes: int,
        future: asyncio.Future[Echoes],
    ) -> None:
        self.echoes = echoes
        self.count = count = len(echoes.tx_ns)
        self.spacing_s = spacing_s
        self.wait_s = wait_s
        self.future = future
        self.filler = payload_bytes - OWN_PAYLOAD_BYTES
        self.kernel_tx_ns = [0] * count
        self.next = self.settled = self.tries = self.dropped_before = 0
        self.due = 0.0
        name = sockaddr(echoes.family, echoes.address)
        self.source = source_of(echoes.family, name)
        random = os.urandom(8 + 8 * count)
        self.token: int = _U64.unpack_from(random)[0]
        self.nonces = array("Q", random[8:])
        packets = build_requests(echoes.family, identifier, random[:8], self.nonces)
        self.nonces.byteswap()  # as the engine's columns read them back
        self._memory = bytearray(name + packets)
        self.name_at = address_of(self._memory)
        self.packet_at = self.name_at + _NAME_BYTES

    def settle(self) -> None:
        """Puts the kernel's stamps in the place of ours, and flags what has none or makes no sense."""
        echoes = self.echoes
        for i, stamp in enumerate(self.kernel_tx_ns):
            heard = echoes.rx_ns[i]
            if stamp:
                echoes.tx_ns[i] = stamp
            elif heard:
                echoes.user_stamped.add(i)
            if 0 < heard < echoes.tx_ns[i]:
                echoes.stepped.add(i)


def source_of(family: int, name: bytes) -> Source:
    """The sender that this struct sockaddr names."""
    if family == 4:  # noqa: PLR2004 -- the families are called 4 and 6
        whole: int = _U64.unpack_from(name)[0]
        return whole
    high, low = struct.unpack_from("=QQ", name, 8)
    return high, low
