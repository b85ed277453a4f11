"""What the API offers: a file per subject, each path declared once."""

from collections.abc import Sequence

from sonde_collector.read.api.operation import Operation
from sonde_collector.read.api.resources import fleet, ranking, servers, targets, trends, unlock
from sonde_collector.read.ranges import Kept


def operations(kept: Kept) -> Sequence[Operation]:
    """Give all of it, for tiers that are kept so long."""
    return (
        *ranking.OPERATIONS,
        *servers.OPERATIONS,
        *targets.OPERATIONS,
        *trends.operations(kept),
        *unlock.OPERATIONS,
        *fleet.OPERATIONS,
    )
