"""What the lab's internet consists of: vantages, VPN servers, delays between them, every address. **Pure.**

Public addresses are those reserved for documentation (RFC 5737, RFC 3849). A server is entered at its `entry`
address, across a delay line; what came through its tunnel leaves from its `exit` address, beside the line.
"""

import math
from dataclasses import dataclass

ORIGIN = "origin"
"""The namespace of web servers, resolver and reference host."""
CORE = "core"
"""The namespace that everything is connected through."""
FAULTS = "faults"
"""The namespace of what does not work as it should."""
MOST_VANTAGES = 12


@dataclass(frozen=True, slots=True)
class City:
    """A place on the globe.

    Attributes:
        country: ISO 3166.
        latitude, longitude: [degrees].
    """

    name: str
    country: str
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Vantage:
    """Where an agent sits.

    Attributes:
        code: also its namespace's name.
        number: from 1.
    """

    code: str
    number: int
    city: City

    @property
    def ipv4(self) -> str:
        """Its only IPv4 address."""
        return f"198.51.100.{10 + self.number}"

    @property
    def ipv6(self) -> str:
        """Its only global IPv6 address."""
        return f"2001:db8:1::{10 + self.number}"


@dataclass(frozen=True, slots=True)
class Server:
    """A VPN server that works.

    Attributes:
        key: as everything calls it; also its namespace's name.
        number: from 1.
        protocol: as table protocols names it.
        port: of the transport.
        loss_pct: of ICMP echoes, to it and through it.
        rate_mbps: both directions, with all headers.
    """

    key: str
    number: int
    protocol: str
    port: int
    city: City
    loss_pct: float
    rate_mbps: int

    @property
    def entry(self) -> tuple[str, str]:
        """Where clients connect to: IPv4 and IPv6."""
        return f"192.0.2.{10 + self.number}", f"2001:db8:2::{10 + self.number}"

    @property
    def exit(self) -> tuple[str, str]:
        """Whom the world sees: IPv4 and IPv6."""
        return f"203.0.113.{100 + self.number}", f"2001:db8:4::{100 + self.number}"

    @property
    def inside(self) -> str:
        """The first three octets of its network inside; .1 is the server."""
        return f"10.{60 + self.number}.0"

    @property
    def inside6(self) -> str:
        """The /64 of its network inside, up to and with "::"; ::1 is the server."""
        return f"fd00:60:{self.number:x}::"


AMSTERDAM = City("Amsterdam", "NL", 52.37, 4.90)

CITIES = {
    "ams": AMSTERDAM,
    "nyc": City("New York", "US", 40.71, -74.01),
    "fra": City("Frankfurt", "DE", 50.11, 8.68),
    "sin": City("Singapore", "SG", 1.35, 103.82),
    "lon": City("London", "GB", 51.51, -0.13),
    "par": City("Paris", "FR", 48.86, 2.35),
    "syd": City("Sydney", "AU", -33.87, 151.21),
    "tyo": City("Tokyo", "JP", 35.68, 139.69),
    "sao": City("Sao Paulo", "BR", -23.55, -46.63),
    "jnb": City("Johannesburg", "ZA", -26.20, 28.05),
    "bom": City("Mumbai", "IN", 19.08, 72.88),
    "sea": City("Seattle", "US", 47.61, -122.33),
}

SERVERS = (
    Server("wg-se", 1, "WireGuard", 51820, City("Stockholm", "SE", 59.33, 18.07), 0.5, 50),
    Server("wg-jp", 2, "WireGuard", 51820, City("Tokyo", "JP", 35.68, 139.69), 2.0, 30),
    Server("ovpn-de-udp", 3, "OpenVPN-UDP", 1194, City("Frankfurt", "DE", 50.11, 8.68), 0.0, 40),
    Server("ovpn-de-tcp", 4, "OpenVPN-TCP", 443, City("Berlin", "DE", 52.52, 13.41), 1.0, 25),
    Server("ike-us", 5, "IKEv2", 500, City("Chicago", "US", 41.88, -87.63), 1.0, 60),
)

ORIGIN_CITY = AMSTERDAM
ORIGIN_MBPS = 100
FAULTS_CITY = City("Zurich", "CH", 47.38, 8.54)
FAULTS_MBPS = 50

ORIGIN_ADDRESSES = {
    "origin": ("203.0.113.1", "2001:db8:3::1"),
    "edge": ("203.0.113.2", "2001:db8:3::2"),
    "reference": ("203.0.113.3", "2001:db8:3::3"),
    "resolver": ("203.0.113.53", "2001:db8:3::53"),
    "smart-dns": ("203.0.113.54", "2001:db8:3::54"),
    "world": ("203.0.113.80", "2001:db8:3::80"),
    "smart-proxy": ("203.0.113.90", "2001:db8:3::90"),
}
"""What the origin namespace answers at; each NAME is NAME.example in the resolver."""

SMART_OF = "wg-jp"
"""The server that customers of smart DNS leave from: their resolver leads to a proxy for some names."""
SMART_ENTRY = ("192.0.2.22", "2001:db8:2::22")
"""Where they enter it; to an inventory it is a server of its own."""
SMART_CITY = City("London", "GB", 51.51, -0.13)
"""Where the world takes that proxy to be."""


def vantages(count: int) -> tuple[Vantage, ...]:
    """Give the first `count` vantages.

    Raises:
        ValueError: not 1..12.
    """
    if not 1 <= count <= MOST_VANTAGES:
        raise ValueError(f"a lab has 1 to {MOST_VANTAGES} vantages, not {count}")
    return tuple(
        Vantage(code, number, city) for number, (code, city) in enumerate(list(CITIES.items())[:count], 1)
    )


def rtt_ms(one: City, other: City) -> float:
    """Give the round-trip time between two cities [ms]: 8 ms of access and 1 ms for each 100 km.

    Light in fibre takes 1 ms for 100 km and back; real cables take detours, real labs need not.
    """
    here, there = math.radians(one.latitude), math.radians(other.latitude)
    half = math.sin((here - there) / 2) ** 2 + math.cos(here) * math.cos(there) * (
        math.sin(math.radians(one.longitude - other.longitude) / 2) ** 2
    )
    return round(8 + 6371 * 2 * math.asin(math.sqrt(half)) / 100, 1)


def entries(server: Server) -> tuple[str, ...]:
    """Give every address that a server is entered at; the first of each family is what it sends from."""
    return (*server.entry, *(SMART_ENTRY if server.key == SMART_OF else ()))
