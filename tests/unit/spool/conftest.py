"""A spool in a directory of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sonde_agent.spool import Spool

OpenSpool = Callable[..., Spool]


@pytest.fixture
def open_spool(tmp_path: Path) -> Iterator[OpenSpool]:
    """Opens `tmp_path/state/spool.db`; closes what is still open afterwards."""
    opened: list[Spool] = []

    def open_it(**settings: object) -> Spool:
        bounds: dict[str, object] = {"max_bytes": 32 << 20, "max_age_s": 1e9, "history_s": 1e9}
        spool = Spool.open(tmp_path / "state" / "spool.db", **(bounds | settings))  # type: ignore[arg-type]
        opened.append(spool)
        return spool

    yield open_it
    for spool in opened:
        spool.close()
