"""A backup of the embedded database, beside whatever uses it: one snapshot, counted and dumped."""

import datetime as dt
from importlib.metadata import version
from pathlib import Path

import psycopg

from sonde_collector.db.embedded import Embedded
from sonde_collector.db.errors import BackupError
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.keeping import dump, folder, manifest
from sonde_collector.keeping.dump import Tell
from sonde_collector.keeping.manifest import Manifest

_TRIES = 3


def backup(database: Database, server: Embedded, target: Path, tell: Tell) -> Manifest:
    """Writes a backup, whole or not at all, and notes it in `sonde.backups`.

    Args:
        database: checked, with this program's schema.
        server: the same, as its programs reach it.
        target: the directory to make.
        tell: hears how far it is.

    Raises:
        BackupError: the target exists, or a program of PostgreSQL failed.
    """
    with folder.making(target) as partial:
        made = _dumped(database, server, partial, tell)
        (partial / manifest.NAME).write_text(made.to_json(), "utf-8")
    with database.connect(autocommit=True) as conn:
        conn.execute(query("keeping_record"), (made.made_at, str(target.absolute()), made.bytes))
    return made


def _dumped(database: Database, server: Embedded, partial: Path, tell: Tell) -> Manifest:
    """Tries again where a table was dropped between the snapshot and its lock: retention's moment."""
    for attempt in range(1, _TRIES + 1):
        try:
            return _dump(database, server, partial, tell)
        except psycopg.errors.UndefinedTable as error:
            if attempt == _TRIES:
                raise BackupError(f"tables are dropped faster than they can be locked: {error}") from error
    raise AssertionError("the last try returns or raises")


def _dump(database: Database, server: Embedded, partial: Path, tell: Tell) -> Manifest:
    with database.connect() as conn:
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        row = conn.execute(query("keeping_snapshot")).fetchone()
        assert row is not None
        snapshot, made_at, database_id, postgres, database_bytes = row
        tell("rows counted", 0, 1)
        rows: dict[str, int] = dict(conn.execute(query("keeping_exact_rows")).fetchall())
        tell("rows counted", 1, 1)
        migrations: dict[str, str] = dict(conn.execute(query("keeping_migrations")).fetchall())
        dump.dump(database.url, snapshot, partial / dump.DUMP, len(rows), tell)
    dump.dump_roles(server.url_of("postgres"), partial / dump.ROLES)
    return Manifest(
        made_at=made_at.astimezone(dt.UTC),
        database_id=database_id,
        database_bytes=database_bytes,
        postgres=postgres.partition(" ")[0],
        program=version("sonde-collector"),
        migrations=migrations,
        rows=rows,
        files={name: folder.digest(partial / name) for name in (dump.DUMP, dump.ROLES)},
    )
