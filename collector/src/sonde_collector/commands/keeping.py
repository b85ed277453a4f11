"""`backup` and `restore`: the embedded database to a directory, and back."""

import argparse
import sys
from pathlib import Path

from sonde_collector.commands.output import complain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.embedded import Embedded
from sonde_collector.db.pool import EMBEDDED, open_database
from sonde_collector.db.queries import query
from sonde_collector.keeping import backup as making
from sonde_collector.keeping import restore as restoring
from sonde_collector.keeping.manifest import Manifest
from sonde_proto.units import format_size

_RECIPE_BACKUP = """\
sonde-collector: backup and restore are for "embedded:"; this database is a PostgreSQL server of its own.
Back it up with its own programs, while collectors run:
  pg_dump --format=custom --file=sonde.dump "$(sonde-collector sql --dsn)"
  pg_dumpall --roles-only --file=roles.sql        as a superuser, where roles of your own read it"""
_RECIPE_RESTORE = f"""\
sonde-collector: backup and restore are for "embedded:"; this database is a PostgreSQL server of its own.
Restore it beside the one in use, then let [database] url lead there:
  createdb sonde_new && psql -d sonde_new -c "ALTER DATABASE sonde_new SET timezone = 'UTC'"
  pg_restore --exit-on-error --no-owner --dbname=sonde_new sonde.dump
  psql -d sonde_new -c "{query("keeping_after_restore_by_hand")}" -c ANALYZE
  sonde-collector migrate && sonde-collector apply fleet.toml    with the new url; then start collectors"""


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add(
        commands, "backup", backup, "write the embedded database to a new directory; the collector may run",
        examples=(
            "sonde-collector backup /mnt/backup/sonde-$(date +%F)",
            "sonde-collector backup /mnt/backup/sonde-today --json",
        ),
        detail=(
            "The directory holds one moment of the whole database, the roles its rights name, and a manifest "
            "with checksums and the rows of each table; it appears when all of it is on the disk. Not in it: "
            "collector.toml, certificates and keys, archive files, and settings made by ALTER SYSTEM. For a "
            "postgresql:// database the command says how pg_dump does it."
        ),
    )  # fmt: skip
    parser.add_argument("directory", type=Path, metavar="DIR", help="is made; must not exist")
    parser = add(
        commands, "restore", restore, "put a backup in the place of the embedded database",
        examples=(
            "sonde-collector restore /mnt/backup/sonde-2026-11-27 --dry-run    is it whole, would it fit",
            "sonde-collector restore /mnt/backup/sonde-2026-11-27 --yes",
        ),
        detail=(
            "The collector must be stopped. The backup is filled in and counted beside the database in use, "
            "and takes its place at once; if anything goes wrong before, nothing has changed. The database "
            "keeps its id: agents send again what came after the backup, as far as their history reaches "
            "([spool] history, 48 hours if nothing else is said), and declare the rest a gap. Apply the "
            "newest fleet file before the collector starts: results about servers that the backup does not "
            "know are set aside."
        ),
    )  # fmt: skip
    parser.add_argument("directory", type=Path, metavar="DIR", help="that `backup` made")
    parser.add_argument("--yes", action="store_true", help="give up what the database in use holds")
    parser.add_argument("--dry-run", action="store_true", help="check the backup, change nothing")


def backup(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Make a backup."""
    if config.database.url != EMBEDDED:
        complain(_RECIPE_BACKUP)
        return 1
    with open_database(EMBEDDED, config.state_dir) as database:
        made = making.backup(database, Embedded(config.state_dir), args.directory, show_progress)
    if args.json:
        say_json(_as_json(made, args.directory))
        return 0
    size, whole = format_size(made.bytes), format_size(made.database_bytes)
    say(f"backed up {_content(made)} to {args.directory}: {size} for a database of {whole}")
    return 0


def restore(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Restore a backup."""
    if config.database.url != EMBEDDED:
        complain(_RECIPE_RESTORE)
        return 1
    source = args.directory.absolute()
    manifest = restoring.examine(source, show_progress)
    applied = []
    if not args.dry_run:
        with Embedded(config.state_dir) as server:
            applied = restoring.restore(server, source, manifest, show_progress, replace=args.yes)
    if args.json:
        say_json({**_as_json(manifest, source), "restored": not args.dry_run, "migrated": applied})
        return 0
    if args.dry_run:
        say(f"{source} is whole and can be restored: {_content(manifest)}, PostgreSQL {manifest.postgres}")
        return 0
    say(f"restored {_content(manifest)}, database id {manifest.database_id}")
    for name in applied:
        say(f"applied {name}")
    say("next: apply the newest fleet file, then start the collector; agents send what it lacks")
    return 0


def _content(manifest: Manifest) -> str:
    rows, tables = sum(manifest.rows.values()), len(manifest.rows)
    return f"{rows} rows of {tables} tables as of {manifest.made_at:%F %T} UTC"


def _as_json(manifest: Manifest, place: Path) -> dict[str, object]:
    return {
        "directory": str(place),
        "made_at": manifest.made_at,
        "database_id": manifest.database_id,
        "bytes": manifest.bytes,
        "database_bytes": manifest.database_bytes,
        "postgres": manifest.postgres,
        "rows": manifest.rows,
        "schema": max(manifest.migrations, default=None),
    }


def show_progress(what: str, done: int, total: int) -> None:
    """Show how far it is, where a person watches."""
    if sys.stderr.isatty():
        end = "\r" if done < total else "\n"
        sys.stderr.write(f"{what}: {done} of {total}\x1b[K{end}")
        sys.stderr.flush()
