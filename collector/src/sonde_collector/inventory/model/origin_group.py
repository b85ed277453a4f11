"""[[origin_group]]: targets that stand in for one another."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import attrs

from sonde_collector.inventory.model.rules import Key, doubles
from sonde_proto.toml_config import between, duration_between
from sonde_proto.units import Duration

CODES = (500, 502, 503, 504)
RETURN_AFTER = Duration(120.0)


@attrs.frozen
class OriginGroup:
    """Targets that stand in for one another, the preferred one first.

    Attributes:
        members: keys of targets.
        failover_codes: statuses that count as a failure here, whatever the target itself expects.
        failover_timeout: an answer that takes longer counts as one, too.
        return_after: a preferred member must have been healthy for so long before it is active again.
    """

    key: Key
    members: tuple[str, ...]
    failover_codes: tuple[Annotated[int, between(100, 599)], ...] = CODES
    failover_timeout: Annotated[Duration, duration_between("1ms", "1h")] | None = None
    return_after: Annotated[Duration, duration_between("0s", "1d")] = RETURN_AFTER

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        members = fields.get("members")
        if members is not None and len(members) < 2:  # noqa: PLR2004 -- one and another
            yield (
                "members",
                f"must name two targets or more, not {len(members)}: one has nothing to go over to",
            )
        for name in doubles(members or ()):
            yield "members", f'names "{name}" twice'
