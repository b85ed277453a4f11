"""The demo's world without tunnels: loopback addresses as servers, and two HTTPS edges of one name.

For users who may not make network namespaces with devices. Where the user may not even ping, agents and edges
run in a user and network namespace of their own.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Group, RenderableType

from sonde_lab import certificates
from sonde_lab.demo import namespace, screen
from sonde_lab.demo.edges import EDGES, NAME
from sonde_lab.demo.files import NOTICES, toml
from sonde_lab.demo.host import has_ipv6, may_ping
from sonde_lab.demo.namespace import Namespace, NamespaceError
from sonde_lab.demo.processes import wait_until
from sonde_lab.demo.watch import View
from sonde_lab.demo.webhook import Heard
from sonde_lab.demo.world import Launch, StartChild

VANTAGES = (("ams1", "Amsterdam", "NL"), ("nyc1", "New York", "US"))
SERVERS = (
    ("lab-de-1", "Frankfurt", "DE", "127.1.0.1"),
    ("lab-jp-1", "Tokyo", "JP", "127.1.0.2"),
    ("lab-br-1", "Sao Paulo", "BR", "127.1.0.3"),
    ("lab-se-v6", "Stockholm", "SE", "::1"),
)
CLOSED = ("127.2.0.3", 9)  # nobody listens: a check that fails, on purpose
_EDGE_PORT = "8443"


class Direct:
    """See `sonde_lab.demo.world.World`.

    Args:
        folder: of the demo, absolute.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._room, self._ping = _room()
        self._edge_port = 0

    @property
    def vantages(self) -> tuple[str, ...]:
        """Codes."""
        return tuple(code for code, _, _ in VANTAGES)

    @property
    def by_socket(self) -> bool:
        """Only from a namespace of their own."""
        return self._room is not None

    def start(self, stack: ExitStack, child: StartChild) -> None:
        """Start the edges."""
        print(f"starting {len(EDGES)} edges of {NAME}")
        tls = self._folder / "tls"
        tls.mkdir(exist_ok=True)
        certificates.write(tls, [NAME])
        argv = (
            sys.executable,
            "-m",
            "sonde_lab.demo.edges",
            tls / "server.pem",
            tls / "server.key",
            _EDGE_PORT,
        )
        edges = child(stack, "edges", argv, before=self._room.enter if self._room else None)
        wait_until(
            lambda: b"ready " in edges.log.read_bytes(), seconds=60, what="the edges' start", children=[edges]
        )
        self._edge_port = int(edges.log.read_text().partition("ready ")[2].split()[0])

    def fleet(self, webhook: str) -> str:
        """Give fleet.toml: plans for what this host allows."""
        text = fleet(self._folder, edge_port=self._edge_port, ping=self._ping, ipv6=has_ipv6())
        return text + NOTICES.format(url=webhook)

    def agent(self, _vantage: str) -> str:
        """Allow loopback."""
        return AGENT

    def launch(self, _vantage: str, argv: Sequence[str | Path]) -> Launch:
        """Here, or in the namespace."""
        return Launch(argv, self._room.enter if self._room else None)

    def tend(self, _passed_s: float, _seconds: float | None) -> str | None:
        """Nothing happens: one of the targets is down all the time."""
        return None

    def unheard(self, _heard: Sequence[Heard]) -> list[str]:
        """Nothing is owed."""
        return []

    def missing(self, view: View, _seconds: float | None) -> list[str]:
        """Every check of every agent is owed, whatever the time."""
        there = {(count.vantage, count.table) for count in view.counts if count.rows}
        checks = [
            ("sonde.endpoint_checks", "endpoint"),
            *([("performance_logs", "ping")] if self._ping else []),
        ]
        return [
            f"no {check} result of {vantage} arrived"
            for vantage in self.vantages
            for table, check in checks
            if (vantage, table) not in there
        ]

    def picture(self, view: View) -> RenderableType:
        """Pings and endpoints."""
        return Group(screen.pings(view), screen.endpoints(view))


AGENT = """\
[policy]
# An agent measures no loopback or private address unless its own configuration says so.
allow = ["127.0.0.0/8", "::1/128"]
# Nor does it open a file that a task names, but in these folders: here, the authority of the demo's edges.
files = ["tls"]
"""


def _room() -> tuple[Namespace | None, bool]:
    """Find where agents can ping: here, in a namespace of our own, or nowhere; say so unless it is here."""
    if may_ping():
        return None, True
    try:
        room = namespace.create()
    except NamespaceError as error:
        print(
            "left out: ping (this user may open no ICMP socket, and no user namespace either: "
            f"{error}); endpoint checks run"
        )
        return None, False
    print(
        "this user may not ping here, so agents and edges run in a user and network namespace of their own "
        "and reach the collector by a unix socket"
    )
    return room, True


def fleet(folder: Path, *, edge_port: int, ping: bool, ipv6: bool) -> str:
    """Give fleet.toml. **Pure.**

    Args:
        folder: of the demo.
        edge_port: of the HTTPS edges.
        ping: whether agents may ping at all.
        ipv6: whether ::1 is there.
    """
    parts = ["# Written by `make demo`. Both vantages and all servers are addresses of this machine."]
    parts += [
        f"""\
[[vantage]]
code = "{code}"
city = "{city}"
country = "{country}"
"""
        for code, city, country in VANTAGES
    ]
    parts.append('[[provider]]\nkey = "lab"\nname = "Lab"\n')
    parts += [
        f"""\
[[server]]
key = "{key}"
provider = "lab"
city = "{city}"
country = "{country}"
ip_address = "{address}"
"""
        for key, city, country, address in SERVERS
        if ipv6 or ":" not in address
    ]
    parts.append(
        _TARGETS.format(
            name=NAME,
            port=edge_port,
            edges=json.dumps([edge.address for edge in EDGES]),
            ca=toml(folder / "tls" / "ca.pem"),
            closed=CLOSED,
        )
    )
    parts.append(_ENDPOINT_PLAN)
    if ping:
        v4 = [key for key, _, _, address in SERVERS if ":" not in address]
        v6 = [key for key, _, _, address in SERVERS if ":" in address]
        parts.append(_PING_PLAN.format(family=4, servers=json.dumps(v4)))
        if ipv6:
            parts.append(_PING_PLAN.format(family=6, servers=json.dumps(v6)))
    return "\n".join(parts)


_TARGETS = """\
# Two edges of one name: each address is a result of its own.
[[target]]
key = "www"
kind = "http"
url = "https://{name}:{port}/"
connect_to = {edges}
ca_file = {ca}
max_redirects = 0

[target.expect]
status = [200]
body_contains = "same page"
min_cert_days = 7

# Nobody listens there: this one fails, and that is a result too.
[[target]]
key = "closed"
kind = "tcp"
host = "{closed[0]}"
port = {closed[1]}
"""

_ENDPOINT_PLAN = """\
[[plan]]
key = "endpoints"
checks = ["endpoint"]
targets = "*"
every = "3s"
timeout = "2500ms"
"""

_PING_PLAN = """\
[[plan]]
key = "ping-ipv{family}"
checks = ["ping"]
servers = {servers}
every = "2s"
timeout = "1900ms"
success = "ping"  # no tunnels here: a reply counts as success, and is flagged as such

[plan.ping]
count = 5
spacing = "50ms"
wait = "1s"
families = [{family}]
"""
