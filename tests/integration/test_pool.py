"""A database that Sonde can't use is refused with one message that says what to do."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from support.postgres import Server, free_port

from sonde_collector.db import errors
from sonde_collector.db.pool import open_database

pytest_plugins = ["support.pgbouncer"]
pytestmark = pytest.mark.postgres


def _refusal(url: str) -> errors.DatabaseError:
    with pytest.raises(errors.DatabaseError) as caught, open_database(url, Path("/nonexistent")):
        pass
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_good_one_opens(database_url: str) -> None:
    """A migrated database opens; its pool and its connections answer."""
    with open_database(database_url, Path("/nonexistent")) as database:
        with database.pool.connection() as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)
        with database.connect() as conn:
            assert conn.execute("SELECT count(*) FROM performance_logs").fetchone() == (0,)


def test_embedded_opens(tmp_path: Path) -> None:
    """embedded: starts a server, and asks for `migrate` as any new database does."""
    with open_database("embedded:", tmp_path, check_schema=False) as database, database.connect() as conn:
        assert conn.execute("SHOW server_version_num").fetchone() >= ("180000",)
    with (
        pytest.raises(errors.SchemaMissing, match="sonde-collector migrate"),
        open_database("embedded:", tmp_path),
    ):
        pass


def test_nothing_there() -> None:
    """A port that nobody listens on is named, with what to check."""
    port = free_port()
    refusal = _refusal(f"postgresql://postgres@127.0.0.1:{port}/x")
    assert isinstance(refusal, errors.Unreachable)
    assert f"127.0.0.1:{port}" in str(refusal)
    assert "check that it runs" in str(refusal)


def test_no_url() -> None:
    """What is neither embedded: nor a URL is refused with an example."""
    assert "postgresql://USER@HOST" in str(_refusal("mysql//x"))


def test_no_such_database(postgres_server: Server) -> None:
    """A database that does not exist is named."""
    refusal = _refusal(postgres_server.url("nowhere"))
    assert isinstance(refusal, errors.AccessDenied)
    assert '"nowhere"' in str(refusal)


def test_wrong_password(postgres_server: Server, database_url: str) -> None:
    """A wrong password is told as such, and does not appear in the message."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("CREATE ROLE with_password LOGIN PASSWORD 'right'")
    try:
        url = database_url.replace("postgres@", "with_password:verywrong@")
        refusal = _refusal(url)
        assert isinstance(refusal, errors.AccessDenied)
        assert "password authentication failed" in str(refusal)
        assert "verywrong" not in str(refusal)
    finally:
        with psycopg.connect(postgres_server.url(), autocommit=True) as conn:
            conn.execute("DROP ROLE with_password")


def test_time_zone(database_url: str) -> None:
    """A database in another time zone is refused with the statement that mends it, which then does."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        name = sql.Identifier(conn.info.dbname)
        conn.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Europe/Berlin'").format(name))
    message = str(_refusal(database_url))
    assert "Europe/Berlin" in message
    statement = message[message.index("ALTER DATABASE") : message.index(";") + 1]
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(statement)  # type: ignore[call-overload]
    with open_database(database_url, Path("/nonexistent")):
        pass


def test_schema_missing(empty_database_url: str) -> None:
    """An empty database asks for `migrate`."""
    assert isinstance(_refusal(empty_database_url), errors.SchemaMissing)


def test_schema_older(database_url: str) -> None:
    """A database that lacks the newest migration asks for `migrate`."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("DELETE FROM sonde.migrations WHERE name = (SELECT max(name) FROM sonde.migrations)")
    refusal = _refusal(database_url)
    assert isinstance(refusal, errors.SchemaTooOld)
    assert "sonde-collector migrate" in str(refusal)


def test_schema_newer(database_url: str) -> None:
    """A database that a newer program migrated is refused and left alone."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("INSERT INTO sonde.migrations VALUES ('9999_from_the_future', 'x')")
    refusal = _refusal(database_url)
    assert isinstance(refusal, errors.SchemaTooNew)
    assert "9999_from_the_future" in str(refusal)
    assert "upgrade" in str(refusal)


def test_pgbouncer(pgbouncer: int, database_url: str) -> None:
    """A URL through PgBouncer, in either pool mode, is refused with the reason; so is its console."""
    name = database_url.rpartition("/")[2]
    for database in (name, "pgbouncer"):
        refusal = _refusal(f"postgresql://postgres@127.0.0.1:{pgbouncer}/{database}")
        assert isinstance(refusal, errors.Unsuitable)
        assert "pooler" in str(refusal)
