"""What /readyz says of the database where collectors are upgraded one by one, or it became a standby."""

import psycopg
import pytest

from sonde_collector.config import Partitions
from sonde_collector.db.pool import Database
from sonde_collector.maintain.loop import ensure_partitions
from sonde_collector.read.probes import Readiness

pytestmark = pytest.mark.postgres


@pytest.fixture
def database(database_url: str) -> Database:
    """A database with its partitions."""
    database = Database(database_url)
    ensure_partitions(database, Partitions())
    return database


async def wrong(database: Database) -> dict[str, str]:
    """What is not well."""
    try:
        checks = await Readiness(database, lambda: None).checks()
    finally:
        database.close()
        del database.pool
    return {name: why for name, why in checks.items() if why}


async def test_a_schema_that_became_newer_serves_on(database: Database) -> None:
    """The first of several that is upgraded migrates; those that run on stay ready until it is their turn."""
    assert await wrong(database) == {}
    with psycopg.connect(database.url) as conn:
        conn.execute("INSERT INTO sonde.migrations (name, sha256) VALUES ('9999_later', 'x')")
    assert await wrong(database) == {}
    with psycopg.connect(database.url) as conn:
        conn.execute("DELETE FROM sonde.migrations WHERE name > '0019'")
    assert "migrations wait: " in (await wrong(database))["schema"]


async def test_a_standby_is_not_ready(database: Database) -> None:
    """A server that takes no writes is told, as it can't commit what agents send."""
    with psycopg.connect(database.url, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "it is read only" in (await wrong(database))["database"]
