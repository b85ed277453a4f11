"""`[limits]` of agent.toml: how much of this host, and how much traffic, an assignment may ever use."""

from typing import Annotated, Literal

import attrs

from sonde_proto.toml_config import between
from sonde_proto.units import Size, parse_size


@attrs.frozen
class Limits:
    """The limits. The defaults of those on traffic are far above what an honest plan asks of one vantage."""

    concurrency: Annotated[int, between(1, 4096)] = 32
    """Runs at the same time."""
    tunnels: Annotated[int, between(1, 64)] | Literal["auto"] = "auto"
    """Tunnels open at the same time; "auto" = what the memory is enough for."""
    tasks: Annotated[int, between(1, 20_000)] = 10_000
    """Tasks of an assignment; the rest is refused."""
    runs_per_minute: Annotated[int, between(1, 1_000_000)] = 20_000
    """Runs that may begin, of all kinds together; what is asked for in a tunnel counts too."""
    echoes_per_s: Annotated[int, between(1, 1_000_000)] = 10_000
    """ICMP echoes sent, on average over ten seconds."""
    bodies_hour: Size = attrs.field(factory=lambda: parse_size("100GB"))
    """Bytes an hour that endpoint checks may read."""
    throughput_day: Size = attrs.field(factory=lambda: parse_size("1TB"))
    """Bytes a day (UTC) that throughput may use, both directions; the month's bound is the collector's."""


USUAL = Limits()
"""What holds where agent.toml says nothing."""
