"""What does not work as it should: hosts of one namespace, each with a fault of its own."""

from dataclasses import dataclass

from sonde_lab.topology import FAULTS


@dataclass(frozen=True, slots=True)
class Host:
    """One address with one fault.

    Attributes:
        fault: its name; also of its profiles.
        number: last part of its address.
        what: in words.
        wireguard, openvpn_udp, openvpn_tcp, ike: port of the transport; 0 = no profile of that protocol.
    """

    fault: str
    number: int
    what: str
    wireguard: int = 0
    openvpn_udp: int = 0
    openvpn_tcp: int = 0
    ike: int = 0

    @property
    def ipv4(self) -> str:
        """Its IPv4 address."""
        return f"192.0.2.{self.number}"

    @property
    def ipv6(self) -> str:
        """Its IPv6 address."""
        return f"2001:db8:2::{self.number}"


_ALL = {"wireguard": 51820, "openvpn_udp": 1194, "openvpn_tcp": 443, "ike": 500}

HOSTS = {
    host.fault: host
    for host in (
        Host("unknown-key", 101, "a WireGuard server that does not know our key", wireguard=51821),
        Host("garbage", 102, "answers with rubbish", **_ALL),
        Host("silent", 103, "drops everything, echoes too", **_ALL),
        Host("expired-cert", 104, "an OpenVPN server whose certificate ended yesterday", openvpn_udp=1195),
        Host("no-traffic", 105, "the handshake works, nothing passes the tunnel", wireguard=51822),
        Host("leaky", 106, "a web server inside says that the caller is the vantage itself", wireguard=51823),
        Host("not-a-vpn", 107, "the host is alive, its ports are closed", **_ALL),
        Host("busy", 108, "a WireGuard server under load: it answers with cookies only", wireguard=51820),
    )
}

WIREGUARD = {"unknown-key": "f-unknown", "no-traffic": "f-still", "leaky": "f-leaky"}
"""Faults that are real WireGuard servers, and the names of their devices."""
LEAK_PORT = 8080
"""Where requests from inside the leaky tunnel to port 80 end up."""
EXPIRED = "ovpn-expired"
"""Of the OpenVPN server: its files and its log."""
EXPIRED_INSIDE = ("10.79.0", "fd00:79::")


def inside(fault: str) -> tuple[str, str]:
    """Give the network inside a faulty server: first three octets, and the /64 with "::". **Pure.**"""
    number = 70 + list(WIREGUARD).index(fault)
    return f"10.{number}.0", f"fd00:{number}::"


def addresses() -> list[str]:
    """Give every address of the namespace. **Pure.**"""
    return [address for host in HOSTS.values() for address in (host.ipv4, host.ipv6)]


def routes() -> str:
    """Give the batch for `ip` that lets what comes out of a leaky tunnel go on, by the line. **Pure.**"""
    return "route add default dev line\nroute add ::/0 dev line\n"


def rules() -> str:
    """Give the rules for `nft` in the namespace. **Pure.**"""
    silent, leaky = HOSTS["silent"], WIREGUARD["leaky"]
    return f"""\
table inet {FAULTS} {{
  chain gone {{
    type filter hook prerouting priority -300; policy accept;
    ip daddr {silent.ipv4} drop
    ip6 daddr {silent.ipv6} drop
    iifname "{WIREGUARD["no-traffic"]}" drop
  }}
  chain web {{
    type nat hook prerouting priority -100; policy accept;
    iifname "{leaky}" tcp dport 80 redirect to :{LEAK_PORT}
  }}
  chain leaving {{
    type nat hook postrouting priority 100; policy accept;
    oifname "line" ip saddr 10.0.0.0/8 snat ip to {HOSTS["leaky"].ipv4}
    oifname "line" ip6 saddr fd00::/8 snat ip6 to {HOSTS["leaky"].ipv6}
  }}
}}
"""
