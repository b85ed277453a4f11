"""A fence in the kernel: IPsec policies of a namespace that block what must not be reached, or let it pass.

A route would not do: what names the device (SO_BINDTODEVICE, IP_PKTINFO) is sent straight to it when the
routing table refuses. A policy is asked for every packet, whatever socket sends it, and only root outside can
change it. Source: linux/xfrm.h; the message is `struct xfrm_userpolicy_info`.
"""

import os
import socket
import struct
from collections.abc import Iterable
from ipaddress import ip_network

from sonde_agent.tunnel import namespaces

_NETLINK_XFRM = 6
_UPDATE_POLICY = 0x19  # XFRM_MSG_UPDPOLICY: makes or replaces
_REQUEST_AND_ACK = 0x5  # NLM_F_REQUEST | NLM_F_ACK
_ERROR = 2  # NLMSG_ERROR; with code 0 it is an ack
_OUT, _ALLOW, _BLOCK = 1, 0, 1
_HEADER = struct.Struct("=IHHII")
_SELECTOR = struct.Struct(
    "=16s16s4HHBBB3xiI"
)  # to, from, ports, family, prefix lengths, protocol, device, user
_LIFETIME = struct.Struct("=8Q4Q")  # limits, then what was used
_POLICY = struct.Struct("=IIBBBB4x")  # priority, index, direction, action, flags, share
_UNLIMITED = (2**64 - 1,) * 4
_NARROWEST = 128
_AT_ONCE = 64  # messages: their acks wait in a receive buffer that is full with 270
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def fence(netns: int, *, denied: Iterable[str] = (), passed: Iterable[str] = ()) -> None:
    """Let nothing in a namespace send to the networks `denied`, but to the narrower ones in `passed`.

    Where one network stands in both, it is denied. What is blocked ends with EPERM in the sender.

    Raises:
        OSError: the kernel does not take it; one without IPsec can't hold a fence.
    """
    messages = [_policy(network, _BLOCK) for network in denied] + [
        _policy(network, _ALLOW) for network in passed
    ]
    with namespaces.inside(netns):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_XFRM)
    with sock:
        for begin in range(0, len(messages), _AT_ONCE):
            some = messages[begin : begin + _AT_ONCE]
            sock.sendall(b"".join(some))
            answered = 0
            while answered < len(some):
                answered += _acks(sock.recv(65536))


def _policy(network: str, action: int) -> bytes:
    where = ip_network(network)
    to, nowhere = where.network_address.packed.ljust(16, b"\0"), bytes(16)
    family, length = _FAMILIES[where.version], where.prefixlen
    priority = 2 * (_NARROWEST - length) + (action == _ALLOW)  # the lower is asked first
    content = (
        _SELECTOR.pack(to, nowhere, 0, 0, 0, 0, family, length, 0, 0, 0, 0)
        + _LIFETIME.pack(*_UNLIMITED, *(0,) * 8)
        + _POLICY.pack(priority, 0, _OUT, action, 0, 0)
    )
    return _HEADER.pack(_HEADER.size + len(content), _UPDATE_POLICY, _REQUEST_AND_ACK, 0, 0) + content


def _acks(data: bytes) -> int:
    """Count the acks in what was received; raise the first refusal."""
    at = count = 0
    while at < len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind == _ERROR:
            (code,) = struct.unpack_from("=i", data, at + _HEADER.size)
            if code:
                raise OSError(-code, f"the fence around a tunnel: {os.strerror(-code)}")
            count += 1
        at += (length + 3) & ~3
    return count
