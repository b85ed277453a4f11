"""What an OpenVPN server assigns: its PUSH_REPLY, read from the log line that shows it. **Pure.**

Source: OpenVPN's manual, sections "Client options", "VPN tunnel implementation" (2.6).
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface

from attrs import frozen

_MESSAGE = re.compile(r"PUSH: Received control message: '(.*)'", re.DOTALL)
_MORE_FOLLOWS = "push-continuation 2"
_DNS_WORDS = frozenset({"DNS", "DNS6"})
_MTU_RANGE = range(576, 65_536)


@frozen
class Pushed:
    """What the server assigned; what it did not is "", () or None.

    Attributes:
        addresses: ours inside, with prefix length.
        gateway: the server's address inside.
        dns: resolvers inside.
        mtu: of the device [bytes].
        cipher: of the data channel, OpenVPN's name.
    """

    addresses: tuple[str, ...] = ()
    gateway: str = ""
    dns: tuple[str, ...] = ()
    mtu: int | None = None
    cipher: str = ""


def message_of(log: str) -> str | None:
    """Give the control message that a log line shows, or None: it shows no PUSH_REPLY."""
    match = _MESSAGE.search(log)
    return match.group(1) if match and match.group(1).startswith("PUSH_REPLY") else None


def is_last(message: str) -> bool:
    """Whether no further PUSH_REPLY follows this one."""
    return _MORE_FOLLOWS not in message


def read(messages: Sequence[str]) -> Pushed:
    """Give what the control messages of one connection assign; what is malformed counts as not said."""
    addresses: list[str] = []
    dns: list[str] = []
    gateway = cipher = ""
    mtu: int | None = None
    for option in ",".join(messages).split(","):
        match option.split():
            case ["ifconfig", local, remote]:
                addresses.append(own := _ipv4_interface(local, remote))
                gateway = gateway or (_address(remote) if own.endswith("/32") else "")
            case ["ifconfig-ipv6", local, *_]:
                addresses.append(_ipv6_interface(local))
            case ["route-gateway", address]:
                gateway = _address(address) or gateway
            case ["dhcp-option", word, address] if word in _DNS_WORDS:
                dns.append(_address(address))
            case ["dns", "server", _, "address", *listed]:
                dns.extend(_address(address) for address in listed)
            case ["tun-mtu", number]:
                mtu = _mtu(number) or mtu
            case ["cipher", name]:
                cipher = name
    return Pushed(_said(addresses), gateway, _said(dns), mtu, cipher)


def _said(words: Iterable[str]) -> tuple[str, ...]:
    """Give each that is not empty once, in order."""
    return tuple(filter(None, dict.fromkeys(words)))


def _ipv4_interface(local: str, second: str) -> str:
    """Give the address with its prefix length; `second` is a mask (topology subnet) or the peer."""
    try:
        IPv4Address(local)
        mask = int(IPv4Address(second))
    except ValueError:
        return ""
    is_mask = mask >> 31 and (~mask & 0xFFFFFFFF) & ((~mask & 0xFFFFFFFF) + 1) == 0
    return f"{local}/{mask.bit_count() if is_mask else 32}"


def _ipv6_interface(local: str) -> str:
    try:
        found = ip_interface(local)
    except ValueError:
        return ""
    return str(found) if isinstance(found.ip, IPv6Address) else ""


def _mtu(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 6 and int(text) in _MTU_RANGE else None  # noqa: PLR2004


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
