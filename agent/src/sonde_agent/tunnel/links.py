"""Devices, addresses and routes in a namespace that is named by an open file; pyroute2 does the speaking.

For a process with one thread: it is moved into the namespace for the moment in which the socket is made.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_interface, ip_network

from pyroute2.iproute.linux import IPRoute

from sonde_agent.tunnel import namespaces

_NO_DAD = 0x02  # IFA_F_NODAD: nobody else is on the link, and a tentative address can't be used for a second


@contextmanager
def netlink(netns: int) -> Iterator[IPRoute]:
    """Open a netlink socket in the namespace `netns`."""
    with namespaces.inside(netns):
        socket = IPRoute()
    with socket:
        yield socket


def raise_loopback(netns: int) -> None:
    """Bring up `lo`: without it a namespace can't reach its own addresses."""
    with netlink(netns) as there:
        there.link("set", index=1, state="up")


def move(device: str, from_netns: int, to_netns: int) -> None:
    """Move a device from one namespace into another; it arrives down and without addresses.

    Raises:
        OSError: there is no such device.
    """
    with netlink(from_netns) as there:
        there.link("set", index=index_of(there, device), net_ns_fd=to_netns)


def configure(netns: int, device: str, *, addresses: Sequence[str], mtu: int, routes: Sequence[str]) -> None:
    """Give a device its addresses and MTU, bring it up, and send the networks `routes` through it."""
    with netlink(netns) as there:
        index = index_of(there, device)
        for address in map(ip_interface, addresses):
            nodad = {"flags": _NO_DAD} if address.version == 6 else {}  # noqa: PLR2004 -- IPv6
            there.addr(
                "add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **nodad
            )
        there.link("set", index=index, mtu=mtu, state="up")
        for route in routes:
            there.route("replace", dst=str(ip_network(route, strict=False)), oif=index)


def index_of(there: IPRoute, device: str) -> int:
    """Give the index of a device in that namespace.

    Raises:
        OSError: there is none of that name.
    """
    found = there.link_lookup(ifname=device)
    if not found:
        raise OSError(f"no device {device} in that namespace")
    return int(found[0])
