"""The configuration of the demo's collector and agents, as a person would write it."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is.

    Attributes:
        folder: of the demo, absolute.
        grpc: what the collector listens on for agents: "127.0.0.1:PORT" or "unix:/PATH".
        http: "127.0.0.1:PORT" of /healthz, /readyz and /metrics.
        metrics: vantage → "127.0.0.1:PORT" of its agent's /metrics; "" = off.
    """

    folder: Path
    grpc: str
    http: str
    metrics: dict[str, str]

    @property
    def collector_toml(self) -> Path:
        """The collector's configuration."""
        return self.folder / "collector.toml"

    @property
    def fleet_toml(self) -> Path:
        """The inventory and plans."""
        return self.folder / "fleet.toml"

    def agent_toml(self, vantage: str) -> Path:
        """Give the path of one agent's configuration."""
        return self.folder / f"agent-{vantage}.toml"


NOTICES = """
# When is a thing well, and who hears of it. With two vantages one that says so is enough.
[health]
healthy_threshold = 2
unhealthy_threshold = 2
vantages_needed = 1

[[notify]]
key = "webhook"
kind = "json"
url = "{url}"
"""


def collector(places: Places) -> str:
    """Give collector.toml. **Pure.**"""
    return f"""\
# Written by `make demo`.
state_dir = {toml(places.folder / "collector")}

[database]
url = "embedded:"  # PostgreSQL of our own, its data under state_dir

[grpc]
listen = [{toml(places.grpc)}]

[http]
listen = "{places.http}"
"""


def agent(places: Places, vantage: str, more: str) -> str:
    """Give one vantage's agent.toml, which ends with `more`. **Pure.**"""
    return f"""\
# Written by `make demo`.
collector = {toml(places.grpc)}
vantage = "{vantage}"
state_dir = {toml(places.folder / f"agent-{vantage}")}
metrics = "{places.metrics[vantage]}"

{more}"""


def toml(value: str | Path) -> str:
    """Give a TOML string; JSON's escapes are a subset of TOML's. **Pure.**"""
    return json.dumps(str(value), ensure_ascii=False)
