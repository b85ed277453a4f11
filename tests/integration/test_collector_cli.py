"""sonde-collector's commands, started as a user starts them."""

import json
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

pytestmark = pytest.mark.postgres

COMMANDS = (
    "serve",
    "migrate",
    "apply",
    "agents",
    "status",
    "top",
    "sql",
    "capacity",
    "backup",
    "restore",
    "ranking",
    "trend",
    "api-key",
    "notify",
    "silence",
)
FLEET = (Path(__file__).parents[2] / "collector/fleet.template.toml").read_text()


class Cli:
    """Commands on one database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.config = folder / "collector.toml"
        self.config.write_text(f'state_dir = "state"\n[database]\nurl = "{url}"\n')
        self.folder = folder

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return run(arguments[0], "--config", str(self.config), *arguments[1:])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command; it never shows a traceback."""
    command = [sys.executable, "-m", "sonde_collector.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Cli:
    """Give commands on a fresh database."""
    return Cli(database_url, tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str) -> None:
    """--help shows how a command is used."""
    done = run(command, "--help")
    assert done.returncode == 0
    assert "examples:\n  sonde-collector " + command in done.stdout


def test_sql_writes_what_copy_reads(cli: Cli) -> None:
    r"""Rows are tab-separated, NULL is \N, special characters are escaped; a header comes when asked for."""
    done = cli("sql", "--header", r"SELECT 1 AS a, NULL AS b, E'x\ty\\z\n' AS c, '{1,2}'::int[] AS d")
    assert done.stdout == "a\tb\tc\td\n1\t\\N\tx\\ty\\\\z\\n\t{1,2}\n"
    assert cli("sql", "SELECT 1 AS a").stdout == "1\n"
    empty = cli("sql", "--header", "SELECT id, slug FROM providers")
    assert (empty.returncode, empty.stdout) == (0, "id\tslug\n")
    assert json.loads(cli("sql", "--json", "SELECT 1 AS a, NULL AS b, 1.5 AS c").stdout) == {
        "a": 1,
        "b": None,
        "c": 1.5,
    }


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT nope", 'column 8: column "nope" does not exist'),
        ("SELECT 1;\nSELEC 2", 'line 2, column 1: syntax error at or near "SELEC"'),
        ("SELECT 1; DROP TABLE servers", "cannot insert multiple commands"),
        ("DELETE FROM servers RETURNING id", "cannot execute DELETE in a read-only transaction"),
        ("DROP TABLE servers", "this statement gives no rows"),
        ("COPY (SELECT 1) TO PROGRAM 'true'", "this statement gives no rows"),
        ("SELECT pg_read_file('/etc/passwd')", "permission denied for function pg_read_file"),
        ("SELECT setval('servers_id_seq', 9)", "permission denied"),
        ("SELECT pg_sleep(9)", "statement timeout; --timeout allows longer"),
        ("", "this statement gives no rows"),
    ],
)
def test_sql_reads_only_and_errors_are_one_line(cli: Cli, statement: str, said: str) -> None:
    """What is wrong, writes, or takes too long ends with exit code 1 and one line that says why."""
    done = cli("sql", "--timeout", "0.5", statement)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_sql_survives_a_reader_that_leaves(cli: Cli) -> None:
    """`… | head -1` ends without a word on standard error."""
    command = [sys.executable, "-m", "sonde_collector.cli", "sql", "SELECT generate_series(1, 300000)"]
    with subprocess.Popen(
        [*command, "--config", str(cli.config)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"1\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0


def test_dsn_is_what_clients_take(cli: Cli) -> None:
    """Psql and others connect with what `sql --dsn` prints."""
    url = cli("sql", "--dsn").stdout.strip()
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT count(*) FROM sonde.database").fetchone() == (1,)


def test_apply_shows_the_difference_then_writes_it_once(cli: Cli) -> None:
    """A dry run shows changes and cost and writes nothing; a second apply finds nothing to do."""
    (cli.folder / "fleet.toml").write_text(FLEET)
    fleet = str(cli.folder / "fleet.toml")
    dry = cli("apply", fleet, "--dry-run")
    assert "+ server acme-nl-1: provider acme" in dry.stdout
    assert "packets/day" in dry.stdout
    assert cli("sql", "SELECT count(*) FROM servers").stdout == "0\n"
    assert cli("apply", fleet).returncode == 0
    again = json.loads(cli("apply", "--json", fleet).stdout)
    assert (again["changes"], again["reassigned"]) == ([], [])
    (cli.folder / "fleet.toml").write_text(FLEET.replace('every = "60s"', 'every = "90s"'))
    assert "~ plan ping: every 60 → 90" in cli("apply", fleet).stdout


def test_apply_refuses_a_file_with_mistakes(cli: Cli) -> None:
    """All mistakes stand on standard error, one a line, and the exit code is 2."""
    fleet = Path(__file__).parents[1] / "golden/config/fleet-invalid-references.toml"
    done = cli("apply", str(fleet))
    assert done.returncode == 2
    assert done.stderr.count("\n") == len(fleet.with_suffix(".txt").read_text().splitlines())


@pytest.mark.parametrize("command", ["agents", "status", "top"])
def test_overviews_work_on_an_empty_database(cli: Cli, command: str) -> None:
    """People get text, programs get JSON."""
    assert cli(command).returncode == 0
    json.loads(cli(command, "--json").stdout)


def test_a_database_without_schema_is_not_changed_by_serve(empty_database_url: str, tmp_path: Path) -> None:
    """`serve` refuses, names the command that makes the schema, and why it does not do so itself."""
    cli = Cli(empty_database_url, tmp_path)
    done = cli("serve")
    assert done.returncode == 1
    assert "run `sonde-collector migrate` (a shared database changes when its operator says so" in done.stderr
    assert "would apply 0001_base" in cli("migrate", "--dry-run").stdout
    assert "applied 0001_base" in cli("migrate").stdout
    assert cli("migrate").stdout == "the schema is up to date\n"


def test_config_may_stand_before_the_command(cli: Cli) -> None:
    """--config is found on either side of the command."""
    done = run("--config", str(cli.config), "sql", "SELECT 1 AS one")
    assert done.stdout == "1\n"


def test_a_database_that_is_away_is_one_message(tmp_path: Path) -> None:
    """Nothing answers: one line says where, exit code 1."""
    done = Cli("postgresql://postgres@127.0.0.1:1/x", tmp_path)("status")
    assert done.returncode == 1
    assert "127.0.0.1:1 does not answer" in done.stderr
