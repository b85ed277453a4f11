"""Every query of the PostgreSQL dashboard, as Grafana sends it, by the role that it should have."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from support.grafana import FOLDER, Board, board, expand_sql, targets
from support.ingest import connection
from support.measured_world import SERVERS, TARGETS, VANTAGES, fill
from support.postgres import Server

pytestmark = [pytest.mark.postgres, pytest.mark.xdist_group("dashboard")]
BOARD = board("postgresql")
QUERIES = [pytest.param(panel, target, id=panel["title"]) for panel, target in targets(BOARD)]
VARIABLES = BOARD["templating"]["list"][1:]
UNTIL = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)  # this is read long before all tests have run
SINCE = UNTIL - dt.timedelta(days=2)
CHOSEN = {
    "country": ["NL"], "provider": ["example"], "vantage": list(VANTAGES), "server": list(SERVERS),
    "target": list(TARGETS),
}  # fmt: skip
FAR = UNTIL + dt.timedelta(days=1000)  # what asks for "since then" has no end
MOST_ROWS = 2000
_NUMBERS = {"int2", "int4", "int8", "float4", "float8", "numeric"}
_PLACE = """
SELECT x.relname, r.lo <= %(until)s AND r.hi >= %(since)s FROM sonde.partition_ranges r
JOIN pg_class x ON x.oid = r.child WHERE NOT r.is_default
"""


@pytest.fixture(scope="module")
def url(postgres_server: Server) -> Iterator[str]:
    """A filled database, as the reading role."""
    owner = postgres_server.create("dashboard", "sonde_template")
    try:
        with connection(owner) as conn:
            fill(conn)
            for _ in range(2):  # it may be run again
                conn.execute((FOLDER / "grafana" / "reader.sql").read_bytes())
        yield postgres_server.url("dashboard", "sonde_grafana")
    finally:
        postgres_server.drop("dashboard")
        with connection(postgres_server.url()) as conn:
            conn.execute("DROP ROLE IF EXISTS sonde_grafana")


@pytest.fixture
def reader(url: str) -> Iterator[psycopg.Connection]:
    """A connection of that role."""
    with connection(url) as conn:
        yield conn


def expanded(text: str, panel: Board | None = None, **chosen: list[str]) -> str:
    """What Grafana sends for two days; an interval is no shorter than the panel says."""
    interval = (panel or {}).get("interval", "5m")
    values = {**CHOSEN, **chosen}
    return expand_sql(
        text, since=f"{SINCE:%FT%TZ}", until=f"{UNTIL:%FT%TZ}", interval=interval, values=values
    )


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: str(variable["name"]))
def test_a_variable_lists_what_there_is(reader: psycopg.Connection, variable: Board) -> None:
    """One column, and what was measured is among it."""
    rows = reader.execute(expanded(variable["query"]).encode()).fetchall()
    assert [row[0] for row in rows] == sorted(CHOSEN[variable["name"]])


@pytest.mark.parametrize(("panel", "target"), QUERIES)
def test_a_panel_gets_what_it_shows(reader: psycopg.Connection, panel: Board, target: Board) -> None:
    """Rows, not too many; a time series has `time`, `metric` and a number, in the order of time."""
    cursor = reader.execute(expanded(target["rawSql"], panel).encode())
    rows = cursor.fetchall()
    assert 0 < len(rows) <= MOST_ROWS
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    kinds = [
        info.name if (info := reader.adapters.types.get(c.type_code)) else "" for c in cursor.description
    ]
    if target["format"] == "time_series":
        assert names == ["time", "metric", "value"]
        assert kinds[0] in {"numeric", "float8", "timestamptz"}
        assert kinds[1] in {"text", "varchar", "bpchar"}
        assert kinds[2] in _NUMBERS
        times = [row[0] for row in rows]
        assert times == sorted(times)
        assert any(row[2] is not None for row in rows)
    else:
        assert len(set(names)) == len(names)
        shown = {
            field for change in panel["fieldConfig"]["overrides"] for field in [change["matcher"]["options"]]
        }
        assert shown <= set(names), "an override names a column that is not there"
        for change in panel.get("transformations", []):
            assert set(change["options"].values()) - {"null", "empty"} <= set(names)


@pytest.mark.parametrize(("panel", "target"), QUERIES)
def test_only_partitions_of_the_chosen_time_are_read(
    reader: psycopg.Connection, url: str, panel: Board, target: Board
) -> None:
    """PostgreSQL's plan names no partition of another time."""
    plan = reader.execute(b"EXPLAIN (FORMAT JSON) " + expanded(target["rawSql"], panel).encode()).fetchone()
    assert plan is not None
    read = set(_relations(json.loads(json.dumps(plan[0]))))
    with connection(url.replace("sonde_grafana", "postgres")) as conn:
        fits: dict[str, bool] = dict(
            conn.execute(_PLACE, {"since": UNTIL - dt.timedelta(days=15), "until": FAR})
        )
        strictly: dict[str, bool] = dict(conn.execute(_PLACE, {"since": SINCE, "until": UNTIL}))
    chosen = strictly if "$__timeFilter" in target["rawSql"] else fits
    assert {name for name in read if not chosen.get(name, True)} == set()
    assert not all(chosen.values()), "there are no partitions to leave out"


def _relations(plan: Any) -> Iterator[str]:
    if isinstance(plan, dict):
        if "Relation Name" in plan:
            yield plan["Relation Name"]
        plan = list(plan.values())
    if isinstance(plan, list):
        for part in plan:
            yield from _relations(part)


@pytest.mark.parametrize(("panel", "target"), QUERIES)
def test_a_name_can_be_anything(reader: psycopg.Connection, panel: Board, target: Board) -> None:
    """Quotes and backslashes in what is chosen stay what they are: nothing is found, and nothing breaks."""
    odd = ["o'brien", "'); DROP TABLE servers; --", "a\\'b", "\N{PILE OF POO}"]
    names = dict.fromkeys(CHOSEN, odd)
    reader.execute(expanded(target["rawSql"], panel, **names).encode()).fetchall()


def test_the_role_writes_nothing_and_reads_no_secret(url: str) -> None:
    """Not by any statement, also where it lifts its own default; keys and tokens it does not see."""
    with connection(url) as conn:
        assert conn.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
        conn.execute("SET default_transaction_read_only = off")
        tables = conn.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN ('public', 'sonde') AND c.relkind IN ('r', 'p')"
        ).fetchall()
        assert len(tables) > 50
        for name in tables:
            for statement in ("DELETE FROM {}", "TRUNCATE {}", "ALTER TABLE {} ADD x int", "DROP TABLE {}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(sql.SQL(statement).format(sql.Identifier(*name)))
        for create in (
            "CREATE TABLE x (a int)",
            "CREATE TABLE sonde.x (a int)",
            "CREATE SCHEMA x",
            "CREATE ROLE x",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(create)
        for secret in (
            "sonde.api_keys",
            "sonde.enrolment_tokens",
            "sonde.certificates",
            "sonde.notify_channels",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(f"SELECT FROM {secret}".encode())
