"""What all commands' parsers share."""

import argparse
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonde_collector.config import ENVIRONMENT, CollectorConfig
from sonde_proto.units import format_duration, parse_duration

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001
else:
    Subparsers = object

_LONGEST_REASON = 200

Command = Callable[[CollectorConfig, argparse.Namespace], int]
Standalone = Callable[[argparse.Namespace], int]


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
    parser = _bare(commands, name, summary, examples=examples, detail=detail, json=json)
    add_config(parser, default=argparse.SUPPRESS)
    parser.set_defaults(run=run, standalone=False)
    return parser


def add_standalone(
    commands: Subparsers,
    name: str,
    run: Standalone,
    summary: str,
    *,
    examples: Sequence[str],
    detail: str = "",
    json: bool = True,
) -> argparse.ArgumentParser:
    """Add a command that needs neither collector.toml nor a database, as `add` does."""
    parser = _bare(commands, name, summary, examples=examples, detail=detail, json=json)
    parser.set_defaults(run=lambda _, args: run(args), standalone=True)
    return parser


def _bare(
    commands: Subparsers, name: str, summary: str, *, examples: Sequence[str], detail: str, json: bool
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description="\n\n".join(
            filter(None, (summary[0].upper() + summary[1:] + ".", textwrap.fill(detail, 100)))
        ),
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if json:
        parser.add_argument("--json", action="store_true", help="write JSON, for programs")
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


def duration(least_s: float, most_s: float) -> Callable[[str], float]:
    """Give an argument type: a duration between the two, in seconds."""

    def read(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if not least_s <= seconds <= most_s:
            least, most = format_duration(least_s), format_duration(most_s)
            raise argparse.ArgumentTypeError(f'must be between "{least}" and "{most}"')
        return seconds

    return read


def printable(text: str) -> str:
    """Be an argument type: a reason, in words."""
    if not text.strip() or len(text) > _LONGEST_REASON or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be 1 to {_LONGEST_REASON} printable characters")
    return text.strip()
