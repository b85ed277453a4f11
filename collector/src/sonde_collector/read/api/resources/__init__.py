"""What the API offers: a file per subject, each path declared once."""

from collections.abc import Sequence

from sonde_collector.read.api.operation import Operation
from sonde_collector.read.api.resources import fleet, servers, targets

OPERATIONS: Sequence[Operation] = (*servers.OPERATIONS, *targets.OPERATIONS, *fleet.OPERATIONS)
