"""`migrate --adopt`: a live database that holds the seed's tables becomes Sonde's, rows and ids kept.

All in one transaction: a database is either as it was or adopted, never between. Its price is that the big
tables are locked for as long as they are rewritten, which is estimated and printed before anything happens.
"""

import time
from collections.abc import Callable

import psycopg
from attrs import frozen
from psycopg import sql

from sonde_collector.db import migrate
from sonde_collector.db.errors import DatabaseError, SchemaMissing
from sonde_collector.db.queries import query

# Rows a second on two slow cores, of 5 M rows: one rewrite with its three indexes; one reading pass with
# percentiles.
_REWRITTEN_PER_S = 150_000
_READ_PER_S = 400_000
# A lock that is not had within this would make all later statements queue behind us.
_LOCK_TIMEOUT = "3s"
_TRIES = 20
_PAUSE_S = 1.0


@frozen
class Step:
    """One change.

    Attributes:
        statement: what is executed, or a word for a group of statements.
        why: for people.
        lock: on what, and which.
        seconds: how long that lock is estimated to last for this step.
    """

    statement: str
    why: str
    lock: str
    seconds: float


def plan(conn: psycopg.Connection) -> list[Step]:
    """What `adopt` would do, in order, with estimates from the row counts. Reads only.

    Raises:
        DatabaseError: it can't be adopted; the message lists every reason.
    """
    _check(conn)
    row = conn.execute(query("adopt_counts")).fetchone()
    assert row is not None
    logs, checks, hours = row
    exclusive = "ACCESS EXCLUSIVE on {}: nobody reads or writes it"
    steps = [
        Step(
            query("adopt_lock"),
            "the whole change stands on one moment's rows",
            exclusive.format("all three"),
            0,
        ),
        Step(
            query("adopt_views"), "views over kept tables replace them, under their names", "already held", 0
        ),
        Step(
            query("adopt_performance"),
            f"REAL keeps what SMALLINT cuts; the key tells replays from collisions; our columns ({logs} rows "
            "rewritten)",
            exclusive.format("performance_logs"),
            logs / _REWRITTEN_PER_S,
        ),
        Step(
            query("adopt_hourly"),
            f"counts and pings beyond SMALLINT ({hours} rows rewritten)",
            exclusive.format("performance_logs_hourly"),
            hours / _REWRITTEN_PER_S,
        ),
        Step(
            query("adopt_streaming"),
            f"becomes the first partition of a table by its name ({checks} rows rewritten)",
            exclusive.format("streaming_checks"),
            checks / _REWRITTEN_PER_S,
        ),
        *(
            Step(
                f"-- migration {each.name}",
                "everything of Sonde that lacks",
                "already held; new tables only",
                0.2,
            )
            for each in migrate.migrations()
        ),
        Step(
            query("adopt_attach"),
            "the existing checks are kept in place",
            "already held",
            checks / _READ_PER_S,
        ),
        Step(query("adopt_daily"), "mv_server_daily_stats from all rows", "already held", logs / _READ_PER_S),
        Step(
            query("adopt_latest"),
            "mv_server_latest_performance: last known values",
            "already held",
            logs / _READ_PER_S,
        ),
        Step(query("adopt_vantages"), "each probe location is a vantage", "already held", 0),
    ]
    if migrate.time_zone(conn) not in migrate.UTC_NAMES:
        steps.insert(0, Step(_utc(conn), "days and hours are UTC; for new sessions", "none", 0))
    return steps


def adopt(conn: psycopg.Connection, *, dry_run: bool, out: Callable[[str], object]) -> None:
    """Prints the plan, then carries it out unless `dry_run`.

    Args:
        conn: outside any transaction; its user owns the tables.
        dry_run: print only.
        out: takes one line, such as `print`.

    Raises:
        DatabaseError: it can't be adopted, or the locks were not to be had; nothing is changed then.
    """
    steps = plan(conn)
    for number, step in enumerate(steps, 1):
        out(f"{number}. {step.why}")
        out(f"   lock: {step.lock}, about {step.seconds:.1f} s")
        for line in step.statement.splitlines():
            out(f"     {line}")
    out(
        f"All in one transaction; the tables are locked for about {sum(step.seconds for step in steps):.0f} "
        "s."
    )
    if dry_run:
        out("Nothing was changed (--dry-run).")
        return
    for attempt in range(1, _TRIES + 1):
        started = time.monotonic()
        try:
            _carry_out(conn)
        except psycopg.errors.LockNotAvailable as error:
            if attempt == _TRIES:
                raise DatabaseError(
                    f"the tables could not be locked within {_LOCK_TIMEOUT}, {_TRIES} times: stop what "
                    "writes to them "
                    "(see pg_stat_activity) and run this again; nothing was changed"
                ) from error
            out(f"The tables are in use; trying again ({attempt} of {_TRIES}).")
            time.sleep(_PAUSE_S)
        except psycopg.Error as error:
            raise DatabaseError(f"adopting failed and nothing was changed: {error}") from error
        else:
            out(f"Adopted in {time.monotonic() - started:.1f} s.")
            return


def _carry_out(conn: psycopg.Connection) -> None:
    with conn.transaction():
        conn.execute(query("migrate_lock"))
        conn.execute("SET LOCAL timezone = 'UTC'")
        conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_TIMEOUT))
        grants = [row[0] for row in conn.execute(query("adopt_grants"))]
        if migrate.time_zone(conn) not in migrate.UTC_NAMES:
            conn.execute(_utc(conn).encode())
        for name in ("lock", "views", "performance", "hourly", "streaming"):
            conn.execute(query(f"adopt_{name}"))
        for each in migrate.migrations():
            migrate.apply(conn, each)
        for name in ("attach", "daily", "latest", "vantages"):
            conn.execute(query(f"adopt_{name}"))
        for grant in grants:
            conn.execute(grant.encode())


def _check(conn: psycopg.Connection) -> None:
    waiting = migrate.pending(conn)
    if len(waiting) < len(migrate.migrations()):
        raise DatabaseError(
            "the database is Sonde's already: there is nothing to adopt; run `sonde-collector migrate`"
        )
    if not migrate.foreign_tables(conn):
        raise SchemaMissing("the database holds none of the tables to adopt: run `sonde-collector migrate`")
    reasons = [row[0] for row in conn.execute(query("adopt_columns"))]
    reasons += [f"view {row[0]} depends on these tables: drop it, adopt, and create it again"
                for row in conn.execute(query("adopt_dependents"))]  # fmt: skip
    if reasons:
        raise DatabaseError("the database can't be adopted as it is: " + "; ".join(reasons))


def _utc(conn: psycopg.Connection) -> str:
    return (
        sql.SQL("ALTER DATABASE {} SET timezone = 'UTC'")
        .format(sql.Identifier(conn.info.dbname))
        .as_string(conn)
    )
