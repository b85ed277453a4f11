"""Migrations apply once, in order, whoever starts them, and edited or newer ones are refused."""

import threading

import psycopg
import pytest

from sonde_collector.db import errors
from sonde_collector.db.migrate import check, migrate, migrations, pending

pytestmark = pytest.mark.postgres


def test_an_empty_database_gets_everything(empty_database_url: str) -> None:
    """All files are applied in order and recorded; a second call applies none."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        names = [each.name for each in migrations()]
        assert [each.name for each in pending(conn)] == names
        assert migrate(conn) == names
        assert migrate(conn) == []
        assert pending(conn) == []
        check(conn)
        recorded = conn.execute("SELECT name, sha256 FROM sonde.migrations ORDER BY name").fetchall()
        assert recorded == [(each.name, each.sha256) for each in migrations()]


def test_another_time_zone(empty_database_url: str) -> None:
    """A database that is not in UTC is refused before anything is made, with the statement that mends it."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {conn.info.dbname} SET timezone = 'Europe/Berlin'".encode())
        for act in (migrate, check):
            with pytest.raises(errors.Unsuitable, match=r"Europe/Berlin.*ALTER DATABASE"):
                act(conn)
        assert conn.execute("SELECT to_regnamespace('sonde')").fetchone() == (None,)


def test_two_collectors_at_once(empty_database_url: str) -> None:
    """Of several that migrate at the same time each file is applied by one, and none fails."""
    applied: list[str] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            with psycopg.connect(empty_database_url, autocommit=True) as conn:
                applied.extend(migrate(conn))
        except Exception as error:  # noqa: BLE001 (shown by the assertion)
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(applied) == [each.name for each in migrations()]


def test_a_failing_file_leaves_nothing(empty_database_url: str) -> None:
    """A migration that fails in its middle changes nothing, and the next call can go on."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute("CREATE TABLE idx_perf_time_range (stands_in_the_way int)")
        conn.execute("CREATE SCHEMA sonde")
        with pytest.raises(psycopg.Error):
            migrate(conn)
        assert conn.execute("SELECT to_regclass('countries')").fetchone() == (None,)
        conn.execute("DROP SCHEMA sonde; DROP TABLE idx_perf_time_range")
        migrate(conn)


def test_a_changed_file_is_refused(database_url: str) -> None:
    """A file whose text is not what was applied is named."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("UPDATE sonde.migrations SET sha256 = 'other' WHERE name = '0001_base'")
        for act in (migrate, check):
            with pytest.raises(errors.MigrationChanged, match="0001_base"):
                act(conn)


def test_a_newer_schema_is_refused(database_url: str) -> None:
    """A database that holds a migration unknown here is left alone."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("INSERT INTO sonde.migrations VALUES ('9999_later', 'x')")
        with pytest.raises(errors.SchemaTooNew, match="9999_later"):
            migrate(conn)


def test_somebody_elses_table_is_not_taken(empty_database_url: str) -> None:
    """A table of ours by name that we did not make stops `migrate` before it changes anything."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute("CREATE TABLE countries (n int)")
        for act in (migrate, check):
            with pytest.raises(errors.SeedSchemaFound, match="countries"):
                act(conn)
        assert conn.execute("SELECT to_regnamespace('sonde')").fetchone() == (None,)
