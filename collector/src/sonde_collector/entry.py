"""The console script: loads the command line, quietly when it is interrupted meanwhile."""

import os
import sys
from collections.abc import Callable, Sequence

from sonde_proto import console


def main() -> int:
    """Run sonde-collector on this process's arguments; give the exit code."""
    return console.run("sonde-collector", _load)


def _load() -> Callable[[Sequence[str]], int]:
    # gRPC's C core writes a line for each agent that gives up; what matters of it, the collector logs.
    # It looks when it is loaded.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from sonde_collector.cli import main as command_line  # noqa: PLC0415  # the slow part, and why this file is

    return command_line


if __name__ == "__main__":
    sys.exit(main())
