"""[[vantage]]: a place where an agent sits."""

from typing import Annotated

import attrs

from sonde_collector.inventory import countries
from sonde_collector.inventory.model.rules import at_most, key, no_dot
from sonde_proto.toml_config import between


@attrs.frozen
class Vantage:
    """A place where an agent sits.

    Attributes:
        weight: how much its word counts in means over vantages.
    """

    code: Annotated[str, key(10), no_dot]
    city: Annotated[str, at_most(100)]
    country: Annotated[str, countries.country]
    provider: Annotated[str, at_most(50)] | None = None
    monthly_gb: Annotated[float, between(0.001, 9_999_999)] | None = None
    weight: Annotated[float, between(0.001, 1000)] = 1.0
