"""Which networks nothing in a box may reach, out of the policy's rules. Pure."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from attrs import frozen

from sonde_agent.blocks import Blocked
from sonde_agent.config import Network, PolicyRules
from sonde_agent.policy import DENIED

_NAT64 = int(IPv6Network("64:ff9b::/96").network_address)
_SIX_TO_FOUR = int(IPv6Network("2002::/16").network_address)


@frozen
class Fence:
    """Networks as text; where a denied and a passed one overlap, the narrower decides, and a tie denies.

    Attributes:
        denied: must not be reached.
        passed: parts of the denied ones that may be.
        never: those of the denied that nothing passes, not even the tunnel's own resolver.
    """

    denied: tuple[str, ...]
    passed: tuple[str, ...]
    never: tuple[Network, ...]

    def own(self, addresses: Iterable[str]) -> list[str]:
        """Give those of the tunnel's own addresses, its gateway and resolvers, that may be passed."""
        return [address for address in addresses if not _within(ip_network(address), self.never)]


def fence_of(rules: PolicyRules, now_us: int = 0) -> Fence:
    """Give what the kernel is to refuse, so that it holds for code that never asks the policy.

    Args:
        rules: the policy.
        now_us: UTC [µs since 1970]: blocks that have ended by then are none.
    """
    never = Blocked(rules.deny_targets, (block for block in rules.block if block.holds(now_us))).networks
    denied = [network for network in (*DENIED, *rules.deny) if not _within(network, rules.allow)]
    passed = [network for network in rules.allow if not _within(network, never)]
    every_denied = {str(face) for network in (*denied, *never) for face in _faces(network)}
    every_passed = {str(face) for network in passed for face in _faces(network)}
    return Fence(tuple(sorted(every_denied)), tuple(sorted(every_passed - every_denied)), never)


def _within(network: Network, others: Iterable[Network]) -> bool:
    for other in others:
        if isinstance(network, IPv4Network) and isinstance(other, IPv4Network):
            if network.subnet_of(other):
                return True
        elif isinstance(network, IPv6Network) and isinstance(other, IPv6Network) and network.subnet_of(other):
            return True
    return False


def _faces(network: Network) -> Iterator[Network]:
    """Every network in whose addresses those of `network` may hide: NAT64 and 6to4 hold IPv4 addresses."""
    yield network
    if isinstance(network, IPv4Network):
        address, length = int(network.network_address), network.prefixlen
        yield IPv6Network((_NAT64 | address, 96 + length))
        yield IPv6Network((_SIX_TO_FOUR | address << 80, 16 + length))
