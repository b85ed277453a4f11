"""[health] and its like: when a thing is well. What one leaves out is as the wider table says."""

from typing import Annotated, Literal

import attrs

from sonde_proto.toml_config import between, duration_between, not_empty
from sonde_proto.units import Duration

_Threshold = Annotated[int, between(1, 10)]
_Stretch = Annotated[Duration, duration_between("1s", "30d")]
Days = Annotated[tuple[Annotated[int, between(0, 3650)], ...], not_empty]


@attrs.frozen
class Health:
    """How one server is judged.

    Attributes:
        healthy_threshold: checks in a row that must be well before a vantage calls it well again.
        unhealthy_threshold: checks in a row that must fail before a vantage says so.
        vantages_needed: vantages that must say so: a number, a share of those that judge, or all of these.
        degraded_ms: a slower handshake or answer is not well.
        stale_after: a vantage whose newest result is older does not judge.
        flap_changes, flap_window, flap_rest: so many changes in so long are flapping, until it rests so long.
    """

    healthy_threshold: _Threshold | None = None
    unhealthy_threshold: _Threshold | None = None
    vantages_needed: (
        Annotated[int, between(1, 1000)] | Annotated[float, between(0.01, 0.99)] | Literal["all"] | None
    ) = None
    degraded_ms: Annotated[float, between(0.001, 3_600_000)] | None = None
    stale_after: _Stretch | None = None
    flap_changes: Annotated[int, between(2, 1000)] | None = None
    flap_window: _Stretch | None = None
    flap_rest: _Stretch | None = None


@attrs.frozen
class TargetHealth(Health):
    """How a target is judged, and at how many days left its certificate is told of."""

    cert_days: Days | None = None


@attrs.frozen
class ProviderHealth(Health):
    """How a provider's servers are judged, and when all of them at once are no verdict over servers.

    Attributes:
        hold_servers: a provider with fewer servers that are measured is never held.
        hold_share: of its servers that must fail.
        hold_within: what is at once.
    """

    hold_servers: Annotated[int, between(2, 100_000)] | None = None
    hold_share: Annotated[float, between(0.5, 1)] | None = None
    hold_within: Annotated[Duration, duration_between("1s", "1d")] | None = None


@attrs.frozen
class FleetHealth(ProviderHealth):
    """How everything is judged that says nothing else."""

    cert_days: Days | None = None
