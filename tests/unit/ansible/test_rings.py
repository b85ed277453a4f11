"""Who is updated when."""

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st
from support.collection import plugin

rings = plugin("filter/rings")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(0, 7))
def test_a_batch_is_of_one_ring_and_rings_come_in_order(numbers: list[int], at_once: int) -> None:
    """Cut at the batches, the hosts are all there once, rings never mix or step back, no batch is too big."""
    names = [f"h{i}" for i in range(len(numbers))]
    ring = dict(zip(names, numbers, strict=True))
    order, batches = rings.by_ring(names, numbers), rings.ring_batches(numbers, at_once)
    assert sorted(order) == sorted(names)
    assert sum(batches) == len(names)
    last, start = -1, 0
    for size in batches:
        batch = order[start : start + size]
        start += size
        assert len({ring[name] for name in batch}) == 1
        assert ring[batch[0]] >= last
        assert at_once == 0 or size <= at_once
        last = ring[batch[0]]
    for number in set(numbers):
        mine = [name for name in order if ring[name] == number]
        assert mine == [name for name in names if ring[name] == number]
        count = len(mine)
        cut = 1 if at_once == 0 else -(-count // at_once)
        assert sum(1 for i in range(len(batches)) if ring[order[sum(batches[:i])]] == number) == cut


def test_nobody_is_not_everybody() -> None:
    """Without hosts the pattern is one that matches none: an empty one would be all of the inventory."""
    assert rings.by_ring([], []) == ["!all"]


def test_a_ring_that_is_no_number_names_its_host() -> None:
    """The message says whose it is."""
    with pytest.raises(AnsibleFilterError, match="sonde_agent_ring of b is no whole number"):
        rings.by_ring(["a", "b"], [0, "canary"])
