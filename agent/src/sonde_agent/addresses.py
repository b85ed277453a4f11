"""Addresses in every way in which they can be written, and where a packet to one may really end. **Pure.**"""

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")  # RFC 2765


def parse_address(text: str) -> Address | None:
    """Give the address that `text` spells in any way that a resolver would take as one; None = a name."""
    text = text.rstrip(".").partition("%")[0]
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return _inet_aton(text)


def faces(address: Address) -> Iterator[Address]:
    """Give every address that a packet to `address` may end at: itself, and the IPv4 address inside it."""
    if not isinstance(address, ipaddress.IPv6Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or address in _TRANSLATED or (address in _COMPATIBLE and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _inet_aton(text: str) -> ipaddress.IPv4Address | None:
    """The numeric spellings that getaddrinfo() takes: 127.1, 0x7f.1, 0177.1, 2130706433."""
    parts = text.split(".")
    if len(parts) > 4:  # noqa: PLR2004 -- bytes of an IPv4 address
        return None
    value = 0
    for i, part in enumerate(parts):
        number = _number(part)
        is_last = i == len(parts) - 1
        if number is None or number >= 256 ** (5 - len(parts) if is_last else 1):
            return None
        value = value * (256 ** (5 - len(parts)) if is_last else 256) + number
    return ipaddress.IPv4Address(value)


def _number(text: str) -> int | None:
    if not (text.isascii() and text[:1].isdigit()):
        return None
    try:
        if text[:2].lower() == "0x":
            return int(text[2:] or "0", 16)
        return int(text, 8 if text.startswith("0") else 10)
    except ValueError:
        return None


def parse_network(text: str) -> Network | None:
    """Give the network that `text` spells, of one address where it names that; None = a name."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        address = parse_address(text)
        return None if address is None else ipaddress.ip_network(address)
