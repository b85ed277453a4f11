"""`convert`: the embedded database's data of another PostgreSQL major becomes this program's."""

import argparse
from pathlib import Path

from sonde_collector.commands.keeping import show_progress
from sonde_collector.commands.output import complain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db import programs
from sonde_collector.db.pool import EMBEDDED
from sonde_collector.keeping import convert as converting
from sonde_collector.keeping.convert import Plan
from sonde_proto.units import format_size


def register(commands: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        commands, "convert", convert, "take over embedded data of an older PostgreSQL major",
        examples=(
            "sonde-collector convert --dry-run    which major it is, what it needs",
            "sonde-collector convert --from-bin /usr/lib/postgresql/15/bin",
            "sonde-collector convert --remove-old    once the new one has proven itself",
        ),
        detail=(
            "The collector must be stopped. The old data is read by its own PostgreSQL's programs and filled "
            "into a new data directory beside it; row counts and checksums of every table are compared, then "
            "the two change places at once. The old one is kept as postgres-MAJOR in the state directory. "
            "Killed at any moment, it can be run again. Settings made by ALTER SYSTEM are not taken along."
        ),
    )  # fmt: skip
    parser.add_argument(
        "--from-bin", type=Path, metavar="DIR", help="where the older postgres is; else looked for"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    parser.add_argument("--remove-old", action="store_true", help="remove what earlier conversions kept")


def convert(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Convert, or say what that would take."""
    if config.database.url != EMBEDDED:
        complain(
            'sonde-collector: convert is for "embedded:"; this database is a PostgreSQL server of its own: '
            "its pg_upgrade does it (on Debian: pg_upgradecluster)"
        )
        return 1
    plan = converting.plan(config.state_dir, args.from_bin)
    rows = 0
    if args.remove_old and not args.dry_run:
        converting.remove_old(plan)
    elif not args.dry_run:
        rows = sum(content.rows for content in converting.convert(plan, show_progress).values())
    if args.json:
        say_json(_as_json(plan, args, rows))
        return 0
    if args.remove_old:
        gone = ", ".join(str(path) for path in plan.old) or "nothing"
        say(f"{'would remove' if args.dry_run else 'removed'} {gone}")
    elif plan.binaries is None:
        say(f"{plan.data} is of PostgreSQL {plan.major}, as this program: nothing to convert")
    elif args.dry_run:
        say(
            f"{plan.data}: PostgreSQL {plan.major}, {format_size(plan.bytes)}; would become "
            f"{programs.MAJOR}, read by {plan.binaries}; needs {format_size(plan.needs)} beside it, "
            f"{format_size(plan.free)} are free"
        )
    else:
        say(
            f"converted from PostgreSQL {plan.major} to {programs.MAJOR}: {rows} rows, counts and checksums "
            f"of every table the same; the old data is kept in {plan.kept} until "
            "`sonde-collector convert --remove-old`"
        )
    return 0


def _as_json(plan: Plan, args: argparse.Namespace, rows: int) -> dict[str, object]:
    return {
        "data": str(plan.data),
        "major": int(plan.major),
        "program_major": programs.MAJOR,
        "programs": str(plan.binaries) if plan.binaries else None,
        "bytes": plan.bytes,
        "needs_bytes": plan.needs,
        "free_bytes": plan.free,
        "converted": plan.binaries is not None and not args.dry_run and not args.remove_old,
        "rows": rows,
        "old": [str(path) for path in plan.old],
    }
