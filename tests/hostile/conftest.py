"""What the tests against a collector in foreign hands share."""

from collections.abc import Iterator

import pytest
from support import hostile_stage
from support.hostile_stage import Stage


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """One agent, one collector in foreign hands, for all of these tests: what one leaves, the next meets."""
    with hostile_stage.stage() as made:
        yield made
