"""`sonde-collector ranking` and `trend`, started as a user starts them."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support.builders import inventory
from support.measured import measure, roll

pytestmark = pytest.mark.postgres
NOW = dt.datetime.now(dt.UTC)
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Cli:
    """Commands on a database with two servers, of which one was measured over three days."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=["ams1", "nyc1"], servers=["s1", "s2"])
        measure(
            conn,
            [
                {
                    "server_id": 1,
                    "probe_id": 1 + day % 2,
                    "measured_at": NOW - dt.timedelta(days=day, minutes=5),
                    "stream_id": 1,
                    "seq": day,
                    "ping_ms": 10.0 + day,
                    "download_mbps": 100.0 * (day + 1),
                    "connection_success": True,
                    "protocol_id": 1,
                }
                for day in range(3)
            ],
        )
        roll(conn)
    config = tmp_path / "collector.toml"
    config.write_text(f'state_dir = "state"\n[database]\nurl = "{database_url}"\n')

    def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "sonde_collector.cli", command, "--config", str(config), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done

    return run


def test_ranking(cli: Cli) -> None:
    """A table for people and rows for programs say the same: few samples promise little uptime."""
    done = cli("ranking", "NL", "--provider", "example", "--days", "7")
    assert done.returncode == 0, done.stderr
    title, head, *lines = done.stdout.splitlines()
    assert title == "Servers by the last 7 days"
    assert head.split()[:2] == ["server", "provider"]
    (line,) = lines
    assert line.split()[:2] == ["s1", "example"]
    assert "100.00  43.8 to 100.0" in line
    (row,) = json.loads(cli("ranking", "--json", "--vantage", "nyc1").stdout)
    assert (row["server"], row["avg_download_mbps"], row["sample_count"]) == ("s1", 200, 1)
    (row,) = json.loads(cli("ranking", "--json").stdout)
    assert (row["median_download_mbps"], row["connection_ok"]) == (200, 3)
    assert cli("ranking", "--after-all").returncode == 2


def test_trend(cli: Cli) -> None:
    """Days of a server, or hours, and which tier answered."""
    done = cli("trend", "s1")
    assert done.returncode == 0, done.stderr
    title, head, *lines = done.stdout.splitlines()
    assert title == "s1 by the day (UTC)"
    assert head.split()[0] == "day"
    assert len(lines) == 3
    assert lines[-1].startswith((NOW - dt.timedelta(minutes=5)).strftime("%Y-%m-%d"))
    told = json.loads(
        cli("trend", "s1", "--days", "1", "--step", "hour", "--vantage", "ams1", "--json").stdout
    )
    assert (told["tier"], told["step"], len(told["buckets"])) == ("hourly", "hour", 1)
    assert json.loads(cli("trend", "s2", "--json").stdout)["buckets"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ranking", "XX"), 'there is no country "XX"'),
        (("ranking", "--protocol", "Fax"), 'there is no protocol "Fax"'),
        (("ranking", "--vantage", "mars"), 'there is no vantage "mars"'),
        (("ranking", "--days", "0"), "days must be 1 to 3660, not 0"),
        (("ranking", "--limit", "-1"), "limit must be 1 to 1000, not -1"),
        (("trend", "nobody"), 'there is no server "nobody"'),
        (("trend", "s1", "--days", "99999999999"), "days must be 1 to 3660"),
        (("trend", "s1", "--days", "60", "--step", "minute"), "that is more than 5000 buckets"),
        (("trend", "s1", "--days", "400", "--step", "month", "--vantage", "x"), 'there is no vantage "x"'),
    ],
)
def test_what_cannot_be_answered(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    """A name that is not there or a number out of range is told in one line, with exit code 2."""
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
