"""`query` and `archive` as an operator types them: what they answer, and what they refuse."""

import json
import random
import subprocess
from pathlib import Path

import psycopg
import pytest
from support.fleet import collector_toml
from support.old_rows import asking, days_ago, fill, furnish, roll_up, states
from support.programs import Program, eventually, free_port, run

from sonde_collector.archive import engine, tiers
from sonde_collector.db.pool import Database

pytestmark = pytest.mark.postgres
JAIL = (
    ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
    ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
    ("SELECT * FROM read_parquet('/tmp/x')", "disabled by configuration"),
    ("SELECT * FROM glob('/*')", "disabled by configuration"),
    ("FROM '/etc/passwd'", "does not exist"),
    ("FROM found", "does not exist"),
    ("COPY servers TO '/tmp/x'", "only reads"),
    ("COPY (SELECT 1) TO '/tmp/x'", "only reads"),
    ("INSERT INTO servers VALUES (1)", "only reads"),
    ("CREATE TABLE x (y INT)", "only reads"),
    ("DROP VIEW servers", "only reads"),
    ("SET memory_limit = '10GB'", "only reads"),
    ("ATTACH '/tmp/x' AS x", "only reads"),
    ("INSTALL httpfs", "only reads"),
    ("SELECT 1; SELECT 2", "2 statements"),
    ("", "0 statements"),
    ("SELECT nothing FROM servers", "nothing"),
    ("SELEC", "syntax error"),
)


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Path:
    """A database with an old day and a new one, and its collector.toml."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        furnish(conn)
        for day in (80, 1):
            fill(conn, days_ago(day), 50, random.Random(day))
        roll_up(conn)
    path = tmp_path / "collector.toml"
    path.write_text(collector_toml(database_url, free_port()) + '[retention]\nraw = "40d"\n')
    return path


def command(config: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Runs one."""
    return run("sonde-collector", *argv, "--config", str(config))


def test_an_operator_archives_looks_verifies_and_restores(config: Path, database_url: str) -> None:
    """Each command says what it did, for people and for programs, and its exit code whether all is well."""
    assert "nothing has left the database yet" in command(config, "archive").stdout
    done = command(config, "archive", "run", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["done"]) == 7
    assert command(config, "archive", "run").stdout == "nothing is due\n"
    listed = json.loads(command(config, "archive", "ls", "--json").stdout)
    assert {each["state"] for each in listed} == {"archived"}
    (logs,) = [each for each in listed if each["table"] == "public.performance_logs"]
    assert logs["rows"] == 50
    counted = command(config, "query", "SELECT count(*) AS n FROM performance_logs", "--json")
    assert json.loads(counted.stdout) == {"n": 100}, counted.stderr
    good = command(config, "archive", "verify")
    assert good.returncode == 0
    assert good.stdout.count("as they left") == 7
    path = config.parent / "state" / "archive" / logs["file"]
    path.write_bytes(path.read_bytes()[:-1])
    bad = command(config, "archive", "verify", logs["name"])
    assert bad.returncode == 1
    assert f"{logs['name']}: BAD" in bad.stdout
    (other,) = [each["name"] for each in listed if each["table"] == "public.streaming_checks"]
    assert "20 rows are back" in command(config, "archive", "restore", other).stdout
    with psycopg.connect(database_url) as conn:
        assert states(conn)[other] == "restored"
    for argv, said in (
        (("restore", "nothing"), "is no partition that left"),
        (("restore", other), f"{other} is restored, not archived"),
        (("restore", logs["name"]), logs["file"]),
        (("run", logs["name"]), "is archived, not restored"),
    ):
        refused = command(config, "archive", *argv)
        assert refused.returncode == 1
        assert refused.stderr.startswith("sonde-collector: ")
        assert said in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_a_collector_archives_by_itself(config: Path, database_url: str) -> None:
    """Nobody has to run anything; a collector that is told to stop does, whatever it is at."""
    collector = Program("sonde-collector", "serve", "--config", str(config), log=config.parent / "log")
    collector.start()
    with psycopg.connect(database_url, autocommit=True) as conn:
        try:
            eventually(lambda: list(states(conn).values()) == ["archived"] * 7, 90, collector.tail)
        finally:
            code = collector.stop(60)
        assert code == 0, collector.tail()
        assert conn.execute("SELECT count(*) FROM performance_logs").fetchone() == (50,)
    assert "Traceback" not in collector.tail(100_000)


def test_rows_are_written_as_sql_writes_them(config: Path) -> None:
    """A script can't tell `query` from `sql` by what it prints."""
    text = "SELECT hostname, is_active, NULL AS none, ip_address FROM servers ORDER BY id"
    assert (
        command(config, "query", text, "--header").stdout == command(config, "sql", text, "--header").stdout
    )
    text = (
        "SELECT measured_at, ping_ms, download_mbps, failure FROM performance_logs ORDER BY measured_at, seq"
    )
    assert command(config, "query", text).stdout == command(config, "sql", text).stdout


def test_a_query_sees_nothing_but_the_database(config: Path, database_url: str) -> None:
    """No file, no setting, no write; one clear line for each."""
    assert config.exists()
    with asking(database_url, None) as ask:
        for statement, said in JAIL:
            with pytest.raises(engine.EngineError, match=said) as caught:
                ask(statement)
            assert "\n" not in str(caught.value), statement


def test_a_query_ends_at_its_time_and_its_memory(config: Path, database_url: str) -> None:
    """A query that would run for ever, or take everything, is ended with a word on what to do."""
    assert config.exists()
    endless = "SELECT count(*) FROM range(100000000000) a, range(100) b WHERE a.range % 7 = b.range % 5"
    huge = "SELECT list(a.range::text || b.range) FROM range(1000000) a, range(1000) b"
    database = Database(database_url)
    with tiers.snapshot(database, None, 60) as found:
        with pytest.raises(engine.EngineError, match=r"ended after 0\.5 s: --timeout allows longer"):
            list(engine.run(found, endless, memory="256MB", timeout_s=0.5))
        with pytest.raises(engine.EngineError, match="Out of Memory"):
            list(engine.run(found, huge, memory="64MB", timeout_s=60))
    database.close()


def test_bad_usage_is_told(config: Path) -> None:
    """A size that is none is bad usage."""
    refused = command(config, "query", "SELECT 1", "--memory", "lots")
    assert refused.returncode == 2
    assert 'must be a size such as "512MB"' in refused.stderr


@pytest.mark.parametrize(("step", "days"), [("hour", 90), ("minute", 2)])
def test_a_trend_of_what_was_archived_is_that_of_before(
    config: Path, database_url: str, step: str, days: int
) -> None:
    """Hours and minutes give the same buckets, whether their rows are in tables, in files or in both."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("UPDATE sonde.vantages SET weight = probe_id + 0.5")
    until = days_ago(0 if step == "hour" else 79).isoformat()
    asked = ("trend", "s1", "--until", until, "--days", str(days), "--step", step, "--json")
    text = config.read_text()
    config.write_text(text.replace('raw = "40d"', 'raw = "200d"'))
    before = json.loads(command(config, *asked).stdout)["buckets"]
    config.write_text(text.replace('raw = "40d"', 'raw = "1d"\nhourly = "2d"'))
    assert command(config, "archive", "run").returncode == 0
    after = command(config, *asked)
    assert after.returncode == 0, after.stderr
    found = json.loads(after.stdout)["buckets"]
    assert len(before) > 10
    for one, other in zip(found, before, strict=True):
        assert one.pop("at") == other.pop("at")
        measured = {name: value for name, value in other.items() if value is not None}
        assert {name: value for name, value in one.items() if value is not None} == pytest.approx(
            measured, rel=1e-6
        )


def test_a_trend_of_files_that_are_gone_says_so(config: Path) -> None:
    """In one line; nothing is answered in their place."""
    config.write_text(config.read_text().replace('raw = "40d"', 'raw = "1d"\nhourly = "2d"'))
    assert command(config, "archive", "run").returncode == 0
    for file in (config.parent / "state" / "archive").rglob("*.parquet"):
        file.unlink()
    gone = command(config, "trend", "s1", "--days", "90", "--step", "hour")
    assert (gone.returncode, gone.stdout) == (2, "")
    assert gone.stderr.startswith("sonde-collector: the archive can't be read: ")
    assert gone.stderr.count("\n") == 1
