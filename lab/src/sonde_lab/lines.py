"""The delay lines: one program that carries all of them, and the plan that it is given."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sonde_lab import compiler
from sonde_lab.programs import NETNS, LabError, Programs
from sonde_lab.topology import CORE

NAME = "delay_line"


@dataclass(frozen=True, slots=True)
class Way:
    """One vantage's way along a line.

    Attributes:
        ipv4, ipv6: whose packets.
        rtt_ms: there and back; each direction takes half.
    """

    ipv4: str
    ipv6: str
    rtt_ms: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line from the core to the place `key`, and every vantage's way along it, by vantage number."""

    key: str
    ways: tuple[Way, ...]


def plan(lines: Sequence[Line], folder: Path) -> str:
    """Give what the program reads. **Pure.**

    Args:
        lines: all of them.
        folder: of the record files.
    """
    words = []
    for at, line in enumerate(lines):
        words.append(f"line {NETNS / CORE} dl-{line.key} {NETNS / line.key} line {folder / line.key}.record")
        words += [
            f"path {at} {index} {way.ipv4} {way.ipv6} {round(way.rtt_ms * 500)}"
            for index, way in enumerate(line.ways)
        ]
    return "\n".join((*words, ""))


def start(folder: Path, lines: Sequence[Line], programs: Programs) -> None:
    """Start the program and return when every line's devices are there.

    Raises:
        LabError: it does not start.
    """
    if set(str(folder)) & set(" \t\n"):
        raise LabError(f"the lab's folder must have no blank in its path: {folder}")
    folder.mkdir(exist_ok=True)
    (folder / "plan").write_text(plan(lines, folder))
    programs.start(NAME, CORE, [*_program(folder), folder / "plan"])
    programs.wait(lambda: "ready" in programs.said(NAME), name=NAME)


def _program(folder: Path) -> list[str | Path]:
    """Compiled where a C compiler is, else in Python, which is less exact."""
    built = compiler.build(Path(__file__).with_name("delay_line.c"), folder)
    return [sys.executable, "-m", "sonde_lab.delay_line"] if built is None else [built]
