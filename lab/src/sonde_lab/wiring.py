"""Links, addresses, routes, rates and packet rules of each namespace, as texts for `ip` and `nft`. **Pure.**

Links are unnumbered: an address stands as /32 or /128 on its host, and a route leads there. A device's name
tells its other end. `dl-KEY` in the core and `line` in a place are the ends of a delay line (TUN devices);
`out-KEY` in the origin and `out` in a server are a plain link; `v-CODE` and `wan` lead to a vantage.
"""

from collections.abc import Iterable, Sequence

from sonde_lab.topology import ORIGIN, ORIGIN_ADDRESSES, Server, Vantage

_BURST = "burst 32kb latency 50ms"  # one GSO packet is cut up; 50 ms of queue is what a home router has
_VANTAGES = ("198.51.100.0/24", "2001:db8:1::/64")
_HUB4, _HUB6 = "198.51.100.1", "fe80::1"


def pairs(vantages: Iterable[Vantage], exits: Iterable[str]) -> str:
    """Give the batch for `ip` that makes every plain link, to run in the core's namespace.

    Args:
        vantages: each gets a link to the core.
        exits: namespaces that get a link to the origin.
    """
    lines = [
        f"link add v-{vantage.code} type veth peer name wan netns {vantage.code}" for vantage in vantages
    ]
    lines += [f"link add out-{key} netns {ORIGIN} type veth peer name out netns {key}" for key in exits]
    return "\n".join((*lines, ""))


def core(vantages: Iterable[Vantage], places: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Give the batch for the core's namespace.

    Args:
        vantages: all of them.
        places: name of each place at the end of a line, and the addresses that are there.
    """
    lines = ["link set lo up"]
    for vantage in vantages:
        device = f"v-{vantage.code}"
        lines += [
            f"addr add {_HUB4}/32 dev {device}",
            f"addr add {_HUB6}/64 dev {device} nodad",
            f"link set {device} up",
            f"route add {vantage.ipv4}/32 dev {device}",
            f"route add {vantage.ipv6}/128 via fe80::2 dev {device}",
        ]
    for key, addresses in places:
        lines += [f"link set dl-{key} addrgenmode none mtu 1500 txqueuelen 2000 up"]
        lines += [f"route add {address} dev dl-{key}" for address in addresses]
    return "\n".join((*lines, ""))


def vantage_host(vantage: Vantage) -> str:
    """Give the batch for a vantage's namespace."""
    return "\n".join(
        (
            "link set lo up",
            f"addr add {vantage.ipv4}/32 dev wan",
            f"addr add {vantage.ipv6}/128 dev wan nodad",
            "addr add fe80::2/64 dev wan nodad",
            "link set wan up",
            f"route add {_HUB4}/32 dev wan src {vantage.ipv4}",
            f"route add default via {_HUB4} dev wan src {vantage.ipv4}",
            f"route add default via {_HUB6} dev wan src {vantage.ipv6}",
            "",
        )
    )


def place(addresses: Sequence[str]) -> str:
    """Give the batch for a place at the end of a line: its own addresses, and the way to the vantages.

    Args:
        addresses: IPv4 and IPv6; the first of each is what it sends from.
    """
    v4, v6 = (next(one for one in addresses if (":" in one) == six) for six in (False, True))
    return "\n".join(
        (
            "link set lo up",
            *(f"addr add {address} dev lo{' nodad' if ':' in address else ''}" for address in addresses),
            "link set line addrgenmode none mtu 1500 txqueuelen 2000 up",
            f"route add {_VANTAGES[0]} dev line src {v4}",
            f"route add {_VANTAGES[1]} dev line src {v6}",
            "",
        )
    )


def way_out(server: Server) -> str:
    """Give the batch for a server's namespace that connects it with the origin, beside the line."""
    v4, v6 = server.exit
    return "\n".join(
        (
            f"addr add {v4}/32 dev out",
            f"addr add {v6}/128 dev out nodad",
            "addr add fe80::2/64 dev out nodad",
            "link set out up",
            f"route add {ORIGIN_ADDRESSES['origin'][0]}/32 dev out src {v4}",
            f"route add default via {ORIGIN_ADDRESSES['origin'][0]} dev out src {v4}",
            f"route add default via {_HUB6} dev out src {v6}",
            "",
        )
    )


def ways_in(exits: Iterable[Server]) -> str:
    """Give the batch for the origin's namespace: the way back to each server's exit address."""
    lines: list[str] = []
    for server in exits:
        device, (v4, v6) = f"out-{server.key}", server.exit
        lines += [
            f"addr add {_HUB6}/64 dev {device} nodad",
            f"link set {device} up",
            f"route add {v4}/32 dev {device}",
            f"route add {v6}/128 via fe80::2 dev {device}",
        ]
    return "\n".join((*lines, ""))


def rate(device: str, mbps: int) -> str:
    """Give the arguments of `tc` that let a device send no more than `mbps` [Mbit/s, with all headers]."""
    return f"qdisc add dev {device} root tbf rate {mbps}mbit {_BURST}"


def server_rules(server: Server, tunnel: str) -> str:
    """Give the rules for `nft` in a server's namespace: counted losses, its exit address, its resolver.

    Echo requests are lost before anything else sees them. Sets `direct_seen`, `direct_lost`, `inner_seen`
    and `inner_lost` (and the same with "6") hold a counter for each source address: the truth about loss.

    Args:
        server: whose.
        tunnel: pattern of the device that decrypted packets come from.
    """
    lost = round(server.loss_pct * 1000)
    sets, rules = [], []
    for where, device in (("direct", "line"), ("inner", tunnel)):
        for six, family, source, kind in (
            ("", "ipv4_addr", "ip saddr", "icmp type echo-request"),
            ("6", "ipv6_addr", "ip6 saddr", "icmpv6 type echo-request"),
        ):
            seen, gone = f"{where}_seen{six}", f"{where}_lost{six}"
            sets += [f"  set {name} {{ type {family}; flags dynamic; counter; }}" for name in (seen, gone)]
            match = f'    iifname "{device}" {kind}'
            rules += [
                f"{match} update @{seen} {{ {source} counter }}",
                f"{match} numgen random mod 100000 < {lost} update @{gone} {{ {source} counter }} drop",
            ]
    v4, v6 = ORIGIN_ADDRESSES["resolver"]
    return "\n".join(
        (
            "table inet lab {",
            *sets,
            "  chain losses {",
            "    type filter hook prerouting priority -300; policy accept;",
            *(rule for rule in rules if lost or "_lost" not in rule),
            "  }",
            "  chain to_resolver {",
            "    type nat hook prerouting priority -100; policy accept;",
            f"    ip daddr {server.inside}.1 meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {v4}",
            f"    ip6 daddr {server.inside6}1 meta l4proto {{ tcp, udp }} th dport 53 dnat ip6 to {v6}",
            "  }",
            "  chain leaving {",
            "    type nat hook postrouting priority 100; policy accept;",
            f'    oifname "out" ip saddr {server.inside}.0/24 snat ip to {server.exit[0]}',
            f'    oifname "out" ip6 saddr {server.inside6}/64 snat ip6 to {server.exit[1]}',
            "  }",
            "}",
            "",
        )
    )


def origin_rules() -> str:
    """Give the rules for `nft` in the origin's namespace: who sent how many packets to the platforms.

    Sets `callers` and `callers6` hold a counter for each source address. The platforms' proxy counts, and
    so do questions to the resolver that speaks TLS.
    """
    rules = []
    for number, family, name, kind in (
        (0, "ip", "callers", "ipv4_addr"),
        (1, "ip6", "callers6", "ipv6_addr"),
    ):
        places = ", ".join(ORIGIN_ADDRESSES[place][number] for place in ("world", "smart-proxy"))
        resolver = ORIGIN_ADDRESSES["resolver"][number]
        count = f"update @{name} {{ {family} saddr counter }}"
        rules += [
            f"  set {name} {{ type {kind}; flags dynamic; counter; }}",
            f"  chain to_{name} {{",
            "    type filter hook input priority 0; policy accept;",
            f"    {family} daddr {{ {places} }} {count}",
            f"    {family} daddr {resolver} tcp dport 853 {count}",
            "  }",
        ]
    return "\n".join(("table inet world {", *rules, "}", ""))
