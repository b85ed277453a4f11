"""A backup into the embedded database: filled and proven beside the one in use, then put in its place.

Whenever it is ended, even by SIGKILL, the database is wholly the old one or wholly the restored one: the two
renames are one transaction, and what is left beside is removed by the next restore.
"""

import contextlib
import shutil
import time
from pathlib import Path

import psycopg

from sonde_collector.db import programs
from sonde_collector.db.embedded import Embedded, make_database
from sonde_collector.db.errors import BackupError
from sonde_collector.db.migrate import migrate, migrations
from sonde_collector.db.pool import connect
from sonde_collector.db.queries import query
from sonde_collector.keeping import dump, folder
from sonde_collector.keeping.dump import Tell
from sonde_collector.keeping.manifest import Manifest, differences, unfit

_BESIDE = "sonde_restoring"
_GOING_S = 3.0  # sessions of a collector that was just ended go within so long
_STATEMENT_S = (
    30.0  # what a restore that was killed had begun (making or dropping a database) ends within so long
)


def examine(source: Path, tell: Tell) -> Manifest:
    """The manifest of a backup that is whole and that this program can restore.

    Raises:
        BackupError: it is not; the message says why.
    """
    manifest = folder.read(source)
    if why := unfit(manifest, {each.name: each.sha256 for each in migrations()}, programs.MAJOR):
        raise BackupError(f"{source} can't be restored by this program: {why}")
    folder.verify(source, manifest.files, tell)
    return manifest


def restore(server: Embedded, source: Path, manifest: Manifest, tell: Tell, *, replace: bool) -> list[str]:
    """Makes the database what the backup holds; gives the migrations applied to it on the way.

    Args:
        server: running.
        source: from `examine`.
        manifest: of it.
        tell: hears how far it is.
        replace: a database that holds something may be given up for it.

    Raises:
        BackupError: it was not restored, and nothing has changed.
    """
    with connect(server.url_of("postgres"), autocommit=True) as admin:
        _be_alone(admin)
        _check_room(server, admin, manifest)
        _check_use(admin)
        _check_content(server, source, replace=replace)
        try:
            for name in ("keeping_drop_restoring", "keeping_drop_before"):
                admin.execute(query(name))
            make_database(admin, _BESIDE)
            applied = _fill(server, source, manifest, tell)
            _check_use(admin)
            try:
                with admin.transaction():
                    admin.execute(query("keeping_put_aside"))
                    admin.execute(query("keeping_put_in_place"))
            except psycopg.errors.ObjectInUse:
                _check_use(admin)
                raise
            admin.execute(query("keeping_drop_before"))
        finally:
            with contextlib.suppress(psycopg.Error):  # the next restore removes what stays
                admin.execute(query("keeping_drop_restoring"))
    return applied


def _be_alone(admin: psycopg.Connection) -> None:
    deadline = time.monotonic() + _STATEMENT_S
    while not _value(admin, "keeping_one_restore"):
        if time.monotonic() > deadline:
            raise BackupError("another restore is under way")
        time.sleep(0.2)


def _fill(server: Embedded, source: Path, manifest: Manifest, tell: Tell) -> list[str]:
    url = server.url_of(_BESIDE)
    dump.make_roles(server.url_of("postgres"), source / dump.ROLES)
    dump.restore(url, source / dump.DUMP, len(manifest.rows), tell)
    with connect(url, autocommit=True) as conn:
        tell("rows counted", 0, 1)
        if wrong := differences(manifest.rows, dict(conn.execute(query("keeping_exact_rows")).fetchall())):
            raise BackupError(f"what was restored is not what was backed up: {'; '.join(wrong[:5])}")
        tell("rows counted", 1, 1)
        applied = migrate(conn)
        told = (manifest.made_at, str(source.absolute()), manifest.bytes)
        conn.execute(query("keeping_after_restore"), told)
        conn.execute(query("keeping_analyze"))
    return applied


def _check_room(server: Embedded, admin: psycopg.Connection, manifest: Manifest) -> None:
    free = shutil.disk_usage(server.data).free
    if free < manifest.database_bytes and not admin.execute(query("keeping_leftovers")).fetchall():
        raise BackupError(
            f"the restored database takes about {manifest.database_bytes} bytes beside the one in use, and "
            f"only {free} are free where {server.data} is: make room first"
        )


def _check_use(admin: psycopg.Connection) -> None:
    deadline = time.monotonic() + _GOING_S
    while users := [row[0] for row in admin.execute(query("keeping_users"))]:
        if time.monotonic() > deadline:
            raise BackupError(
                f"the database is in use by {', '.join(users)}: stop the collector and all other clients"
            )
        time.sleep(0.1)


def _check_content(server: Embedded, source: Path, *, replace: bool) -> None:
    with connect(server.url, autocommit=True) as conn:
        if replace or not _value(conn, "keeping_has_schema"):
            return
        row = conn.execute(query("keeping_holds")).fetchone()
        assert row is not None
    raise BackupError(
        f"the database in use is not empty (id {row[1]}, streams of agents: {row[0]}), and a restore gives "
        f"it up: say `sonde-collector restore {source} --yes` if that is meant"
    )


def _value(conn: psycopg.Connection, name: str) -> bool:
    row = conn.execute(query(name)).fetchone()
    assert row is not None
    return bool(row[0])
