"""The database as the rest of the collector gets it: checked once, then connections and a pool."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import ConnectionPool

from sonde_collector.db import migrate
from sonde_collector.db.embedded import Embedded
from sonde_collector.db.errors import AccessDenied, DatabaseError, Unreachable, Unsuitable

EMBEDDED = "embedded:"
OLDEST = 15  # the first with GRANT SET ON PARAMETER and NULLS NOT DISTINCT
NAME = "sonde-collector"
"""What a session of ours is called in pg_stat_activity."""
SERVING = f"{NAME} serve "
"""How the names of a serving collector's sessions begin; which one it is comes after it."""
_CONNECT_TIMEOUT_S = 10
_LIVELY = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server that vanished without a word is noticed after half a minute, not after TCP's two hours."""
_POOL_MAX = 8
RECONNECT_S = 5.0
"""A pool's growing pauses between attempts add up to this, then the next request tries at once: with the
library's five minutes, a server that was away for long would be back for two before it is asked again."""
_DENIED = (
    "password authentication failed",
    "no password supplied",
    "does not exist",
    "pg_hba.conf",
    "permission denied for database",
    "is not permitted to log in",
)


class Database:
    """A checked database.

    Attributes:
        url: for any client; with the password, where the given one had it.
        name: of its sessions.
    """

    def __init__(self, url: str, name: str = NAME) -> None:
        self.url = url
        self.name = name

    def connect(self, **settings: Any) -> psycopg.Connection:
        """A connection of the caller's own.

        Raises:
            DatabaseError: it can't be had; see `connect`.
        """
        return connect(self.url, **({"application_name": self.name} | settings))

    async def listen(self) -> psycopg.AsyncConnection:
        """A connection to hear NOTIFY on.

        Raises:
            psycopg.Error: it can't be had.
        """
        settings: dict[str, Any] = {"application_name": self.name, **_LIVELY}
        return await psycopg.AsyncConnection.connect(self.url, autocommit=True, **settings)

    @functools.cached_property
    def pool(self) -> ConnectionPool:
        """Autocommit connections for short statements, made at first use."""
        return ConnectionPool(
            self.url,
            min_size=0,
            max_size=_POOL_MAX,
            kwargs={"autocommit": True, "application_name": self.name, **_LIVELY},
            check=ConnectionPool.check_connection,
            reconnect_timeout=RECONNECT_S,
            open=True,
            name="sonde",
        )

    def close(self) -> None:
        """Closes the pool."""
        if "pool" in self.__dict__:
            self.pool.close()


@contextlib.contextmanager
def open_database(
    url: str, state_dir: Path, *, check_schema: bool = True, name: str = NAME
) -> Iterator[Database]:
    """The database at that URL, proven fit to be used.

    Args:
        url: "embedded:" or "postgresql://…".
        state_dir: where the embedded one lives.
        check_schema: False for those who are about to make the schema; the time zone is not checked then.
        name: of its sessions.

    Raises:
        DatabaseError: a subclass says what is wrong; the message says what to do.
    """
    with contextlib.ExitStack() as stack:
        if url == EMBEDDED:
            url = stack.enter_context(Embedded(state_dir)).url
        with connect(url, autocommit=True) as conn:
            _check_server(conn)
            if check_schema:
                migrate.check(conn)
        database = Database(url, name)
        stack.callback(database.close)
        yield database


def connect(url: str, **settings: Any) -> psycopg.Connection:
    """A connection, or one message about why there is none.

    Raises:
        AccessDenied: the server refuses user, password or database.
        Unreachable: nothing answers, or not yet.
        DatabaseError: the URL can't be read.
    """
    options: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": NAME, **_LIVELY}
    try:
        where = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise DatabaseError(
            '[database] url is neither "embedded:" nor a PostgreSQL URL: write postgresql://USER@HOST:5432/DATABASE'
        ) from error
    place = f"{where.get('host', 'the local socket')}:{where.get('port', 5432)}"
    try:
        return psycopg.connect(url, **(options | settings))
    except psycopg.OperationalError as error:
        said = " ".join(str(error).split())
        if any(sign in said for sign in _DENIED):
            raise AccessDenied(
                f"PostgreSQL at {place} refuses user {where.get('user', '(default)')}: {said}; check user, "
                "password "
                "(in the URL, or a passfile= that it names) and pg_hba.conf"
            ) from error
        raise Unreachable(
            f"PostgreSQL at {place} does not answer: {said}; check that it runs and that [database] url is "
            "right"
        ) from error


def _check_server(conn: psycopg.Connection) -> None:
    """A server that is old or pooled is refused; PgBouncer's own console is no server.

    Every pooler gives clients a cancel key of its own, so the pid in it is not the backend's: true in its
    session mode as well as in its transaction mode, where advisory locks, SET and COPY's session would be
    shared with strangers.
    """
    pooled = Unsuitable(
        "[database] url leads to a connection pooler (such as PgBouncer), where one session is not one "
        "backend: "
        "advisory locks and session settings would be lost between transactions; give the URL of PostgreSQL "
        "itself"
    )
    try:
        row = conn.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    except psycopg.Error as error:
        raise pooled from error
    if row is None or row[0] != conn.info.backend_pid:
        raise pooled
    version = conn.info.server_version // 10_000
    if version < OLDEST:
        raise Unsuitable(
            f"the database is PostgreSQL {version}; Sonde needs {OLDEST} or newer: upgrade the server"
        )
