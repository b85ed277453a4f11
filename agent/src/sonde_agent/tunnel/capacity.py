"""How many tunnels this host has the memory for."""

from contextlib import suppress
from pathlib import Path

MIB = 1 << 20
_PER_TUNNEL = 512 * MIB  # a box, its backend and the agent's share; one on the smallest host that is sold
_MOST = 16  # beyond it, runs disturb each other's figures more than they save time
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def tunnels_within(memory_bytes: int) -> int:
    """Give how many tunnels fit at once: one at 512 MB, four at 2 GB, at most 16. **Pure.**

    Hosts sold with 2 GB show a little less to their users, so halves are rounded up.
    """
    return max(1, min(_MOST, (memory_bytes + _PER_TUNNEL // 2) // _PER_TUNNEL))


def memory_bytes() -> int:
    """What this host has, or what its container may use of it [bytes]."""
    total = 0
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
    for limit in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            total = min(total, int(limit.read_text(encoding="ascii")))
    return total


def tunnels_here(limit: int | str) -> int:
    """Give how many tunnels may be open at once: `limits.tunnels`, a number or "auto"."""
    return limit if isinstance(limit, int) else tunnels_within(memory_bytes())
