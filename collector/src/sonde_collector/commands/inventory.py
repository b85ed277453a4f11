"""`apply`: the fleet file into the database; the difference and the cost first."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from sonde_collector.commands.fleet_report import as_json, describe, say_costs, summary
from sonde_collector.commands.output import complain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.inventory import cost, fit
from sonde_collector.inventory.apply import Applied, apply
from sonde_collector.inventory.change import Change
from sonde_collector.inventory.fleet_file import load_fleet
from sonde_collector.inventory.notices import notices
from sonde_collector.inventory.sources.read import read_sources
from sonde_collector.inventory.way import Reading

_SHOWN = 40  # lines of one kind: a source of thousands would hide what else changes


def register(commands: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        commands,
        "apply",
        run,
        "make inventory and plans what a fleet file says",
        examples=(
            "sonde-collector apply fleet.toml --dry-run    the difference and what it costs each vantage",
            "sonde-collector apply fleet.toml",
            "sonde-collector apply fleet.toml --strict     nothing, if any file of a source can't be used",
        ),
        detail=(
            "Prints + added, ~ changed, - deactivated. What is gone from the file is deactivated, never "
            "deleted; what no fleet file ever named, and columns that it does not have, are left alone. "
            "Sources are read anew: a file of theirs that can't be used is named with its line and left out, "
            "the others are applied."
        ),
    )
    parser.add_argument("fleet", type=Path, metavar="FLEET.TOML")
    parser.add_argument("--dry-run", action="store_true", help="only show the difference and the cost")
    parser.add_argument("--yes", action="store_true", help="a source may list far fewer servers than before")
    parser.add_argument(
        "--strict", action="store_true", help="apply nothing if a file of a source is bad or unmatched"
    )
    parser.add_argument("--all", action="store_true", help=f"show every line, not {_SHOWN} of a kind")


def run(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Apply a fleet file."""
    fleet = load_fleet(args.fleet)
    readings = read_sources(fleet, _progress)
    bad = [line for reading in readings for line in reading.bad]
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        look_first = args.dry_run or args.strict
        applied = apply(conn, fleet, readings, dry_run=look_first, may_shrink=args.yes)
        stopped = args.strict and bool(bad or applied.roster.unmatched)
        if args.strict and not args.dry_run and not stopped:
            applied = apply(conn, fleet, readings, may_shrink=args.yes)
    dry_run = args.dry_run or stopped
    _tell_sources(readings, applied, bad, everything=args.all)
    costs = {code: cost.total(one.cost for one in tasks) for code, tasks in applied.tasks.items()}
    uses = fit.uses(applied.roster.fleet, applied.tasks)
    notes = [
        *notices(applied.roster, costs, uses),
        *(f"{line}; an apply will ask for --yes" for line in applied.shrunk),
        *_left_alone(applied),
    ]
    if args.json:
        say_json(as_json(applied, costs, uses, notes, bad, dry_run=dry_run))
    else:
        _say_changes(applied.changes, everything=args.all)
        if args.dry_run and costs:
            say_costs(costs, uses)
        for note in notes:
            say(f"note: {note}")
    for line in applied.refused:
        complain(f"sonde-collector: {args.fleet}: {line}")
    if stopped:
        complain(
            f"sonde-collector: {args.fleet}: nothing is applied: --strict, and files of sources can't be used"
        )
    elif not args.json and not applied.refused:
        say(summary(applied, dry_run=dry_run))
    return 2 if applied.refused else int(stopped)


def _progress(name: str, done: int, total: int) -> None:
    """Show how far the reading of a source is, where a person watches."""
    if sys.stderr.isatty():
        end = "\r" if done < total else "\n"
        sys.stderr.write(f"reading {name}: {done} of {total} files{end}")
        sys.stderr.flush()


def _tell_sources(readings: list[Reading], applied: Applied, bad: list[str], *, everything: bool) -> None:
    """Name what of the sources is not used, on standard error."""
    lists = (
        ("can't be used", bad),
        ("not placed", list(applied.roster.unmatched)),
        ("left out", list(applied.roster.second)),
    )
    for what, lines in lists:
        shown = lines if everything else lines[:_SHOWN]
        for line in shown:
            complain(f"{what}: {line}")
        if len(lines) > len(shown):
            complain(f"{what}: {len(lines) - len(shown)} more; --all shows them")
    for reading in readings:
        if reading.other:
            names = ", ".join(reading.other[:3]) + (" …" if len(reading.other) > 3 else "")  # noqa: PLR2004 -- a line's worth
            complain(f"no profile: {len(reading.other)} name(s) in {reading.path}: {names}")


def _say_changes(changes: list[Change], *, everything: bool) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for change in changes:
        seen[change.sign, change.kind] += 1
        if everything or seen[change.sign, change.kind] <= _SHOWN:
            say(describe(change))
    if not everything:
        for (sign, kind), count in seen.items():
            if count > _SHOWN:
                say(f"{sign} {kind}: {count - _SHOWN} more; --all shows them")


def _left_alone(applied: Applied) -> list[Any]:
    return [
        f"{count} {kind} row(s) that no fleet file named are left alone"
        for kind, count in applied.left_alone.items()
    ]
