"""Columns → binary COPY → PostgreSQL → the same values."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.ingest import connection

from sonde_collector.db.copy import Cells, Texts, Type, encode, send

pytestmark = pytest.mark.postgres

_TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=30)
KINDS: dict[Type, tuple[str, Any, Any]] = {
    Type.BOOLEAN: ("boolean", st.booleans(), np.uint8),
    Type.SMALLINT: ("smallint", st.integers(-(2**15), 2**15 - 1), np.int16),
    Type.INT: ("int", st.integers(-(2**31), 2**31 - 1), np.int32),
    Type.BIGINT: ("bigint", st.integers(-(2**63), 2**63 - 1), np.int64),
    Type.REAL: ("real", st.floats(width=32, allow_nan=False), np.float32),
    Type.TIMESTAMPTZ: ("bigint", st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999), np.int64),
    Type.NUMERIC_2: ("numeric(7,2)", st.integers(0, 9_999_999), np.int32),
    Type.TEXT: ("text", st.one_of(_TEXT, _TEXT.map(lambda text: text * 100)), np.int32),
}


@pytest.fixture(scope="module")
def conn(postgres_server: Any) -> Iterator[psycopg.Connection]:
    """One database for all examples."""
    with connection(postgres_server.url()) as conn:
        columns = ", ".join(
            f"c{number} {'timestamptz' if kind is Type.TIMESTAMPTZ else KINDS[kind][0]}"
            for number, kind in enumerate(KINDS)
        )
        conn.execute(f"CREATE TEMPORARY TABLE copied (n serial, {columns})")
        yield conn


def cells(kind: Type, values: list[Any]) -> Cells:
    """Values, None for NULL, as the writer would give them."""
    dtype = KINDS[kind][2]
    if kind is Type.TEXT:
        words = sorted({value for value in values if value is not None})
        codes = [-1 if value is None else words.index(value) for value in values]
        return Cells(kind, np.array(codes, dtype), texts=Texts(words))
    filled = np.array([0 if value is None else value for value in values], dtype)
    return Cells(kind, filled, np.array([value is None for value in values]))


ROW = st.tuples(*(st.none() | strategy for _, strategy, _ in KINDS.values()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROW, max_size=30))
def test_what_is_copied_is_selected(conn: psycopg.Connection, rows: list[tuple[Any, ...]]) -> None:
    """Any values of any type, with NULLs anywhere, come back as they went in."""
    columns = [cells(kind, [row[number] for row in rows]) for number, kind in enumerate(KINDS)]
    with conn.transaction(force_rollback=True):
        send(conn, "copied", [f"c{number}" for number in range(len(KINDS))], encode(columns, len(rows)))
        exactly = {Type.TIMESTAMPTZ: "(extract(epoch FROM c{}) * 1000000)::bigint", Type.REAL: "c{}::float8"}
        names = [exactly.get(kind, "c{}").format(number) for number, kind in enumerate(KINDS)]
        found = conn.execute(f"SELECT {', '.join(names)} FROM copied ORDER BY n").fetchall()
    number = list(KINDS).index(Type.NUMERIC_2)
    assert found == [
        tuple(
            Decimal(value).scaleb(-2) if at == number and value is not None else value
            for at, value in enumerate(row)
        )
        for row in rows
    ]


def test_many_rows_with_one_long_text(conn: psycopg.Connection) -> None:
    """A text of 60 KB among thousands of rows widens only its own piece, and all come back."""
    words = ["short", "y" * 60_000]
    codes = np.zeros(5000, np.int32)
    codes[1234] = 1
    with conn.transaction(force_rollback=True):
        columns = [
            Cells(Type.INT, np.arange(5000, dtype=np.int32)),
            Cells(Type.TEXT, codes, texts=Texts(words)),
        ]
        send(conn, "copied", ["c2", "c7"], encode(columns, 5000))
        found = conn.execute("SELECT c2, length(c7) FROM copied ORDER BY c2").fetchall()
    assert found == [(row, 60_000 if row == 1234 else 5) for row in range(5000)]


def test_rows_of_common_and_rare_patterns_of_nulls(conn: psycopg.Connection) -> None:
    """Thousands of rows, some NULL here and some there, each come back with their own values."""
    count = 4000
    number = np.arange(count, dtype=np.int32)
    words = [str(value) * (value % 3) for value in range(10)]
    dice = np.random.default_rng(1)
    common, rare = number % 3 == 0, dice.random((2, count)) < 0.01
    codes = np.where(common | rare[1], -1, number % 10).astype(np.int32)
    with conn.transaction(force_rollback=True):
        columns = [
            Cells(Type.INT, number),
            Cells(Type.REAL, number.astype(np.float32), common | rare[0]),
            Cells(Type.TEXT, codes, texts=Texts(words)),
        ]
        send(conn, "copied", ["c2", "c4", "c7"], encode(columns, count))
        found = conn.execute("SELECT c2, c4, c7 FROM copied ORDER BY c2").fetchall()
    assert found == [
        (at, None if common[at] or rare[0][at] else at, None if codes[at] < 0 else words[codes[at]])
        for at in range(count)
    ]
