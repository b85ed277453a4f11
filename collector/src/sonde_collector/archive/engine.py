"""DuckDB over all tiers: one read-only query sees tables and files as one, and nothing else of this host."""

import contextlib
import threading
from collections.abc import Generator, Sequence
from typing import Any

import duckdb
import numpy as np
from psycopg import sql

from sonde_collector.archive.ledger import shaped
from sonde_collector.archive.tiers import Relation, Snapshot, Tiered
from sonde_collector.db.queries import query

_CHUNK = 500  # rows fetched at a time: bounds memory whatever the answer's size
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
    "threads": "2",
    "preserve_insertion_order": "false",
}
_READS = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class EngineError(Exception):
    """The query can't be run; the text is one line that says why."""


def run(
    of: Snapshot, statement: str, *, memory: str, timeout_s: float
) -> Generator[Sequence[Any], None, None]:
    """Gives the names of the columns, then the rows.

    Args:
        of: what is read.
        statement: one SELECT, as DuckDB writes it.
        memory: most that DuckDB takes, such as "1GB".
        timeout_s: it is ended after this. [s]

    Raises:
        EngineError: it is wrong, does not read, takes too long or too much; also while rows are read.
    """
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        try:
            conn = duckdb.connect(":memory:", config=_CONFIG | {"memory_limit": memory})
        except duckdb.Error as error:
            raise EngineError(f"--memory {memory}: {_said(error)}") from None
        stack.callback(conn.close)

        def end() -> None:
            over.set()
            conn.interrupt()

        timer = threading.Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        stack.callback(timer.cancel)
        try:
            _furnish(conn, of)
            _check(conn, statement)
            conn.execute(statement)
            described = conn.description or []
            yield [column[0] for column in described]
            single = [str(column[1]) == "FLOAT" for column in described]
            while found := conn.fetchmany(_CHUNK):
                for row in found:
                    yield [_value(value, is_single) for value, is_single in zip(row, single, strict=True)]
        except (duckdb.Error, RuntimeError) as error:
            if over.is_set():
                raise EngineError(
                    f"ended after {timeout_s:g} s: --timeout allows longer, a condition on time reads less"
                ) from None
            raise EngineError(_said(error)) from None


def _furnish(conn: duckdb.DuckDBPyConnection, of: Snapshot) -> None:
    for number, relation in enumerate(of.relations):
        source = f"source_{number}"
        conn.register(source, Tiered(relation, of))
        for schema in _schemas(relation):
            parts = {"schema": sql.Identifier(schema), "name": sql.Identifier(relation.name)}
            conn.execute(shaped("engine_schema", schema=parts["schema"]).as_string())
            conn.execute(shaped("engine_view", **parts, source=sql.Identifier(source)).as_string())
    conn.execute(query("engine_lock"))


def _schemas(relation: Relation) -> tuple[str, ...]:
    """Tables of public are found without their schema too."""
    return ("main", "public") if relation.schema == "public" else (relation.schema,)


def _check(conn: duckdb.DuckDBPyConnection, statement: str) -> None:
    found = conn.extract_statements(statement)
    if len(found) != 1:
        raise EngineError(f"this is {len(found)} statements; `sonde-collector query` runs one SELECT")
    if found[0].type not in _READS:
        raise EngineError("this is no SELECT; `sonde-collector query` only reads")


def _value(value: Any, is_single: bool) -> Any:  # noqa: FBT001  # a property of the column
    """A REAL as the shortest number that means it, as PostgreSQL writes it; anything else as it is."""
    if is_single and value is not None:
        return float(str(np.float32(value)))
    return value


def _said(error: Exception) -> str:
    """DuckDB's first line: the rest repeats the statement."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[0].split()) if lines else type(error).__name__
