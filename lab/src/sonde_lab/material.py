"""Every secret of a lab: keys, certificates, accounts. Made anew for each lab."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from sonde_lab import keys
from sonde_lab.certificates import Authority
from sonde_lab.faults import WIREGUARD as FAULTY_WIREGUARD
from sonde_lab.keys import KeyPair
from sonde_lab.topology import SERVERS, Vantage
from sonde_lab.vpn_servers.openvpn import static_key
from sonde_lab.vpn_servers.wireguard import Peer

SHARED = "shared"
"""The customer whose one key every vantage has; each vantage is a customer of its own too."""
BUSY = "busy"
SESSIONS = 5
"""How many at once the lab's provider sells to an account."""


@dataclass(frozen=True)
class Account:
    """A user name and password, as a customer has them; not every one is good."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Material:
    """What servers and customers are proven with.

    Attributes:
        servers: the key pair of each WireGuard server, also the faulty ones, by key.
        customers: name → (key pair, last part of its address inside).
        smart: the same, of those who have smart DNS.
        stranger: a key that no server knows.
        authority: signs the servers of OpenVPN and IKEv2.
        other_authority: signs nothing.
        tls_crypt: of all OpenVPN servers.
        accounts: credential → account; only "lab" is good.
    """

    servers: dict[str, KeyPair] = field(repr=False)
    customers: dict[str, tuple[KeyPair, int]] = field(repr=False)
    smart: dict[str, tuple[KeyPair, int]] = field(repr=False)
    stranger: KeyPair = field(repr=False)
    authority: Authority
    other_authority: Authority
    tls_crypt: str = field(repr=False)
    accounts: dict[str, Account]

    @classmethod
    def new(cls, people: Sequence[Vantage]) -> Self:
        """Make all of it."""
        wireguard = [server.key for server in SERVERS if server.protocol == "WireGuard"]
        return cls(
            servers={key: keys.new() for key in (*wireguard, *FAULTY_WIREGUARD, BUSY)},
            customers={SHARED: (keys.new(), 2)} | {v.code: (keys.new(), 10 + v.number) for v in people},
            smart={SHARED: (keys.new(), 40)} | {v.code: (keys.new(), 40 + v.number) for v in people},
            stranger=keys.new(),
            authority=Authority.new("Lab VPN CA"),
            other_authority=Authority.new("Another CA"),
            tls_crypt=static_key(),
            accounts={
                "lab": Account("lab", secrets.token_hex(12)),
                "bad-password": Account("lab", secrets.token_hex(12)),
                "expired": Account("expired", secrets.token_hex(12)),
            },
        )

    @property
    def users(self) -> dict[str, str]:
        """Who may log in: name → password."""
        lab = self.accounts["lab"]
        return {lab.username: lab.password}

    def peers(self, inside: str, inside6: str) -> list[Peer]:
        """Give every customer as a WireGuard server with this network inside knows it."""
        return [
            Peer(pair.public, (f"{inside}.{last}/32", f"{inside6}{last:x}/128"))
            for pair, last in (*self.customers.values(), *self.smart.values())
        ]
