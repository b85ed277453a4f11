"""What is wrong comes as one message that says what to do: every program started as a user starts it."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.books import events
from support.fleet import collector_toml
from support.postgres import Server
from support.programs import BIN, Program, eventually, free_port, run

from sonde_agent.control.cache import AssignmentCache
from sonde_agent.spool import SpoolError, history
from sonde_proto.v1 import control_pb2, results_pb2

GOLDEN = Path(__file__).parents[1] / "golden/config"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
_SHELL = 'ip link set lo up; sysctl -qw net.ipv4.ping_group_range="{}"; exec "$@"'
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def _clean(done: "subprocess.CompletedProcess[str]") -> "subprocess.CompletedProcess[str]":
    assert "Traceback" not in done.stdout + done.stderr
    assert "mistake of ours" not in done.stderr
    assert "defect of ours" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("sonde-agent", "run"), "agent-invalid-five-mistakes"),
        (("sonde-collector", "serve"), "collector-invalid-five-mistakes"),
        (("sonde-collector", "apply"), "fleet-invalid-references"),
    ],
)
def test_every_mistake_of_a_file_is_told_at_once(command: tuple[str, ...], name: str, tmp_path: Path) -> None:
    """Five mistakes and more in a file: exit code 2, and a line for each with its path in the file."""
    file = GOLDEN / f"{name}.toml"
    if command[-1] == "apply":
        config = tmp_path / "collector.toml"
        config.write_text(collector_toml("postgresql://postgres@127.0.0.1:1/x", free_port()))
        done = _clean(run(*command, str(file), "--config", str(config)))
    else:
        done = _clean(run(*command, "--config", str(file)))
    assert done.returncode == 2
    wanted = file.with_suffix(".txt").read_text().splitlines()
    told = done.stderr.splitlines()
    assert len(told) == len(wanted) >= 5
    for line in wanted:
        assert any(line in each for each in told), line


@pytest.fixture
def elsewhere(postgres_server: Server) -> Iterator[str]:
    """Name of a migrated database that a test may spoil."""
    name = f"bad_{secrets.token_hex(4)}"
    postgres_server.create(name, "sonde_template")
    yield name
    postgres_server.drop(name)
    with psycopg.connect(postgres_server.url(), autocommit=True) as conn:
        conn.execute("DROP ROLE IF EXISTS with_password")


@pytest.mark.postgres
@pytest.mark.parametrize("command", ["serve", "status"])
@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("newer", "newer"),
        ("time zone", "SET timezone"),
        ("unreachable", "does not answer"),
        ("no such database", "does not exist"),
        ("password", "refuses user"),
    ],
)
def test_a_database_that_can_not_be_used(  # noqa: PLR0917 -- two parameters and three fixtures
    postgres_server: Server, elsewhere: str, tmp_path: Path, command: str, case: str, said: str
) -> None:
    """Each ends with 1 and one line that says why and what to do; the password is not in it."""
    url = postgres_server.url(elsewhere)
    with psycopg.connect(url, autocommit=True) as conn:
        if case == "newer":
            conn.execute(
                "INSERT INTO sonde.migrations SELECT (jsonb_populate_record(m, jsonb_build_object("
                "'name', '9999_later'))).* FROM sonde.migrations m LIMIT 1"
            )
        elif case == "time zone":
            conn.execute(f"ALTER DATABASE {elsewhere} SET timezone = 'Europe/Amsterdam'")
        elif case == "password":
            conn.execute("CREATE ROLE with_password LOGIN PASSWORD 'right'")
    if case == "unreachable":
        url = f"postgresql://postgres@127.0.0.1:{free_port()}/x"
    elif case == "no such database":
        url = postgres_server.url("nowhere")
    elif case == "password":
        url = url.replace("postgres@", "with_password:wr0ng@")
    config = tmp_path / "collector.toml"
    config.write_text(collector_toml(url, free_port()))
    done = _clean(run("sonde-collector", command, "--config", str(config)))
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert said in line
    assert "wr0ng" not in line


@as_root
@pytest.mark.root
def test_a_state_directory_that_can_not_be_written(tmp_path: Path) -> None:
    """Run by a user who may not write there, both programs say which directory it is, in one line."""
    home = _open_to_all(tmp_path)
    (home / "state").mkdir(mode=0o755)
    config = home / "agent.toml"
    config.write_text(f'collector = "127.0.0.1:7443"\nvantage = "v"\nstate_dir = "{home / "state"}"\n')
    done = _clean(run(*NOBODY, str(BIN / "sonde-agent"), "run", "--config", str(config)))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "state_dir" in line
    assert str(home / "state") in line
    config = home / "collector.toml"
    config.write_text(collector_toml("embedded:", free_port()))
    done = _clean(run(*NOBODY, str(BIN / "sonde-collector"), "serve", "--config", str(config)))
    assert done.returncode in {1, 2}
    (line,) = done.stderr.splitlines()
    assert str(home / "state") in line


def _open_to_all(folder: Path) -> Path:
    """A folder below /tmp that every user may enter, unlike pytest's own."""
    home = Path("/tmp") / f"sonde-test-{secrets.token_hex(6)}"
    home.mkdir(mode=0o755)
    (folder / "home").symlink_to(home)
    return home


@pytest.fixture(autouse=True)
def _tidy(tmp_path: Path) -> Iterator[None]:
    yield
    link = tmp_path / "home"
    if link.is_symlink():
        shutil.rmtree(link.readlink())


@as_root
@pytest.mark.root
def test_ping_without_the_capability_says_how_to_get_it(tmp_path: Path) -> None:
    """A user who may send no echo: by hand and as a service he is told once, with the cure."""
    home = _open_to_all(tmp_path)
    closed = ("unshare", "--net", "--", "sh", "-c", _SHELL.format("1 0"), "sh", *NOBODY)
    done = _clean(run(*closed, str(BIN / "sonde-agent"), "check", "ping", "127.0.0.1", "--count", "2"))
    assert done.returncode == 1
    assert done.stderr.count("ping_group_range") + done.stdout.count("ping_group_range") == 1

    config = home / "agent.toml"
    config.write_text(
        f'collector = "127.0.0.1:{free_port()}"\nvantage = "v"\nstate_dir = "{home / "state"}"\n'
        'metrics = ""\n[policy]\nallow = ["127.0.0.0/8"]\n'
    )
    (home / "state").mkdir()
    assignment = control_pb2.Assignment(revision=1, database_id=b"d" * 16)
    for number in range(5):
        task = assignment.tasks.add(key=f"t{number}", target=f"s{number}", interval_ms=1000, timeout_ms=900)
        task.ping.CopyFrom(
            control_pb2.PingSpec(host="127.0.0.1", count=1, spacing_ms=10, wait_ms=100, payload_bytes=16)
        )
    AssignmentCache(home / "state" / "assignment").store(assignment)
    for path in (home / "state", *(home / "state").iterdir()):
        os.chown(path, 65534, 65534)
    agent = Program(*closed, str(BIN / "sonde-agent"), "run", "--config", str(config), log=home / "log")
    agent.start()
    try:
        kept = eventually(lambda: _ten_kept(home / "state" / "spool.sqlite"), 30, agent.tail)
        assert {one.failure for one in kept} == {results_pb2.FAILURE_UNSUPPORTED}
        (told,) = events(agent, "check_impossible")
        assert "ping_group_range" in told["reason"]
        assert agent.stop(within_s=15) == 0
        assert "Traceback" not in agent.tail(100_000)
    finally:
        agent.kill()


def _ten_kept(spool: Path) -> list[results_pb2.Performance]:
    with contextlib.suppress(SpoolError):  # it is being made
        kept = [one.result.performance for one in history.kept(spool) if one.result.HasField("performance")]
        return kept if len(kept) >= 10 else []
    return []


@pytest.mark.parametrize("user", ["ours", pytest.param("nobody", marks=[as_root, pytest.mark.root])])
def test_the_doctor_answers_every_user(user: str) -> None:
    """`doctor --json` is JSON for whoever asks, and each thing that lacks has its cure."""
    prefix = NOBODY if user == "nobody" else ()
    done = _clean(run(*prefix, str(BIN / "sonde-agent"), "doctor", "--json"))
    assert done.returncode == 1, "there is no configuration here"
    findings = json.loads(done.stdout)
    assert len(findings) > 5
    assert all(finding["mend"] for finding in findings if finding["state"] == "lacking")


@as_root
@pytest.mark.root
def test_an_ordinary_user_measures_by_hand() -> None:
    """`check tcp` and a host's open ICMP need no privilege: an ordinary user gets a report."""
    opened = ("unshare", "--net", "--", "sh", "-c", _SHELL.format("0 2147483647"), "sh", *NOBODY)
    done = _clean(
        run(*opened, str(BIN / "sonde-agent"), "check", "ping", "127.0.0.1", "--count", "3", "--json")
    )
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


@pytest.mark.postgres
@pytest.mark.parametrize("taken", ["grpc", "http"])
def test_a_port_in_use_names_the_address(
    elsewhere: str, postgres_server: Server, tmp_path: Path, taken: str
) -> None:
    """A collector whose port another program has ends with 1 and one error that names key and address."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        config = tmp_path / "collector.toml"
        text = collector_toml(postgres_server.url(elsewhere), port if taken == "grpc" else free_port())
        if taken == "http":
            head, _, _ = text.rpartition("listen = ")
            text = f'{head}listen = "127.0.0.1:{port}"\n'
        config.write_text(text)
        done = _clean(run("sonde-collector", "serve", "--config", str(config)))
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("sonde-collector: ")]
    assert len(lines) == 1, done.stderr
    assert f'{taken}.listen: can\'t listen on "127.0.0.1:{port}"' in lines[0]
