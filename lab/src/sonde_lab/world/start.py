"""Starts the world server from outside, and changes it while it runs."""

import json
import sys
from pathlib import Path
from typing import Any

from sonde_lab.programs import Programs
from sonde_lab.topology import ORIGIN
from sonde_lab.world import CHANGES, KNOWN
from sonde_lab.world.atlas import Changes

FOLDER = "world"
"""In the lab's."""
_NAME = "world"


def start(folder: Path, count: int, programs: Programs) -> None:
    """Start it; `known` waits for it.

    Args:
        folder: the lab's.
        count: of vantages.
        programs: takes it.
    """
    own = folder / FOLDER
    own.mkdir()
    command: list[str | Path] = [sys.executable, "-m", "sonde_lab.world", own, folder / "logs", str(count)]
    programs.start(_NAME, ORIGIN, command)


def wait(folder: Path, programs: Programs) -> dict[str, Any]:
    """Give what the world knows when it serves.

    Raises:
        LabError: it does not start.
    """
    programs.wait(lambda: "ready" in programs.said(_NAME), name=_NAME, seconds=30.0)
    return known(folder)


def known(folder: Path) -> dict[str, Any]:
    """Give what the world of a lab knows: what `sonde_lab.world.expected.known` wrote."""
    found: dict[str, Any] = json.loads((folder / FOLDER / KNOWN).read_text())
    return found


def changes(folder: Path) -> Changes:
    """Give what is other than the map says now."""
    file = folder / FOLDER / CHANGES
    return Changes.read(file.read_text()) if file.exists() else Changes()


def change(folder: Path, changed: Changes) -> None:
    """Let these be the changes from the next request on, and no others."""
    file = folder / FOLDER / CHANGES
    new = file.with_suffix(".new")
    new.write_text(changed.written())
    new.replace(file)
