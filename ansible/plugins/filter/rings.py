"""Filters that cut an update into rings: who goes when, and how many at once."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleFilterError


class FilterModule:
    """What Ansible asks for filters."""

    def filters(self) -> dict[str, Any]:
        """Give them by name."""
        return {"by_ring": by_ring, "ring_batches": ring_batches}


def by_ring(hosts: Sequence[str], rings: Sequence[Any]) -> list[str]:
    """Give `hosts` ring by ring, each ring in its order, as a play's `hosts`. **Pure**.

    Args:
        hosts: names.
        rings: the number of each one's ring.
    """
    numbers = _numbers(hosts, rings)
    # An empty pattern would be all hosts there are.
    return sorted(hosts, key=dict(zip(hosts, numbers, strict=True)).__getitem__) or ["!all"]


def ring_batches(rings: Sequence[Any], at_once: int) -> list[int]:
    """Give how many hosts are updated at once, one number after another: never of two rings. **Pure**.

    Args:
        rings: the number of each host's ring.
        at_once: at most; 0 = the whole ring.
    """
    batches = []
    for _, count in sorted(Counter(_numbers(rings, rings)).items()):
        size = at_once if at_once > 0 else count
        batches += [size] * (count // size) + [count % size] * bool(count % size)
    return batches or [1]


def _numbers(hosts: Sequence[Any], rings: Sequence[Any]) -> list[int]:
    try:
        return [int(ring) for ring in rings]
    except (TypeError, ValueError):
        wrong = next(host for host, ring in zip(hosts, rings, strict=True) if not str(ring).isdigit())
        raise AnsibleFilterError(f"sonde_agent_ring of {wrong} is no whole number") from None
