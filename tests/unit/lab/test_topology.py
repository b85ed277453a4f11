"""The plan of the lab's internet."""

import ipaddress
import itertools
from pathlib import Path

import pytest

from sonde_lab import faults, lines, resolver, wiring
from sonde_lab.topology import ORIGIN_ADDRESSES, SERVERS, entries, rtt_ms, vantages

DOCUMENTATION = [
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
LONGEST_DEVICE = 15  # IFNAMSIZ - 1


def test_every_public_address_is_for_documentation_and_stands_once() -> None:
    """Vantages, servers, exits, origins and faults have addresses of their own, all for documentation."""
    everyone = [
        *itertools.chain.from_iterable((v.ipv4, v.ipv6) for v in vantages(12)),
        *itertools.chain.from_iterable((*entries(s), *s.exit) for s in SERVERS),
        *itertools.chain.from_iterable(ORIGIN_ADDRESSES.values()),
        *faults.addresses(),
    ]
    addresses = [ipaddress.ip_address(text) for text in everyone]
    assert len(set(addresses)) == len(addresses)
    for address in addresses:
        assert any(address in network for network in DOCUMENTATION if network.version == address.version), (
            address
        )


def test_the_first_two_vantages_see_delays_that_a_vpn_has() -> None:
    """From Amsterdam and New York every server is 10 to 120 ms away, and no two servers are alike."""
    for vantage in vantages(2):
        times = [rtt_ms(vantage.city, server.city) for server in SERVERS]
        assert all(10 <= time <= 120 for time in times)
        assert len(set(times)) == len(times)


def test_a_lab_has_one_to_twelve_vantages() -> None:
    """Other counts are refused with words."""
    for count in (0, 13):
        with pytest.raises(ValueError, match="1 to 12"):
            vantages(count)


def test_names_of_devices_fit_the_kernel() -> None:
    """No link of the core or the origin has a name longer than the kernel takes."""
    batch = wiring.pairs(vantages(12), (server.key for server in SERVERS))
    names = [line.split()[2] for line in batch.splitlines()]
    names += [f"dl-{server.key}" for server in SERVERS]
    assert all(len(name) <= LONGEST_DEVICE for name in (*names, *faults.WIREGUARD.values()))


def test_a_server_without_loss_has_no_rule_that_drops() -> None:
    """The rules of a server lose echoes with its own share, and none where it has none."""
    for server in SERVERS:
        rules = wiring.server_rules(server, "tun0")
        assert (" drop" in rules) == (server.loss_pct > 0)
        if server.loss_pct:
            assert f"mod 100000 < {round(server.loss_pct * 1000)} " in rules


def test_a_plan_halves_each_round_trip() -> None:
    """The delay line's plan names every vantage's way with half its round-trip time, in order."""
    way = lines.Way("198.51.100.11", "2001:db8:1::11", 19.3)
    text = lines.plan([lines.Line("wg-se", (way, way))], Path("/l"))
    assert text.splitlines() == [
        "line /run/netns/core dl-wg-se /run/netns/wg-se line /l/wg-se.record",
        "path 0 0 198.51.100.11 2001:db8:1::11 9650",
        "path 0 1 198.51.100.11 2001:db8:1::11 9650",
    ]


def test_the_resolver_knows_every_server() -> None:
    """Every server and origin has a name with both of its addresses."""
    known = resolver.names()
    assert known["wg-se.vpn.example"] == ("192.0.2.11", "2001:db8:2::11")
    assert "host-record=origin.example,203.0.113.1,2001:db8:3::1" in resolver.configuration(known)
