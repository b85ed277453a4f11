"""The fence around a box agrees with the policy about every address."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.config import PolicyRules
from sonde_agent.policy import Policy
from sonde_agent.tunnel.fence import Fence, fence_of

V4 = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.sampled_from(["10.1.2.3", "10.1.128.9", "192.0.2.77", "203.0.113.5", "172.16.9.9"]),
    st.integers(8, 32),
)
V6 = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.sampled_from(["fd00::1", "2001:db8::1", "2001:db8:9::9", "fe80::7"]),
    st.integers(16, 128),
)
NETWORKS = st.lists(V4 | V6, max_size=4).map(tuple)
NEVER = st.lists((V4 | V6).map(str), max_size=3).map(tuple)
RULES = st.builds(PolicyRules, deny=NETWORKS, allow=NETWORKS, deny_targets=NEVER)
PLACES = st.sampled_from(
    [
        *("10.1.2.3", "10.1.2.4", "10.200.0.1", "192.0.2.77", "203.0.113.5", "172.16.9.9", "198.51.100.1"),
        *("fd00::1", "2001:db8::1", "2001:db8:9::9", "fe80::7", "2400::1", "127.0.0.1", "169.254.169.254"),
    ]
)


def blocks(fence: Fence, address: IPv4Address | IPv6Address) -> bool:
    """What the kernel makes of a fence: the narrowest network decides, a tie denies."""
    best = (-1, False)
    for networks, denies in ((fence.passed, False), (fence.denied, True)):
        for network in map(ip_network, networks):
            if address in network:
                best = max(best, (network.prefixlen, denies))
    return best[1]


@given(RULES, PLACES)
def test_the_fence_blocks_what_the_policy_refuses_and_nothing_else(rules: PolicyRules, place: str) -> None:
    """For any rules, the kernel's fence and the policy give the same answer about an address."""
    assert blocks(fence_of(rules), ip_address(place)) is (
        Policy(rules).refuse_address(place, None) is not None
    )


@given(RULES, PLACES.filter(lambda place: ":" not in place))
def test_an_address_hidden_in_ipv6_is_blocked_too(rules: PolicyRules, place: str) -> None:
    """What is denied in IPv4 is blocked behind NAT64 and 6to4 as well."""
    fence, number = fence_of(PolicyRules(deny=rules.deny)), int(IPv4Address(place))
    if blocks(fence, ip_address(place)):
        assert blocks(fence, IPv6Address(int(IPv6Address("64:ff9b::")) | number))
        assert blocks(fence, IPv6Address(int(IPv6Address("2002::")) | number << 80))


def test_the_tunnels_own_resolver_passes_unless_it_is_named_as_never() -> None:
    """Private as they are, gateway and resolver pass; `policy.deny_targets` outranks even that."""
    assert fence_of(PolicyRules()).own(["10.66.0.1", "fd66::1"]) == ["10.66.0.1", "fd66::1"]
    assert fence_of(PolicyRules(deny_targets=("10.66.0.0/24",))).own(["10.66.0.1", "fd66::1"]) == ["fd66::1"]


def test_names_are_no_part_of_a_fence() -> None:
    """A denied name is the policy's to judge: the fence knows addresses alone."""
    assert fence_of(PolicyRules(deny_targets=("*.example",))) == fence_of(PolicyRules())
