"""What `archive` and `query` do: they work while the collector runs and when it does not."""

import contextlib
from collections.abc import Iterator, Sequence

import psycopg

from sonde_collector.archive import file, restore
from sonde_collector.archive.ledger import HAS_FILE, Record, records
from sonde_collector.archive.steps import Tell, Turn
from sonde_collector.archive.storage import open_storage
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import Database, open_database
from sonde_collector.maintain import archiver


class Unknown(Exception):
    """A name that no partition in sonde.archives has, or not one that this can be done to."""


@contextlib.contextmanager
def connected(config: CollectorConfig) -> Iterator[tuple[Database, psycopg.Connection]]:
    """The database, and a connection to it in autocommit mode."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        yield database, conn


def picked(conn: psycopg.Connection, names: Sequence[str], states: Sequence[str]) -> list[Record]:
    """The records of these names, or of all that are in one of the states.

    Raises:
        Unknown: a name is none, or its partition is in no such state.
    """
    found = {record.name: record for record in records(conn)}
    for name in names:
        if name not in found:
            raise Unknown(f'"{name}" is no partition that left: `sonde-collector archive ls` lists them')
        if found[name].state not in states:
            raise Unknown(f"{name} is {found[name].state}, not {' or '.join(states)}")
    return [found[name] for name in names] or [each for each in found.values() if each.state in states]


def verify(config: CollectorConfig, conn: psycopg.Connection, record: Record) -> str | None:
    """What is wrong with a partition's file, read anew and whole; None where nothing is."""
    facts = {"rows": record.rows, "bytes": record.bytes, "sha256": record.sha256, "digest": record.digest}
    assert record.file is not None
    try:
        file.compare(open_storage(config), record.file, restore.columns_of(conn, record), facts)
    except file.Mismatch as error:
        return str(error)
    return None


def verifiable(conn: psycopg.Connection, names: Sequence[str]) -> list[Record]:
    """The partitions that have a file."""
    return picked(conn, names, HAS_FILE)


def bring_back(config: CollectorConfig, conn: psycopg.Connection, record: Record) -> int:
    """Restores one; gives its rows. See `restore.restore`."""
    return restore.restore(conn, open_storage(config), record)


def run(config: CollectorConfig, database: Database, again: Sequence[str], tell: Tell) -> Turn:
    """Does what is due now. See `steps.turn`."""
    return archiver.turn(config, database.url, again=again, tell=tell)
