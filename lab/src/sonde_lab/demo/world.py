"""What the demo measures: a world in which agents sit, its inventory, and how its results are shown."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import RenderableType

from sonde_lab.demo.processes import Child
from sonde_lab.demo.watch import View
from sonde_lab.demo.webhook import Heard

StartChild = Callable[..., Child]
"""`start(stack, name, argv, before=None)`: a program that ends with the stack."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a program is started at a vantage.

    Attributes:
        argv: the program.
        before: runs in the child between fork and exec.
    """

    argv: Sequence[str | Path]
    before: Callable[[], None] | None = None


class World(Protocol):
    """Where agents sit and what they measure."""

    @property
    def vantages(self) -> tuple[str, ...]:
        """Codes of the agents' vantages."""

    @property
    def by_socket(self) -> bool:
        """Whether agents can reach the collector by a unix socket only."""

    def start(self, stack: ExitStack, child: StartChild) -> None:
        """Bring up what is measured; it ends with the stack."""

    def fleet(self, webhook: str) -> str:
        """Give fleet.toml, which sends notices to the URL `webhook`. After `start`."""

    def agent(self, vantage: str) -> str:
        """Give what agent.toml says beside collector, vantage and state_dir."""

    def launch(self, vantage: str, argv: Sequence[str | Path]) -> Launch:
        """Give how `argv` is started at a vantage."""

    def tend(self, passed_s: float, seconds: float | None) -> str | None:
        """Let happen what is due so long after the agents' start; give it in words."""

    def missing(self, view: View, seconds: float | None) -> list[str]:
        """Give, in words, which results should have arrived within so many seconds and did not."""

    def unheard(self, heard: Sequence[Heard]) -> list[str]:
        """Give, in words, which notices should have come and did not."""

    def picture(self, view: View) -> RenderableType:
        """Give what was measured, for human eyes."""
