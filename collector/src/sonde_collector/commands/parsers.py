"""What all commands' parsers share."""

import argparse
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonde_collector.config import ENVIRONMENT, CollectorConfig

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
else:
    Subparsers = object

Command = Callable[[CollectorConfig, argparse.Namespace], int] | Callable[[argparse.Namespace], int]
"""What a parser runs; with `bare` set in its defaults, it reads collector.toml by itself, or needs none."""


def add(
    commands: Subparsers,
    name: str,
    run: Command,
    summary: str,
    *,
    examples: Sequence[str],
    detail: str = "",
    json: bool = True,
) -> argparse.ArgumentParser:
    """Add a command with its help and examples, --config and --json."""
    parser = commands.add_parser(
        name,
        help=summary,
        description="\n\n".join(
            filter(None, (summary[0].upper() + summary[1:] + ".", textwrap.fill(detail, 100)))
        ),
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser, default=argparse.SUPPRESS)
    if json:
        parser.add_argument("--json", action="store_true", help="write JSON, for programs")
    parser.set_defaults(run=run)
    return parser


def add_config(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Add --config, which may stand before or after the command."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=default,
        help=f"collector.toml; else ${ENVIRONMENT}, ./collector.toml or /etc/sonde/collector.toml",
    )


def positive(text: str) -> float:
    """Be an argument type: a number above 0."""
    value = float(text)
    if not 0 < value < 1e9:  # noqa: PLR2004 -- thirty years, in seconds
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text}")
    return value
