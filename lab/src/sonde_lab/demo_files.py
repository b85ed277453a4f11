"""The demo's configuration files, as a person would write them."""

import json
from dataclasses import dataclass
from pathlib import Path

from sonde_lab.edges import EDGES, NAME

VANTAGES = (("ams1", "Amsterdam", "NL"), ("nyc1", "New York", "US"))
SERVERS = (
    ("lab-de-1", "Frankfurt", "DE", "127.1.0.1"),
    ("lab-jp-1", "Tokyo", "JP", "127.1.0.2"),
    ("lab-br-1", "Sao Paulo", "BR", "127.1.0.3"),
    ("lab-se-v6", "Stockholm", "SE", "::1"),
)
CLOSED = ("127.2.0.3", 9)  # nobody listens: a check that fails, on purpose


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo found that this host allows.

    Attributes:
        folder: where everything is kept, absolute.
        grpc: what the collector listens on for agents: "127.0.0.1:PORT" or "unix:/PATH".
        http: "127.0.0.1:PORT" of /healthz, /readyz and /metrics.
        metrics: "127.0.0.1:PORT" of each agent, in the order of VANTAGES; "" = off.
        edge_port: port of the HTTPS edges.
        ping: whether agents may ping at all.
        ipv6: whether ::1 is there.
    """

    folder: Path
    grpc: str
    http: str
    metrics: tuple[str, ...]
    edge_port: int
    ping: bool
    ipv6: bool

    @property
    def collector_toml(self) -> Path:
        """The collector's configuration."""
        return self.folder / "collector.toml"

    @property
    def fleet_toml(self) -> Path:
        """The inventory and plans."""
        return self.folder / "fleet.toml"

    def agent_toml(self, vantage: str) -> Path:
        """Return the path of one agent's configuration."""
        return self.folder / f"agent-{vantage}.toml"


def write(plan: Plan) -> None:
    """Write collector.toml, fleet.toml and one agent-CODE.toml for each vantage."""
    plan.collector_toml.write_text(collector(plan))
    plan.fleet_toml.write_text(fleet(plan))
    for (code, _, _), metrics in zip(VANTAGES, plan.metrics, strict=True):
        plan.agent_toml(code).write_text(agent(plan, code, metrics))


def collector(plan: Plan) -> str:
    """Return collector.toml. **Pure.**"""
    return f"""\
# Written by `make demo`.
state_dir = {_toml(plan.folder / "collector")}

[database]
url = "embedded:"  # PostgreSQL of our own, its data under state_dir

[grpc]
listen = [{_toml(plan.grpc)}]

[http]
listen = "{plan.http}"
"""


def agent(plan: Plan, vantage: str, metrics: str) -> str:
    """Return one vantage's agent.toml. **Pure.**"""
    return f"""\
# Written by `make demo`.
collector = {_toml(plan.grpc)}
vantage = "{vantage}"
state_dir = {_toml(plan.folder / f"agent-{vantage}")}
metrics = "{metrics}"

[policy]
# An agent measures no loopback or private address unless its own configuration says so.
allow = ["127.0.0.0/8", "::1/128"]
"""


def fleet(plan: Plan) -> str:
    """Return fleet.toml. **Pure.**"""
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
        if plan.ipv6 or ":" not in address
    ]
    parts.append(
        _TARGETS.format(
            name=NAME,
            port=plan.edge_port,
            edges=json.dumps([edge.address for edge in EDGES]),
            ca=_toml(plan.folder / "tls" / "ca.pem"),
            closed=CLOSED,
        )
    )
    parts.append(_ENDPOINT_PLAN)
    if plan.ping:
        v4 = [key for key, _, _, address in SERVERS if ":" not in address]
        v6 = [key for key, _, _, address in SERVERS if ":" in address]
        parts.append(_PING_PLAN.format(family=4, servers=json.dumps(v4)))
        if plan.ipv6:
            parts.append(_PING_PLAN.format(family=6, servers=json.dumps(v6)))
    return "\n".join(parts)


def _toml(value: str | Path) -> str:
    """Return a TOML string; JSON's escapes are a subset of TOML's."""
    return json.dumps(str(value), ensure_ascii=False)


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
success = "ping"  # no tunnels yet: a reply counts as success, and is flagged as such

[plan.ping]
count = 5
spacing = "50ms"
wait = "1s"
families = [{family}]
"""
