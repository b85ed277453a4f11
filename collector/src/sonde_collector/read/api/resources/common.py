"""What several resources share."""

from collections.abc import Callable
from typing import Any

from sonde_collector.read.api.fields import Field
from sonde_collector.read.api.operation import Values
from sonde_collector.read.api.parameters import Code, Flag, Parameter, Text
from sonde_collector.read.api.reader import Connection
from sonde_collector.read.lookup import rows

STATES = ("HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN")
PROTOCOLS_ABOUT = "Name of a protocol, such as WireGuard"

COUNTRY = Parameter("country", Code("[A-Z]{2}", "DE"), "ISO 3166-1 code")
PROVIDER = Parameter("provider", Text(50), "Key of a provider")
PROTOCOL = Parameter("protocol", Text(30), PROTOCOLS_ABOUT)
VANTAGE = Parameter("vantage", Text(10), "Code of a vantage point")
SERVER_KEY = Parameter("key", Text(300), "Key of a server", in_path=True)
TARGET_KEY = Parameter("key", Text(200), "Key of a target", in_path=True)


def active(default: bool | None = True) -> Parameter:  # noqa: FBT001, FBT002 -- a parameter's default, as its others
    """Give the parameter that tells what the inventory still names from what it named once."""
    return Parameter("active", Flag(), "What the inventory names now (true) or named once (false)", default)


HEALTH = (
    Field("health", "text", "Judged from all vantages", words=STATES),
    Field("health_since", "time", "When it came into this state", null=True),
)


def named(name: str) -> Callable[[Connection, Values], list[dict[str, Any]]]:
    """Give what runs a named query."""

    def run(conn: Connection, values: Values) -> list[dict[str, Any]]:
        return rows(conn, name, values)

    return run
