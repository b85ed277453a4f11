"""The schema's numbered files: which are applied, which wait, and applying them, each in one transaction."""

import hashlib
import re
from importlib import resources
from typing import LiteralString

import psycopg
from attrs import frozen

from sonde_collector.db.errors import (
    MigrationChanged,
    SchemaMissing,
    SchemaTooNew,
    SchemaTooOld,
    SeedSchemaFound,
    Unsuitable,
)
from sonde_collector.db.queries import query

# Our names in public. 0001 leaves what exists, so none of them may be somebody else's.
PUBLIC_NAMES = (
    "countries",
    "cities",
    "probe_locations",
    "protocols",
    "streaming_platforms",
    "providers",
    "servers",
    "server_protocols",
    "performance_logs",
    "streaming_checks",
    "performance_logs_hourly",
    "mv_server_latest_performance",
    "mv_server_daily_stats",
)

UTC_NAMES = frozenset({"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Zulu", "Etc/Zulu", "Universal", "Etc/Universal"})

_FILE = re.compile(r"\d{4}_[a-z0-9_]+\.sql")


@frozen
class Migration:
    """One numbered file."""

    name: str
    statements: LiteralString

    @property
    def sha256(self) -> str:
        """Of the file's text, hexadecimal."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Every migration of this program, in order."""
    folder = resources.files("sonde_collector") / "sql" / "migrations"
    files = sorted(
        (file for file in folder.iterdir() if _FILE.fullmatch(file.name)), key=lambda file: file.name
    )
    return [Migration(file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in files]


def pending(conn: psycopg.Connection) -> list[Migration]:
    """The migrations that the database has not seen. Reads only.

    Raises:
        SchemaTooNew: the database has seen one that this program does not have.
        MigrationChanged: an applied file's text differs from this program's.
    """
    if not _value(conn, "migrate_has_ledger"):
        return migrations()
    applied: dict[str, str] = dict(conn.execute(query("migrate_applied")).fetchall())
    known = {migration.name: migration for migration in migrations()}
    if unknown := sorted(set(applied) - set(known)):
        raise SchemaTooNew(
            f"the database was migrated by a newer sonde-collector (it has {', '.join(unknown)}): "
            "upgrade this one, or use the newer one's"
        )
    for name, digest in applied.items():
        if known[name].sha256 != digest:
            raise MigrationChanged(
                f"migration {name} was applied to the database with another text than this program holds: "
                "install the sonde-collector that applied it; applied files are never edited"
            )
    return [migration for name, migration in known.items() if name not in applied]


def check(conn: psycopg.Connection) -> None:
    """Refuses a schema or a time zone that this program can't work on. Reads only.

    Raises:
        Unsuitable: the database is not in UTC.
        SchemaMissing: none of ours is there; SeedSchemaFound where the seed's tables stand instead.
        SchemaTooOld: migrations wait.
        SchemaTooNew: a newer program migrated the database.
        MigrationChanged: an applied file's text differs from this program's.
    """
    check_time_zone(conn)
    waiting = pending(conn)
    if not waiting:
        return
    if len(waiting) == len(migrations()):
        _refuse_foreign_tables(conn)
        raise SchemaMissing("the database holds no Sonde schema yet: run `sonde-collector migrate`")
    names = ", ".join(migration.name for migration in waiting)
    raise SchemaTooOld(
        f"the database's schema is older than this program ({names}): run `sonde-collector migrate`"
    )


def migrate(conn: psycopg.Connection) -> list[str]:
    """Applies what waits, one transaction each, and returns the names in order; empty when nothing waits.

    Several at once are safe: each takes the same advisory lock and looks again. On a database that the caller
    may alter, its time zone becomes UTC first.

    Args:
        conn: outside any transaction; its user owns the database.

    Raises:
        Unsuitable: the database is not in UTC.
        SchemaTooNew: the database has seen a migration that this program does not have.
        MigrationChanged: an applied file's text differs from this program's.
        SeedSchemaFound: the seed's tables are there, made by someone else.
    """
    check_time_zone(conn)
    applied: list[str] = []
    while True:
        with conn.transaction():
            conn.execute(query("migrate_lock"))
            waiting = pending(conn)
            if not waiting:
                return applied
            if not _value(conn, "migrate_has_ledger"):
                _refuse_foreign_tables(conn)
            apply(conn, waiting[0])
            applied.append(waiting[0].name)


def apply(conn: psycopg.Connection, migration: Migration) -> None:
    """Runs one file and records it, inside the caller's transaction."""
    conn.execute(query("migrate_search_path"))
    conn.execute(migration.statements)
    record(conn, migration)


def record(conn: psycopg.Connection, migration: Migration) -> None:
    """Writes down that the database holds what the file makes, inside the caller's transaction."""
    conn.execute(query("migrate_record"), (migration.name, migration.sha256))


def check_time_zone(conn: psycopg.Connection) -> None:
    """Refuses a database whose sessions are not in UTC.

    Raises:
        Unsuitable: the message holds the statement that mends it.
    """
    zone = time_zone(conn)
    if zone not in UTC_NAMES:
        raise Unsuitable(
            f"the time zone of database {conn.info.dbname} is {zone}, and Sonde's days and hours are UTC: "
            f"run ALTER DATABASE \"{conn.info.dbname}\" SET timezone = 'UTC'; and start again"
        )


def time_zone(conn: psycopg.Connection) -> str:
    """The time zone that new connections to this database get."""
    return str(_value(conn, "migrate_time_zone"))


def foreign_tables(conn: psycopg.Connection) -> list[str]:
    """Our names in public that are taken."""
    return [row[0] for row in conn.execute(query("migrate_foreign_tables"), (list(PUBLIC_NAMES),))]


def _refuse_foreign_tables(conn: psycopg.Connection) -> None:
    if found := foreign_tables(conn):
        raise SeedSchemaFound(
            f"the database already holds {', '.join(found)}, which Sonde did not make: "
            "`sonde-collector migrate --adopt --dry-run` shows how they would be taken over, rows and all"
        )


def _value(conn: psycopg.Connection, name: str) -> object:
    row = conn.execute(query(name)).fetchone()
    assert row is not None
    return row[0]
