"""`serve` and `migrate`."""

import argparse

from sonde_collector import app, log
from sonde_collector.commands.output import say, say_json
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig, find_config
from sonde_collector.db.adopt import adopt
from sonde_collector.db.migrate import migrate, pending
from sonde_collector.db.pool import open_database


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    serving = add(
        commands,
        "serve",
        serve,
        "take results from agents: gRPC, health and metrics",
        examples=(
            "sonde-collector serve --config collector.toml",
            "sonde-collector serve --check-config    tell the mistakes of collector.toml; exit 2 if any",
        ),
        detail=(
            "An embedded database is migrated at start. A postgresql:// one is not: a schema that agents, "
            "other collectors and websites share changes when its operator says so, "
            "by `sonde-collector migrate`."
        ),
        json=False,
    )
    serving.add_argument(
        "--check-config", action="store_true", help="only read collector.toml, tell its mistakes"
    )
    parser = add(
        commands,
        "migrate",
        migrate_command,
        "bring the database's schema to this version",
        examples=(
            "sonde-collector migrate --dry-run    what would be applied",
            "sonde-collector migrate",
            "sonde-collector migrate --adopt --dry-run    how the first seed's tables would change",
            "sonde-collector migrate --adopt",
        ),
    )
    parser.add_argument(
        "--adopt", action="store_true", help="take over the first seed's tables, rows and all"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, change nothing")


def serve(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Run the service, or say that its configuration has no mistake: those end every command."""
    if args.check_config:
        say(f"{find_config(args.config)}: no mistake")
        return 0
    log.configure()
    app.serve(config)
    return 0


def migrate_command(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Apply migrations, or take over the seed's tables."""
    with (
        open_database(config.database.url, config.state_dir, check_schema=False) as database,
        database.connect(autocommit=True) as conn,
    ):
        if args.adopt:
            adopt(conn, dry_run=args.dry_run, out=say)
            return 0
        names = [migration.name for migration in pending(conn)] if args.dry_run else migrate(conn)
    if args.json:
        say_json({"pending" if args.dry_run else "applied": names})
    elif not names:
        say("the schema is up to date")
    for name in names if not args.json else ():
        say(f"{'would apply' if args.dry_run else 'applied'} {name}")
    return 0
