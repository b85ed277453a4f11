"""How many tunnels a host has the memory for."""

import pytest

from sonde_agent.tunnel.capacity import MIB, memory_bytes, tunnels_here, tunnels_within


@pytest.mark.parametrize(
    ("mebibytes", "tunnels"),
    [(256, 1), (480, 1), (512, 1), (1024, 2), (1980, 4), (2048, 4), (4096, 8), (65_536, 16)],
)
def test_memory_bounds_the_tunnels(mebibytes: int, tunnels: int) -> None:
    """One tunnel at 512 MB, four at 2 GB, also where the kernel keeps a part for itself; 16 at most."""
    assert tunnels_within(mebibytes * MIB) == tunnels


def test_a_number_is_taken_and_auto_is_reckoned() -> None:
    """The configuration's number counts; "auto" is what this host's memory is enough for."""
    assert tunnels_here(3) == 3
    assert tunnels_here("auto") == tunnels_within(memory_bytes())
    assert memory_bytes() > 64 * MIB
