"""The console script: loads the command line, quietly when it is interrupted meanwhile."""

import sys
from collections.abc import Callable, Sequence

from sonde_proto import console


def main() -> int:
    """Run sonde-agent on this process's arguments; give the exit code."""
    return console.run("sonde-agent", _load)


def _load() -> Callable[[Sequence[str]], int]:
    from sonde_agent.cli import main as command_line  # noqa: PLC0415  # the slow part, and why this file is

    return command_line


if __name__ == "__main__":
    sys.exit(main())
