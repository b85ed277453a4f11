"""Which agents this collector serves, by their version: those of two minor versions before it. **Pure.**"""

import re
from importlib import metadata

OURS = metadata.version("sonde-collector")
OLDEST = (0, 1)
"""The oldest minor version whose wire is tested (proto/README.md); a release moves it."""
_MINOR = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\D.*)?", re.DOTALL)


def too_old(agent: str) -> bool:
    """Whether an agent is older than what this collector is tested with; it is served all the same."""
    found = minor(agent)
    return found is not None and found < OLDEST


def too_new(agent: str) -> bool:
    """Whether an agent is of a later minor version than this collector, and may send what it can't read."""
    ours, found = minor(OURS), minor(agent)
    return ours is not None and found is not None and found > ours


def minor(version: str) -> tuple[int, int] | None:
    """Give major and minor; None where a version does not begin with them."""
    found = _MINOR.fullmatch(version)
    return None if found is None else (int(found[1]), int(found[2]))
