"""`sonde-collector credentials`, `agents` and `status` on a real database."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support.builders import inventory
from support.fleet import collector_toml
from support.leases import account
from support.programs import free_port, run

pytestmark = pytest.mark.postgres

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(database_url: str, tmp_path: Path) -> Command:
    """Runs `sonde-collector` on the database."""
    config = tmp_path / "collector.toml"
    config.write_text(collector_toml(database_url, free_port()))

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return run("sonde-collector", "--config", str(config), *words)

    return call


def test_a_refused_account_is_shown_and_resumed(database_url: str, command: Command) -> None:
    """It stands in the list, in `agents` and in `status` until it is resumed; each name is answered."""
    done = command("credentials")
    assert (done.returncode, done.stdout) == (
        0,
        "no account yet: add [[provider.account]] to the fleet file and run `sonde-collector apply`\n",
    )
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn)
        account(conn, "acme", sessions=5)
        account(conn, "other", logins_per_minute=3)
        conn.execute("INSERT INTO sonde.auth_failures VALUES ('acme', 's1', now())")
        conn.execute("UPDATE sonde.accounts SET state = 'refused' WHERE credential = 'acme'")
    listed = command("credentials").stdout.splitlines()
    assert listed[0].split()[:3] == ["credential", "provider", "state"]
    assert [line.split()[:3] for line in listed[1:]] == [
        ["acme", "example", "refused"],
        ["other", "example", "ok"],
    ]
    first, _ = json.loads(command("credentials", "--json").stdout)
    assert (first["state"], first["turned_away_by"], first["in_use"]) == ("refused", ["s1"], 0)
    assert "credentials     acme refused for" in command("status").stdout
    assert json.loads(command("status", "--json").stdout)["refused_credentials"][0]["credential"] == "acme"
    assert 'credential "acme" is refused on s1: its runs wait' in command("agents").stdout

    done = command("credentials", "resume", "acme", "other", "nobody")
    assert done.returncode == 1
    assert done.stdout == "acme is tried again\nother was not refused\n"
    assert done.stderr.startswith('sonde-collector: "nobody" is no credential of the fleet')
    assert "credentials     none refused" in command("status").stdout
    with psycopg.connect(database_url) as conn:
        kinds = conn.execute("SELECT kind FROM sonde.events ORDER BY id").fetchall()
        assert kinds == [("credential_refused",), ("credential_resumed",)]


def test_its_help_has_examples(command: Command) -> None:
    """`--help` shows how it is used; an unknown word is bad usage."""
    assert "sonde-collector credentials resume acme" in command("credentials", "--help").stdout
    assert "examples:" in command("credentials", "resume", "--help").stdout
    assert command("credentials", "forget", "acme").returncode == 2
