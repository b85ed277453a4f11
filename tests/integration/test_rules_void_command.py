"""`rules void`, `unvoid` and `voided` as an operator types them, on a real database."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support.builders import inventory
from support.fleet import collector_toml
from support.programs import BIN, free_port, run
from support.unlocks import Check, insert, platforms

from sonde_collector.db import partitions

pytestmark = pytest.mark.postgres

Command = Callable[..., subprocess.CompletedProcess[str]]
VOID = ("rules", "void", "netflix", "1", "--reason", "its page says so everywhere")
UNLOCKED = "SELECT count(*) FROM streaming_checks WHERE is_unlocked"


@pytest.fixture
def command(database_url: str, tmp_path: Path) -> Command:
    """Runs `sonde-collector` on a database with checks of two versions of a rule."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=("ams1", "lon1"), servers=("s1", "s2"))
        platforms(conn)
        partitions.keep_ahead(conn, every="day", ahead=1)
        insert(conn, [Check(), Check(server=2), Check(version="2")])
    config = tmp_path / "collector.toml"
    config.write_text(collector_toml(database_url, free_port()))

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return run("sonde-collector", "--config", str(config), *words)

    return call


def unlocked(database_url: str) -> int:
    """Return how many checks say unlocked."""
    with psycopg.connect(database_url) as conn:
        row = conn.execute(UNLOCKED.encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_a_version_is_taken_back_listed_and_let_count_again(database_url: str, command: Command) -> None:
    """Voiding says how many checks it changes, the list says why, unvoiding brings them back."""
    assert command("rules", "voided").stdout == "no version of a rule is void\n"
    done = command(*VOID, "--yes")
    assert (done.returncode, done.stdout) == (0, "netflix 1 is void: 2 check(s) said unlocked until now\n")
    assert unlocked(database_url) == 1
    (row,) = json.loads(command("rules", "voided", "--json").stdout)
    assert (row["platform"], row["version"], row["reason"]) == ("netflix", "1", VOID[-1])
    assert VOID[-1] in command("rules", "voided").stdout
    done = command("rules", "unvoid", "netflix", "1", "--json")
    assert json.loads(done.stdout) == {"platform": "netflix", "version": "1", "changed": 2}
    assert unlocked(database_url) == 3


def test_nothing_is_voided_where_nobody_can_be_asked(database_url: str, command: Command) -> None:
    """Without a terminal and without --yes it is refused, and nothing changes."""
    done = command(*VOID)
    assert (done.returncode, done.stderr) == (2, "sonde-collector: nobody can be asked here: say --yes\n")
    assert unlocked(database_url) == 3


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize(("answer", "left"), [("y", 1), ("n", 3), ("", 3)])
def test_a_person_is_asked_first(answer: str, left: int, database_url: str, tmp_path: Path) -> None:
    """On a terminal nothing happens without a yes."""
    person, terminal = os.openpty()
    os.write(person, f"{answer}\n".encode())
    done = subprocess.run(
        [BIN / "sonde-collector", "--config", tmp_path / "collector.toml", *VOID],
        stdin=terminal, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    os.close(terminal)
    os.close(person)
    assert "Void netflix 1?" in done.stderr
    assert done.returncode == (0 if left == 1 else 2)
    assert unlocked(database_url) == left


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("void", "no-such", "1", "--reason", "x", "--yes"), 1, 'there is no platform "no-such"'),
        (("unvoid", "no-such", "1"), 1, 'there is no platform "no-such"'),
        (("void", "netflix", "1", "--reason", "  ", "--yes"), 2, "--reason must be 1 to 500"),
        (("void", "netflix", "1", "--yes"), 2, "--reason"),
    ],
)
def test_what_cannot_be_voided_is_one_line(
    words: tuple[str, ...], code: int, said: str, command: Command
) -> None:
    """An unknown platform and a missing reason are told as what they are."""
    done = command("rules", *words)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
