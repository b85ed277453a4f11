"""The command line: `sonde-lab demo`."""

import argparse
from pathlib import Path

from sonde_lab import demo


def main() -> int:
    """Return the exit code: 0 ok, 1 failed, 2 bad usage."""
    parser = argparse.ArgumentParser(
        prog="sonde-lab",
        description="Sonde on one machine, to look at and to play with.",
        epilog="example: sonde-lab demo --seconds 60",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser(
        "demo",
        help="run the whole pipeline here and show what arrives",
        description="Start an embedded PostgreSQL, a collector, two agents and two HTTPS edges; show what "
        "arrives. Ctrl-C ends it. Exit 0 only if results of every check arrived from every agent.",
        epilog="example: sonde-lab demo --seconds 60 --dir /tmp/demo",
    )
    show.add_argument(
        "--seconds", type=_seconds, metavar="N", help="end after N seconds (default: at Ctrl-C)"
    )
    show.add_argument(
        "--dir", type=Path, default=Path("var/demo"), metavar="DIR", help="its files (default: var/demo)"
    )
    given = parser.parse_args()
    return demo.run(given.dir, given.seconds)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 1e6:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f'must be a number of seconds from 1 to 1000000, not "{text}"')
    return seconds
