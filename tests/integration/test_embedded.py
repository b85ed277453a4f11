"""The embedded PostgreSQL survives what happens to processes and paths, and two of ours share it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sonde_collector.db import programs
from sonde_collector.db.embedded import Embedded
from sonde_collector.db.errors import EmbeddedError

pytestmark = pytest.mark.postgres

HOLD = """
import sys
from pathlib import Path
from sonde_collector.db.embedded import Embedded
with Embedded(Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory below a closed one; whatever runs on it is ended."""
    tmp_path.chmod(0o700)
    path = tmp_path / "state"
    yield path
    server = Embedded(path)
    pid = server._pid()
    if pid is not None:
        os.kill(pid, signal.SIGQUIT)
        _gone(pid)


def _holder(state: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def _ask(server: Embedded, statement: str) -> object:
    with psycopg.connect(server.url, autocommit=True) as conn:
        row = conn.execute(statement).fetchone()
        assert row is not None
        return row[0]


def _gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while Path("/proc", str(pid), "cmdline").exists() and Path("/proc", str(pid), "cmdline").read_bytes():
        assert time.monotonic() < deadline, f"{pid} lives on"
        time.sleep(0.02)


def _pid(server: Embedded) -> int:
    pid = server._pid()
    assert pid is not None
    return pid


def test_restart_keeps_the_data(state: Path) -> None:
    """What was written is there after a stop and a start; in between nothing runs and no TCP port is open."""
    with Embedded(state) as server:
        with psycopg.connect(server.url) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS n")
        assert _ask(server, "SHOW listen_addresses") == ""
        assert _ask(server, "SHOW timezone") == "UTC"
        assert _ask(server, "SHOW fsync") == "on"
        pid = _pid(server)
    _gone(pid)
    with Embedded(state) as server:
        assert _ask(server, "SELECT n FROM kept") == 7
        assert (state / "postgres").stat().st_mode & 0o777 == 0o700


def test_two_share_one_server(state: Path) -> None:
    """A second process joins the running server and leaves it running; the last to leave stops it."""
    holder = _holder(state)
    with Embedded(state) as server:
        pid = _pid(server)
    assert _pid(server) == pid
    with Embedded(state) as server:
        holder.communicate("", timeout=30)
        assert _ask(server, "SELECT 1") == 1
    _gone(pid)


def test_a_killed_collector_leaves_a_usable_server(state: Path) -> None:
    """After SIGKILL of its only user the server is used by the next, which then stops it."""
    holder = _holder(state)
    holder.kill()
    holder.communicate()
    with Embedded(state) as server:
        pid = _pid(server)
        assert _ask(server, "SELECT 1") == 1
    _gone(pid)


def test_a_killed_postmaster_comes_back(state: Path) -> None:
    """After SIGKILL of the postmaster the server is started again while in use, with what was committed."""
    with Embedded(state) as server:
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS n")
        first = _pid(server)
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while True:
            try:
                assert _ask(server, "SELECT n FROM kept") == 7
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "not started again within 30 s"
                time.sleep(0.05)
        assert _pid(server) != first


def test_both_killed(state: Path) -> None:
    """After SIGKILL of the collector and the postmaster the next start recovers."""
    holder = _holder(state)
    pid = _pid(Embedded(state))
    holder.kill()
    os.kill(pid, signal.SIGKILL)
    holder.communicate()
    with Embedded(state) as server:
        assert _ask(server, "SELECT 1") == 1


def test_a_reused_pid_is_not_taken_for_the_server(state: Path) -> None:
    """A postmaster.pid whose number another process has by now does not keep the server from starting."""
    with Embedded(state):
        file = (state / "postgres" / "postmaster.pid").read_text().split("\n", 1)[1]
    (state / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{file}")
    with Embedded(state) as server:
        assert _ask(server, "SELECT 1") == 1


def test_a_long_path(state: Path) -> None:
    """A state directory whose socket path would pass 107 bytes works, and leaves no directory elsewhere."""
    long = state / ("long-" * 20)
    with Embedded(long) as server:
        assert _ask(server, "SELECT 1") == 1
        assert server.sockets.stat().st_mode & 0o777 == 0o700
        sockets = server.sockets
    assert not sockets.exists()


def test_another_major(state: Path) -> None:
    """Data of another PostgreSQL is refused in words that say what to do."""
    with Embedded(state):
        pass
    (state / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedError, match=r"data of PostgreSQL 16.*brings 18.*sonde-collector convert"):
        Embedded(state).start()


def test_no_data_directory(state: Path) -> None:
    """A directory that is something else is refused, not filled."""
    (state / "postgres").mkdir(parents=True)
    with pytest.raises(EmbeddedError, match="no PostgreSQL data directory"):
        Embedded(state).start()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_without_user_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where root may make no user namespace the server runs as a system user, if that may pass."""
    monkeypatch.setattr(programs, "_NAMESPACE", ("false",))
    programs.ordinary_user.cache_clear()
    try:
        with tempfile.TemporaryDirectory(prefix="sonde-test-embedded-") as name:
            top = Path(name)
            with pytest.raises(EmbeddedError, match=f"{name} is closed to user nobody"):
                Embedded(top / "state").start()
            top.chmod(0o711)
            for _ in range(2):
                with Embedded(top / "state") as server:
                    assert _ask(server, "SELECT 1") == 1
                    assert Path("/proc", str(_pid(server))).stat().st_uid == programs.ordinary_user().uid != 0
    finally:
        programs.ordinary_user.cache_clear()
