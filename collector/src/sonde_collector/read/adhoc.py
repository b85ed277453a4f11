"""One query of an operator's, read only: it can't write, run for ever, or be two statements."""

from collections.abc import Generator, Sequence
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from sonde_collector.db.queries import query

_CHUNK = 500  # rows fetched at a time: bounds memory whatever the answer's size
# What PostgreSQL's own COPY writes, so that it also reads it.
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})
NULL = r"\N"


class QueryError(Exception):
    """The query can't be run; the text is one line that says why, and where in it."""


def run(
    conn: psycopg.Connection, statement: str, *, timeout_s: float, native: bool = False
) -> tuple[list[str], Generator[Sequence[Any], None, None]]:
    """Give column names and rows of `statement`, each value as PostgreSQL writes it, None for NULL.

    The rows must be read or closed before `conn` is used for anything else.

    Args:
        conn: outside any transaction; not in autocommit.
        statement: what the operator typed.
        timeout_s: the server ends it after this. [s]
        native: give Python values instead of PostgreSQL's text, for objects: every column needs its own name.

    Raises:
        QueryError: it is wrong, writes, takes too long or gives no rows; also while rows are read.
    """
    try:
        conn.read_only = True
        conn.execute(query("adhoc_timeout"), (f"{round(timeout_s * 1000)}ms",))
        if _may_drop_rights(conn):
            conn.execute(query("adhoc_read_only_role"))
        columns = _columns(conn, statement)
    except psycopg.Error as error:
        raise QueryError(explain(error, statement)) from None
    if native and (twice := [name for name in columns if columns.count(name) > 1]):
        raise QueryError(f'two columns are named "{twice[0]}", and an object holds one: name them with AS')
    return columns, _rows(conn, statement, native=native)


def line(values: Sequence[str | None]) -> str:
    r"""Give one output line: tab-separated, NULL as \N, escaped as COPY's text format. **Pure**."""
    return "\t".join(NULL if value is None else value.translate(_ESCAPES) for value in values)


def explain(error: psycopg.Error, statement: str) -> str:
    """Give an error in one line, with the place in the statement. **Pure**."""
    diag = error.diag
    text = diag.message_primary or str(error).splitlines()[0]
    position = diag.statement_position
    if position is not None and position.isdigit():
        before = statement[: int(position) - 1]
        row, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        text = f"line {row}, column {column}: {text}" if "\n" in statement else f"column {column}: {text}"
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        text += "; `sonde-collector sql` only reads"
    if isinstance(error, psycopg.errors.QueryCanceled):
        text += "; --timeout allows longer"
    if diag.message_hint:
        text += f" ({' '.join(diag.message_hint.split())})"
    return " ".join(text.split())


def _may_drop_rights(conn: psycopg.Connection) -> bool:
    row = conn.execute(query("adhoc_may_drop_rights")).fetchone()
    return bool(row and row[0])


def _columns(conn: psycopg.Connection, statement: str) -> list[str]:
    """Let the server parse it and say what it gives. To be prepared, it must be one statement."""
    pgconn = conn.pgconn
    encoded = statement.encode(conn.info.encoding)
    answer = pgconn.prepare(b"", encoded)
    if answer.status == psycopg.pq.ExecStatus.COMMAND_OK:
        answer = pgconn.describe_prepared(b"")
    if answer.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(answer, conn.info.encoding)
    if not answer.nfields:
        raise QueryError(
            "this statement gives no rows; `sonde-collector sql` runs one SELECT, and only reads"
        )
    return [(answer.fname(i) or b"").decode(conn.info.encoding) for i in range(answer.nfields)]


def _rows(conn: psycopg.Connection, statement: str, *, native: bool) -> Generator[Sequence[Any], None, None]:
    with conn.cursor() as cursor:
        if not native:
            for info in psycopg.adapters.types:
                for oid in (info.oid, info.array_oid):
                    cursor.adapters.register_loader(oid, TextLoader)
        try:
            yield from cursor.stream(statement.encode(conn.info.encoding), size=_CHUNK)
        except psycopg.Error as error:
            raise QueryError(explain(error, statement)) from None
