"""sonde.archives: how far each partition has come on its way out, and where it is now."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal

import psycopg
from attrs import frozen
from psycopg import sql
from psycopg.rows import class_row

from sonde_collector.archive.expiry import Partition
from sonde_collector.db.queries import query

State = Literal["leaving", "detached", "written", "archived", "deleted", "restored"]
ON_THE_WAY = ("leaving", "detached", "written")
HAS_FILE = ("written", "archived", "restored")


@frozen
class Record:
    """One row of sonde.archives: see the comments of its columns."""

    name: str
    parent: str
    lo: dt.datetime
    hi: dt.datetime
    state: State
    file: str | None
    rows: int | None
    first_at: dt.datetime | None
    last_at: dt.datetime | None
    bytes: int | None
    hot_bytes: int | None
    sha256: str | None
    digest: str | None
    schema: str | None
    archived_at: dt.datetime | None

    @property
    def child(self) -> tuple[str, str]:
        """Schema and name of its table."""
        return self.parent.partition(".")[0], self.name


def records(conn: psycopg.Connection) -> list[Record]:
    """All of them, by table and time."""
    with conn.cursor(row_factory=class_row(Record)) as cursor:
        return cursor.execute(query("archive_records")).fetchall()


def partitions(conn: psycopg.Connection) -> list[Partition]:
    """Every attached partition with two ends."""
    return [Partition(*row) for row in conn.execute(query("archive_partitions"))]


def run(conn: psycopg.Connection, name: str, /, **values: Any) -> psycopg.Cursor[Any]:
    """Runs the query of that name with these values."""
    return conn.execute(query(name), values)


def shaped(name: str, /, **parts: sql.Composable) -> sql.Composed:
    """The query of that name with tables and columns put into it."""
    return sql.SQL(query(name)).format(**parts)


def table(name: str | tuple[str, str]) -> sql.Identifier:
    """A table as it stands in a statement."""
    return sql.Identifier(*(name.split(".") if isinstance(name, str) else name))


def quoted(name: tuple[str, str]) -> str:
    """A table's name as ::regclass reads it, whatever is in it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name)


def described(record: Record) -> Mapping[str, Any]:
    """A record for programs and for the manifest."""
    return {
        "name": record.name,
        "table": record.parent,
        "from": record.lo,
        "until": record.hi,
        "state": record.state,
        "file": record.file,
        "rows": record.rows,
        "first_at": record.first_at,
        "last_at": record.last_at,
        "bytes": record.bytes,
        "hot_bytes": record.hot_bytes,
        "sha256": record.sha256,
        "digest": record.digest,
        "schema": record.schema,
        "archived_at": record.archived_at,
    }
